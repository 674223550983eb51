// The schedule: what is in force, and a form that replaces it.

import { get, put } from "./api.js";
import { announce, check, el, fill, keep, swap } from "./dom.js";
import { problemBox } from "./problem.js";
import { duration, time } from "./quantity.js";
import { whyNot } from "./role.js";
import { mark } from "./status.js";

const UNITS = [
  ["s", "seconds", 1000],
  ["min", "minutes", 60_000],
  ["h", "hours", 3_600_000],
];
const MODES = ["aligned", "unaligned", "synchronous"];

export function openSchedule(main, context) {
  const now = el("div");
  const change = el("div");
  fill(main, el("h1", { tabindex: -1 }, "Schedule"), now, change);
  return {
    async refresh() {
      const schedule = await get("v1/schedule");
      keep(now, schedule, () => inForce(schedule));
      // The form is the person's while they are at it: it is filled once.
      if (change.childElementCount === 0) swap(change, form(context, schedule));
    },
  };
}

function inForce(schedule) {
  const fact = (name, value) => el("div", {}, el("dt", {}, name), el("dd", {}, value));
  return el(
    "dl",
    { class: "facts" },
    fact(
      "Every",
      schedule.interval_ms === null ? mark("warn", "!", "nothing is scheduled") : duration(schedule.interval_ms),
    ),
    fact("At least between", duration(schedule.min_pause_ms)),
    fact("Mode", schedule.mode),
    fact("Next", schedule.next_at ? time(schedule.next_at) : "–"),
    fact("Failed in a row", schedule.failures > 0 ? mark("bad", "✕", String(schedule.failures)) : "0"),
  );
}

function form(context, schedule) {
  const refused = whyNot(context.me, "operator");
  const [amount, unit] = split(schedule.interval_ms ?? 60_000);
  const [pauseAmount, pauseUnit] = split(schedule.min_pause_ms);
  const outcome = el("div");
  const on = check("on", schedule.interval_ms !== null, "Take checkpoints periodically");
  const button = el("button", { type: "submit", class: "primary" }, "Set it");
  const submit = async (event) => {
    event.preventDefault();
    const fields = new FormData(element);
    const ms = (name) =>
      Math.round(Number(fields.get(name)) * UNITS.find(([id]) => id === fields.get(`${name}-unit`))[2]);
    button.disabled = true;
    try {
      await put("v1/schedule", {
        interval_ms: on.box.checked ? ms("interval") : null,
        min_pause_ms: ms("pause"),
        mode: fields.get("mode"),
      });
      swap(
        outcome,
        el(
          "p",
          { class: "box good" },
          "It is in force, until this admin API restarts. What shall last belongs into its configuration.",
        ),
      );
      announce("The schedule is in force.");
      context.refresh();
    } catch (problem) {
      swap(outcome, problemBox(problem, "The schedule stays as it was"));
    }
    button.disabled = false;
  };
  const element = el(
    "form",
    { class: "step-box", onsubmit: submit },
    el("h2", {}, "Change it"),
    refused && el("p", { class: "box warn" }, refused),
    el(
      "fieldset",
      { disabled: refused !== null },
      el("legend", { class: "unseen" }, "Schedule"),
      on.line,
      timeField("interval", "From one to the next", amount, unit, 0.001),
      timeField("pause", "At least from the end of one to the next", pauseAmount, pauseUnit, 0),
      el(
        "div",
        { class: "field" },
        el("label", { for: "mode" }, "How input is held"),
        el(
          "select",
          { id: "mode", name: "mode" },
          MODES.map((mode) => el("option", { value: mode, selected: mode === schedule.mode }, mode)),
        ),
      ),
      el("div", { class: "actions" }, button),
    ),
    outcome,
  );
  return element;
}

function timeField(name, words, amount, unit, min) {
  return el(
    "div",
    { class: "field" },
    el("label", { for: name }, words),
    el(
      "div",
      { class: "pair" },
      el("input", { id: name, name, type: "number", min, step: "any", required: true, value: amount }),
      el(
        "select",
        { name: `${name}-unit`, "aria-label": `${words}: unit` },
        UNITS.map(([id, title]) => el("option", { value: id, selected: id === unit }, title)),
      ),
    ),
  );
}

function split(ms) {
  const [id, , size] = [...UNITS].reverse().find(([, , each]) => ms > 0 && ms % each === 0) ?? UNITS[0];
  return [ms / size, id];
}
