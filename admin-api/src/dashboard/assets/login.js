// The view before all others, where tokens are asked for: one field.
//
// The token is tried before it is kept, for this tab only, and is never shown or logged.

import { Problem, token } from "./api.js";
import { el, swap } from "./dom.js";
import { whoami } from "./me.js";
import { problemBox } from "./problem.js";

/** Asks for a token until one is taken; answers who its bearer is. */
export function login(main, reason) {
  return new Promise((resolve) => {
    const wrong = el("div");
    const field = el("input", {
      id: "token",
      type: "password",
      autocomplete: "current-password",
      required: true,
      "aria-describedby": "token-hint",
    });
    const button = el("button", { type: "submit", class: "primary" }, "Sign in");
    const submit = async (event) => {
      event.preventDefault();
      button.disabled = true;
      token.set(field.value.trim());
      try {
        resolve(await whoami());
      } catch (problem) {
        token.forget();
        swap(wrong, problemBox(refused(problem), "Not signed in"));
        field.focus();
      }
      button.disabled = false;
    };
    swap(
      main,
      el(
        "form",
        { class: "login", onsubmit: submit },
        el("h1", { tabindex: -1 }, "Sign in"),
        reason ? el("p", { class: "box warn" }, reason) : null,
        el(
          "div",
          { class: "field" },
          el("label", { for: "token" }, "Token"),
          field,
          el(
            "p",
            { id: "token-hint", class: "hint" },
            "It stays in this tab until the tab is closed. Those who run this admin API make one with ",
            el("code", {}, "cutline token new"),
            ".",
          ),
        ),
        wrong,
        el("div", { class: "actions" }, button),
      ),
    );
    document.title = "Sign in – Cutline";
    field.focus();
  });
}

function refused(problem) {
  if (problem instanceof Problem && problem.status === 403) {
    problem.message = "This token is a sidecar's: people need one with role viewer, operator or admin.";
  }
  return problem;
}
