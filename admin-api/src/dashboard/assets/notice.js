// The line above every view that says what stands in the way of trusting it: no answer, no leader, a start that waits.
//
// It promises to say since when, and that what is shown is older than that.

import { el, keep } from "./dom.js";
import { code } from "./problem.js";
import { stamp } from "./quantity.js";

const root = document.getElementById("notice");
let since = null;
let seen = null;

export const notice = {
  /** Somebody answered. */
  answered(me) {
    since = null;
    seen = new Date();
    const standby = me && !me.leading;
    keep(
      root,
      standby ? "standby" : "",
      () =>
        standby &&
        box(
          "warn",
          "This admin API stands by.",
          "It shows what it knows; another one leads, and does what changes something.",
        ),
    );
  },

  /** Nobody did, or not usefully. */
  failed(problem) {
    since ??= new Date();
    const heading = problem.code ? `${problem.title}.` : "The admin API does not answer.";
    keep(root, [heading, problem.message, since.getTime()], () =>
      box(
        "bad",
        heading,
        `${problem.message}. Since ${stamp(since)}`,
        seen ? `; what is shown is from ${stamp(seen)}. ` : ". ",
        "Trying again by itself; applications go on meanwhile. ",
        code(problem.code),
      ),
    );
  },
};

function box(look, heading, ...words) {
  return el("div", { class: `box ${look}` }, el("p", {}, el("strong", {}, heading), " ", words));
}
