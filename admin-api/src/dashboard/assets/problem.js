// Errors for people: what happened, and what to do about it, from the documentation of its code.
//
// It never hides the admin API's own words.

import { get } from "./api.js";
import { el } from "./dom.js";

let explained = null;

/** What the documentation says of every code; read once. */
export async function explanations() {
  explained ??= get("dashboard/codes.json").catch(() => {
    explained = null;
    return {};
  });
  return explained;
}

/** A box that says what is wrong. */
export function problemBox(problem, heading = "That was not done") {
  const cure = el("p", { hidden: true });
  if (problem.code) {
    explanations().then((all) => {
      const found = all[problem.code];
      if (!found) return;
      cure.hidden = false;
      cure.append(el("strong", {}, "What to do: "), found.cure);
    });
  }
  return el(
    "div",
    { class: "box bad", role: "alert" },
    el("p", {}, el("strong", {}, `${heading}: ${problem.title ?? "error"}`), " ", code(problem.code)),
    el("p", {}, problem.message),
    cure,
  );
}

/** A code that leads to what it means. */
export function code(id) {
  return id ? el("a", { class: "code", href: `#/codes/${id}` }, id) : null;
}
