// A list of steps of which some are done, one is under way and some are to come; for checkpoints and rollbacks alike.

import { el } from "./dom.js";

const SIGNS = {
  done: ["✓", "done"],
  now: ["▶", "under way"],
  next: ["·", "to come"],
  failed: ["✕", "did not get done"],
  skipped: ["–", "not needed"],
};

/** Each of `steps` is `{ state, name, words, note }`; `state` is done, now, next, failed or skipped. */
export function steps(label, list) {
  return el(
    "ol",
    { class: "steps", "aria-label": label },
    list.map(({ state, name, words, note, divider }) => {
      const [sign, told] = SIGNS[state];
      return el(
        "li",
        { class: state, "aria-current": state === "now" ? "step" : null },
        divider && el("p", { class: "divider" }, divider),
        el("span", { class: "sign", "aria-hidden": "true" }, sign),
        el("span", { class: "unseen" }, `${told}: `),
        el("span", { class: "step" }, el("strong", {}, name), words && [" ", el("span", { class: "hint" }, words)]),
        note && el("span", { class: "note" }, note),
      );
    }),
  );
}
