// The view of one error code: what the documentation says about it. It knows no problem at hand.

import { el, fill, swap } from "./dom.js";
import { explanations } from "./problem.js";

export function openCode(main, context, [id]) {
  const body = el("div");
  fill(main, el("h1", { tabindex: -1 }, `Code ${id}`), body);
  return {
    async refresh() {
      const found = (await explanations())[id];
      swap(
        body,
        found
          ? el(
              "dl",
              { class: "facts" },
              el("dt", {}, "What it is"),
              el("dd", {}, found.what),
              el("dt", {}, "What to do"),
              el("dd", {}, found.cure),
            )
          : el("p", {}, "The documentation of this version does not explain it."),
        el("p", {}, el("button", { type: "button", onclick: () => history.back() }, "Back")),
      );
    },
  };
}
