// One checkpoint: its progress while it is taken, then what it cost and holds, and how it differs from the one before.
//
// An attempt that failed and is tried again leads on to the next by itself when its end was watched.

import { get, post, remove } from "./api.js";
import { ask } from "./dialog.js";
import { difference } from "./difference.js";
import { announce, el, fill, keep, swap } from "./dom.js";
import { gantt } from "./gantt.js";
import { problemBox, code } from "./problem.js";
import { bytes, count, duration, plural, time } from "./quantity.js";
import { restorable } from "./restorable.js";
import { roleButton } from "./role.js";
import { badge, mark, moves } from "./status.js";
import { steps } from "./steps.js";
import { table } from "./table.js";

const MOVING_PERIOD_MS = 500;
const RESTING_PERIOD_MS = 15_000;
/** What the coordinator calls its phases, and what people need to know of them. */
const PHASES = [
  ["Prepare", "asking every sidecar and reading the groups", ["preparing", "readingtopology"]],
  ["Arm", "telling everyone the markers to come", ["arming"]],
  ["Cut", "hold, record, mark, release: each process pauses here", ["running"]],
  ["Bound", "listing the ends and looking again", ["listing", "confirming", "readingcontrol", "rereading"]],
  ["Store", "waiting for uploads, then the manifest", ["storing", "committing"]],
];

export function openCheckpoint(main, context, [epoch]) {
  const path = `v1/checkpoints/${epoch}`;
  const parts = { head: el("div"), progress: el("div"), outcome: el("div"), detail: el("div"), difference: el("div") };
  fill(main, el("h1", { tabindex: -1 }, `Checkpoint ${epoch}`), Object.values(parts));
  let watched = null;
  const view = {
    period: MOVING_PERIOD_MS,
    async refresh() {
      const one = await get(path);
      const moving = moves(one.status);
      view.period = moving ? MOVING_PERIOD_MS : RESTING_PERIOD_MS;
      tell(watched, one);
      if (watched && moves(watched.status) && one.retried_as) {
        announce(`Checkpoint ${epoch} failed and is tried again as ${one.retried_as}.`);
        location.replace(`#/checkpoints/${one.retried_as}`);
        return;
      }
      watched = one;
      keep(parts.head, [one.status, one.reason, one.retried_as, one.savepoint, one.restorable], () =>
        head(context, one, parts.outcome),
      );
      keep(parts.progress, moving && [one.phase, one.status], () => moving && steps("Progress", progress(one.phase)));
      if (moving) return;
      keep(parts.detail, one, () => detail(one));
      if (one.status === "COMPLETED") await compare(parts.difference, one);
    },
    event(event) {
      // Phases come faster than they can be asked for.
      if (event.kind === "checkpoint.phase" && String(event.data.epoch) === epoch && watched && moves(watched.status)) {
        keep(parts.progress, [event.data.phase, watched.status], () => steps("Progress", progress(event.data.phase)));
      }
    },
  };
  return view;
}

function tell(before, now) {
  if (before?.status === now.status) return;
  if (now.status === "COMPLETED")
    announce(`Checkpoint ${now.epoch} completed. It paused ${duration(now.pause_ms_max)} at most.`);
  else if (now.status === "FAILED") announce(`Checkpoint ${now.epoch} failed: ${now.reason}`);
  else announce(`Checkpoint ${now.epoch} is in progress.`);
}

function progress(phase) {
  const at = PHASES.findIndex(([, , phases]) => phases.includes(phase));
  // A phase that is not known here is one after all of these, or before the first.
  return PHASES.map(([name, words], index) => ({
    name,
    words,
    state: index < at ? "done" : index === at ? "now" : "next",
  }));
}

function head(context, one, outcome) {
  const moving = moves(one.status);
  return [
    el(
      "p",
      { class: "large" },
      badge(one.status),
      " ",
      one.savepoint && mark("plain", "★", `savepoint ${one.savepoint}`),
      " ",
      restorable(one),
      " ",
      one.restorable?.reason,
    ),
    one.reason &&
      el(
        "p",
        { class: "box warn" },
        one.reason,
        " ",
        code(/CL\d{4}/.exec(one.reason)?.[0]),
        one.retried_as && [
          " It was tried again as ",
          el("a", { href: `#/checkpoints/${one.retried_as}` }, `checkpoint ${one.retried_as}`),
          ".",
        ],
      ),
    el("div", { class: "actions" }, actions(context, one, moving, outcome)),
  ];
}

function actions(context, one, moving, outcome) {
  const me = context.me;
  if (moving) return roleButton(me, "operator", "Abort", () => abort(context, one), { class: "danger" });
  const whole = one.status === "COMPLETED";
  return [
    whole &&
      roleButton(me, "admin", "Roll back to it…", () => {
        location.hash = `#/rollback/${one.epoch}`;
      }),
    whole && roleButton(me, "operator", "Verify", () => verify(one, outcome)),
    roleButton(me, "admin", "Delete…", () => erase(one), { class: "danger" }),
  ];
}

function abort(context, one) {
  return ask({
    title: `Abort checkpoint ${one.epoch}?`,
    label: "Abort it",
    danger: true,
    content: el("p", {}, "It and its retries end, every process goes on at once. Nothing else is lost."),
    act: async () => {
      await post(`v1/checkpoints/${one.epoch}/abort`);
      context.refresh();
    },
  });
}

async function verify(one, outcome) {
  swap(
    outcome,
    el("p", { class: "box busy", role: "status" }, "Reading every part and every chunk, as a rollback would…"),
  );
  try {
    const report = await post(`v1/checkpoints/${one.epoch}/verify`);
    const words = report.whole
      ? `Whole: ${plural(report.parts, "part")}, ${plural(report.chunks, "chunk")}, ${bytes(report.state_bytes)} were read and fit.`
      : `Not whole: ${plural(report.problems.length, "problem")}.`;
    swap(
      outcome,
      el(
        "div",
        { class: `box ${report.whole ? "good" : "bad"}`, role: "status" },
        el("p", {}, words),
        report.problems.length > 0 &&
          el(
            "ul",
            {},
            report.problems.map((problem) => el("li", {}, problem)),
          ),
      ),
    );
  } catch (problem) {
    swap(outcome, problemBox(problem, "It was not verified"));
  }
}

async function erase(one) {
  const done = await ask({
    title: `Delete checkpoint ${one.epoch}?`,
    label: "Delete it",
    danger: true,
    word: String(one.epoch),
    content: el("p", {}, "It cannot be rolled back to any more, and cannot be brought back."),
    act: () => remove(`v1/checkpoints/${one.epoch}`),
  });
  if (done) location.hash = "#/checkpoints";
}

function detail(one) {
  return [
    el(
      "dl",
      { class: "facts" },
      fact("Taken", time(one.started_at)),
      fact("Ended", time(one.completed_at)),
      fact("Duration", duration(one.duration_ms)),
      fact("Longest pause", el("strong", {}, duration(one.pause_ms_max))),
      fact("State", bytes(one.state_size)),
      fact("Uploaded", `${bytes(one.bytes_uploaded)}${share(one)}`),
      fact("Mode", one.mode),
      fact("Guarantee", one.guarantee ?? "–"),
      fact("Timeline", String(one.timeline)),
      fact("View", String(one.view)),
    ),
    one.status === "COMPLETED" && gantt(one.processes),
    offsets(one),
  ];
}

function fact(name, value) {
  return el("div", {}, el("dt", {}, name), el("dd", {}, value));
}

function share(one) {
  return one.state_size > 0 ? ` (${Math.round((100 * one.bytes_uploaded) / one.state_size)} %)` : "";
}

function offsets(one) {
  const positions = one.processes
    .flatMap((process) => process.positions.map((at) => ({ ...at, process: process.process })))
    .concat(one.idle_positions.map((at) => ({ ...at, process: "nobody" })));
  const markers = one.processes.flatMap((process) =>
    process.markers.map((at) => ({ ...at, process: process.process })),
  );
  const spot = (at) => `${at.topic}-${at.partition}`;
  return [
    folded(`Positions (${count(positions.length)})`, "positions", () =>
      table({
        caption: "Where each group stood",
        rows: positions,
        key: "positions",
        columns: [
          { head: "Group", row: true, cell: (at) => at.group },
          { head: "Partition", cell: spot },
          { head: "Next offset", number: true, cell: (at) => count(at.offset) },
          { head: "Process", cell: (at) => at.process },
        ],
      }),
    ),
    folded(`Markers (${count(markers.length)})`, "markers", () =>
      table({
        caption: "Where each sidecar marked",
        rows: markers,
        key: "markers",
        columns: [
          { head: "Process", row: true, cell: (at) => at.process },
          { head: "Instance", cell: (at) => at.instance },
          { head: "Partition", cell: spot },
          { head: "Offset", number: true, cell: (at) => count(at.offset) },
          { head: "Late", cell: (at) => (at.late ? "late" : "") },
        ],
      }),
    ),
    folded(`Topics (${count(one.topics.length)})`, "topics", () =>
      table({
        caption: "Topics it speaks of",
        rows: one.topics,
        key: "topics",
        columns: [
          { head: "Topic", row: true, cell: (topic) => topic.name },
          { head: "Partitions", number: true, cell: (topic) => count(topic.partitions) },
          { head: "Id", cell: (topic) => el("code", {}, topic.id) },
        ],
      }),
    ),
  ];
}

/** Made when it is opened: a large deployment has thousands of offsets. */
function folded(title, key, content) {
  const body = el("div");
  const box = el("details", { "data-key": key }, el("summary", {}, title), body);
  box.addEventListener("toggle", () => {
    if (box.open && body.childElementCount === 0) body.append(content());
  });
  return box;
}

async function compare(part, one) {
  if (part.childElementCount > 0) return;
  const before = (await get(`v1/checkpoints?status=COMPLETED&limit=1&before=${one.epoch}`)).history[0];
  if (!before) {
    swap(part, el("p", { class: "hint" }, "There is no completed checkpoint before it to compare it with."));
    return;
  }
  swap(part, difference(await get(`v1/checkpoints/${before.epoch}`), one));
}
