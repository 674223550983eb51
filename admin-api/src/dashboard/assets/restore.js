// One rollback: which steps are done, what is in the way, and at the end what was done and what to look after.

import { get, post } from "./api.js";
import { ask } from "./dialog.js";
import { announce, el, fill, keep } from "./dom.js";
import { code } from "./problem.js";
import { bytes, count, duration, plural, stamp, time } from "./quantity.js";
import { roleButton } from "./role.js";
import { badge, moves } from "./status.js";
import { steps } from "./steps.js";
import { contaminations } from "./plan.js";

const MOVING_PERIOD_MS = 500;
const RESTING_PERIOD_MS = 15_000;
/** The journal's steps; `optional` ones are not reached by every rollback. */
const STEPS = [
  ["planned", "Planned", "the plan held and is recorded"],
  ["holds_written", "Held", "unrestored readers stop at the first offset that will change for them"],
  ["quiesced", "Still", "the services stand still; the safety checkpoint stands, when one was wanted"],
  ["fenced", "Fenced", "applications are cut off, every sidecar has said so"],
  ["emptied", "Emptied", "groups have no members, no transaction is open"],
  ["ends_fixed", "Ends fixed", "markers say where the old world ends"],
  ["masks_made", "Masks made", "what is masked is known"],
  ["tables_read", "Tables read", "what compacted topics need is worked out", "optional"],
  ["state_begun", "State begun", "from here on it only goes on"],
  ["state_restored", "State back", "verified, process by process"],
  ["offsets_committed", "Offsets committed", "and read back"],
  ["tables_appended", "Tables appended", "compacted topics have again what the checkpoint had", "optional"],
  ["timeline_taken", "Timeline taken", "it stands in the store"],
  ["timeline_committed", "Timeline in force", "every sidecar masks what was rolled back"],
  ["lifted", "Lifted", "the fence is gone, delivery goes on"],
  ["completed", "Completed", ""],
];
const POINT_OF_NO_RETURN = STEPS.findIndex(([id]) => id === "state_begun");

export function openRestore(main, context, [id]) {
  const parts = { head: el("div"), report: el("div"), progress: el("div") };
  fill(main, el("h1", { tabindex: -1 }, "Rollback"), parts.head, parts.report, parts.progress);
  let before = null;
  const view = {
    period: MOVING_PERIOD_MS,
    async refresh() {
      const one = await get(`v1/restores/${encodeURIComponent(id)}`);
      view.period = moves(one.status) ? MOVING_PERIOD_MS : RESTING_PERIOD_MS;
      tell(before, one);
      before = one;
      keep(parts.head, [one.status, one.reason, one.step], () => head(context, one));
      keep(parts.report, moves(one.status) ? null : one, () => !moves(one.status) && report(one));
      keep(parts.progress, [one.status, one.journal], () => [
        el("h2", {}, "Steps"),
        steps("Steps of this rollback", progress(one)),
      ]);
    },
  };
  return view;
}

function tell(before, now) {
  if (!before) return;
  const step = STEPS.find(([id]) => id === now.step);
  if (before.status !== now.status && !moves(now.status)) announce(`The rollback is ${now.status.toLowerCase()}.`);
  else if (before.step !== now.step && step) announce(`${step[1]}: ${step[2]}`);
}

function head(context, one) {
  const moving = moves(one.status);
  const safe = !one.journal.some((entry) => entry.step === "state_begun");
  return [
    el(
      "p",
      { class: "large" },
      badge(one.status),
      ` Back to checkpoint `,
      el("a", { href: `#/checkpoints/${one.epoch}` }, String(one.epoch)),
    ),
    one.reason &&
      el(
        "p",
        { class: `box ${moving ? "warn" : "bad"}` },
        moving ? "In the way: " : "",
        one.reason,
        " ",
        code(/CL\d{4}/.exec(one.reason)?.[0]),
      ),
    moving &&
      el(
        "p",
        {},
        safe
          ? "Nothing was put back yet: it can still be aborted."
          : "State is being put back: it only goes on, and tries again by itself what fails. The fence stays until it is done.",
      ),
    moving &&
      safe &&
      el(
        "div",
        { class: "actions" },
        roleButton(context.me, "admin", "Abort the rollback", () => abort(context, one), { class: "danger" }),
      ),
  ];
}

function abort(context, one) {
  return ask({
    title: "Abort the rollback?",
    label: "Abort it",
    danger: true,
    content: el("p", {}, "Holds and fence are lifted, applications come back to what they had."),
    act: async () => {
      await post(`v1/restores/${encodeURIComponent(one.id)}/abort`);
      context.refresh();
    },
  });
}

function progress(one) {
  const reached = new Map();
  for (const entry of one.journal) reached.set(entry.step, (reached.get(entry.step) ?? []).concat(entry));
  const furthest = STEPS.findLastIndex(([id]) => reached.has(id));
  const gaveUp = reached.has("given_up") || reached.has("giving_up");
  const list = STEPS.map(([id, name, words, optional], index) => {
    const entries = reached.get(id) ?? [];
    let state = "next";
    if (entries.length > 0) state = "done";
    else if (index < furthest || (one.status === "COMPLETED" && optional)) state = "skipped";
    else if (gaveUp) state = "failed";
    const times = entries.length > 1 ? `${plural(entries.length, "process", "processes")}, ` : "";
    const note = entries.length > 0 && [times, after(one, entries.at(-1))];
    const divider = index === POINT_OF_NO_RETURN ? "Until here it can be given up; from here on it only goes on" : null;
    return { state, name, words, note, divider };
  });
  const now =
    moves(one.status) && !gaveUp ? list.find(({ state }, index) => state === "next" && !STEPS[index][3]) : null;
  if (now) now.state = "now";
  if (gaveUp) {
    list.push({
      state: reached.has("given_up") ? "done" : "now",
      name: "Given up",
      words: "holds and fence are lifted; nothing was put back",
      note: reached.has("given_up") && after(one, reached.get("given_up")[0]),
    });
  }
  return list;
}

/** When a step was reached, from the beginning on. */
function after(one, entry) {
  return el("span", { title: stamp(entry.at) }, `after ${duration(new Date(entry.at) - new Date(one.started_at))}`);
}

function report(one) {
  const done = one.status === "COMPLETED";
  return el(
    "section",
    { class: "box" },
    el("h2", {}, done ? "What was done" : "Nothing was put back"),
    el(
      "dl",
      { class: "facts" },
      fact("Begun", time(one.started_at)),
      fact("Took", duration(one.duration_ms)),
      fact("Services", one.services.join(", ")),
      done && [
        fact("State put back", bytes(one.state_size)),
        fact("Offsets masked", count(one.masked_offsets)),
        fact("Timeline", String(one.timeline ?? "–")),
      ],
      one.safety_epoch != null &&
        fact("Safety checkpoint", [
          el("a", { href: `#/checkpoints/${one.safety_epoch}` }, String(one.safety_epoch)),
          done ? " – roll back to it to undo this" : "",
        ]),
    ),
    one.warnings.length > 0 && [
      el("h3", {}, "To look after"),
      el(
        "ul",
        {},
        one.warnings.map((text) => el("li", {}, text)),
      ),
    ],
    one.contaminated.length > 0 && contaminations(one.contaminated),
    done && one.warnings.length === 0 && el("p", {}, "Restart applications that keep state in memory."),
  );
}

function fact(name, value) {
  return el("div", {}, el("dt", {}, name), el("dd", {}, value));
}
