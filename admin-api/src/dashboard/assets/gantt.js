// The timeline of a checkpoint: for each process what it did when, from *go* on, with the pause its application paid.
//
// Every span has a pattern and a word beside its colour, and the table below the picture says the same in figures. It knows
// durations; what they are good for is for others.

import { check, el, keep } from "./dom.js";
import { bytes, duration } from "./quantity.js";
import { mark } from "./status.js";
import { table } from "./table.js";

const SPANS = [
  ["start_delay_ms", "Start delay", "delay", "from go to the first hold"],
  ["alignment_ms", "Alignment", "align", "from the first hold to the last"],
  ["quiesce_ms", "Quiesce", "quiesce", "from the last hold to quiet"],
  ["sync_ms", "Sync", "sync", "fixing the state"],
  ["mark_ms", "Mark", "mark", "writing the markers"],
  ["async_ms", "Upload", "upload", "copying and uploading, after the pause"],
];
/** Axis labels. */
const TICKS = 4;

/** The timeline of `processes`. */
export function gantt(processes) {
  if (processes.length === 0) return el("p", {}, "No process has reported.");
  const chart = el("div");
  const upload = check("with-upload", false, "Show the upload too", { onchange: () => draw() });
  // The upload takes many times the pause, and is not paid for by the application: it is shown on request.
  const draw = () => keep(chart, upload.box.checked, () => lanes(processes, upload.box.checked));
  draw();
  return el(
    "section",
    {},
    el("h2", {}, "Timeline by process"),
    el(
      "div",
      { class: "legend" },
      SPANS.map(([, name, look, words]) =>
        el("span", { title: words }, el("span", { class: `swatch ${look}`, "aria-hidden": "true" }), name),
      ),
      el(
        "span",
        { title: "first hold to release: what the application paid" },
        el("span", { class: "swatch pause", "aria-hidden": "true" }),
        "Pause",
      ),
    ),
    upload.line,
    chart,
    figures(processes),
  );
}

function lanes(processes, withUpload) {
  const spans = withUpload ? SPANS : SPANS.slice(0, -1);
  const end = (one) =>
    Math.max(
      one.start_delay_ms + one.pause_ms,
      spans.reduce((sum, [key]) => sum + one[key], 0),
    );
  const total = Math.max(0.1, ...processes.map(end)) * 1.02;
  const ticks = Array.from({ length: TICKS + 1 }, (_, index) => (index / TICKS) * total);
  return el(
    "div",
    { class: "gantt", "aria-hidden": "true" },
    processes.map((one) => lane(one, spans, total)),
    el(
      "div",
      { class: "lane axis" },
      el("span", { class: "who" }, "after go"),
      el(
        "div",
        { class: "track" },
        ticks.map((tick) => placed(el("span", { class: "tick" }, duration(Math.round(tick * 10) / 10)), tick / total)),
      ),
    ),
  );
}

function lane(one, spans, total) {
  let at = 0;
  const bars = spans.map(([key, name, look]) => {
    const bar = el("span", { class: `span ${look}`, title: `${name}: ${duration(one[key])}` });
    placed(bar, at / total, one[key] / total);
    at += one[key];
    return bar;
  });
  const pause = el("span", { class: "span pause", title: `Pause: ${duration(one.pause_ms)}` });
  placed(pause, one.start_delay_ms / total, one.pause_ms / total);
  return el(
    "div",
    { class: "lane" },
    el("span", { class: "who", title: one.process }, one.process),
    el("div", { class: "track" }, bars, pause),
    el("span", { class: "paid" }, duration(one.pause_ms)),
  );
}

function placed(element, left, width = null) {
  element.style.left = `${(left * 100).toFixed(3)}%`;
  if (width !== null) element.style.width = `${(width * 100).toFixed(3)}%`;
  return element;
}

function figures(processes) {
  return table({
    caption: "The same in figures, and what was recorded",
    key: "processes",
    rows: processes,
    columns: [
      { head: "Process", row: true, cell: (one) => one.process },
      { head: "Pause", number: true, cell: (one) => el("strong", {}, duration(one.pause_ms)) },
      ...SPANS.map(([key, name]) => ({ head: name, number: true, cell: (one) => duration(one[key]) })),
      { head: "State", number: true, cell: (one) => bytes(one.state_size) },
      { head: "Uploaded", number: true, cell: (one) => bytes(one.bytes_uploaded) },
      {
        head: "How",
        cell: (one) => [
          one.capture,
          one.provider && `, ${one.provider}`,
          one.unaligned && [" ", mark("plain", "~", "unaligned")],
        ],
      },
      { head: "Guarantee", cell: (one) => one.guarantee },
    ],
  });
}
