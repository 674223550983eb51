// The pauses of the last checkpoints as bars, oldest first; those that failed as crosses. Its words say the same.

import { el, svg } from "./dom.js";
import { duration, plural } from "./quantity.js";

const HEIGHT = 72;
const STEP = 12;
const BAR = 8;
const FOOT = 14;

/** The figure for `checkpoints`, newest first. */
export function trend(checkpoints) {
  if (checkpoints.length < 2) return null;
  const oldest = [...checkpoints].reverse();
  const longest = Math.max(1, ...oldest.map((one) => one.pause_ms_max));
  const failed = oldest.filter((one) => one.status === "FAILED").length;
  const words = `${plural(oldest.length, "checkpoint")}, ${failed === 0 ? "none" : failed} failed; the longest pause was ${duration(longest)}.`;
  const width = oldest.length * STEP;
  const bars = oldest.map((one, index) => bar(one, index * STEP, longest));
  return el(
    "figure",
    { class: "trend" },
    el(
      "figcaption",
      {},
      el("h2", {}, "Pause of the last checkpoints"),
      el("p", { class: "hint" }, words, " A bar leads to its checkpoint."),
    ),
    svg(
      "svg",
      { viewBox: `0 0 ${width} ${HEIGHT + FOOT}`, width, height: HEIGHT + FOOT, role: "img", "aria-label": words },
      svg("line", { class: "axis", x1: 0, x2: width, y1: HEIGHT + 0.5, y2: HEIGHT + 0.5 }),
      bars,
    ),
  );
}

function bar(one, left, longest) {
  const fails = one.status === "FAILED";
  const height = fails ? 0 : Math.max(2, (one.pause_ms_max / longest) * (HEIGHT - 4));
  const title = `Checkpoint ${one.epoch}: ${fails ? `failed: ${one.reason ?? ""}` : `paused ${duration(one.pause_ms_max)}, took ${duration(one.duration_ms)}`}`;
  return svg(
    "g",
    {
      class: fails ? "failed" : "completed",
      onclick: () => {
        location.hash = `#/checkpoints/${one.epoch}`;
      },
    },
    svg("title", {}, title),
    svg("rect", { class: "target", x: left, y: 0, width: STEP, height: HEIGHT + FOOT }),
    fails
      ? svg("path", { d: `M${left + 2} ${HEIGHT + 4}l7 7m0 -7l-7 7` })
      : svg("rect", { x: left + 2, y: HEIGHT - height, width: BAR, height }),
  );
}
