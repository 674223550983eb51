// The first view: whether one could go back now, to when, and whether everything that is needed for it stands.

import { get } from "./api.js";
import { el, fill, keep } from "./dom.js";
import { code } from "./problem.js";
import { bytes, count, duration, plural, time } from "./quantity.js";
import { restorable } from "./restorable.js";
import { roleButton } from "./role.js";
import { badge, mark, moves } from "./status.js";
import { table } from "./table.js";
import { takeCheckpoint } from "./take.js";
import { trend } from "./trend.js";

const TREND_MAX = 60;

export function openOverview(main, context) {
  const sections = { state: el("div"), running: el("div"), trend: el("div"), figures: el("div") };
  fill(
    main,
    el(
      "div",
      { class: "titled" },
      el("h1", { tabindex: -1 }, "Overview"),
      el(
        "div",
        { class: "actions" },
        roleButton(context.me, "operator", "Take a checkpoint", () => takeCheckpoint(), {
          class: "primary",
          id: "take",
        }),
        roleButton(context.me, "admin", "Roll back…", () => {
          location.hash = "#/rollback";
        }),
      ),
    ),
    sections.running,
    sections.state,
    sections.trend,
    sections.figures,
  );
  return {
    async refresh() {
      const [list, schedule, sidecars, restores] = await Promise.all([
        get(`v1/checkpoints?limit=${TREND_MAX}`),
        get("v1/schedule"),
        get("v1/sidecars"),
        get("v1/restores"),
      ]);
      const moving = restores
        .filter((one) => moves(one.status))
        .concat(list.history.filter((one) => moves(one.status)));
      keep(
        sections.running,
        moving.map((one) => [one.id, one.epoch, one.status, one.phase, one.step]),
        () => moving.map(underWay),
      );
      keep(sections.state, [list.latest, list.counts, schedule, sidecars, restores[0]], () =>
        state(list, schedule, sidecars, restores[0]),
      );
      const ended = list.history.filter((one) => !moves(one.status));
      keep(sections.trend, ended, () => trend(ended));
      keep(sections.figures, list.summary, () => figures(list));
    },
  };
}

function underWay(one) {
  const [what, href] = one.id
    ? [`Rolling back to checkpoint ${one.epoch}`, `#/restores/${one.id}`]
    : [`Checkpoint ${one.epoch} is being taken`, `#/checkpoints/${one.epoch}`];
  return el(
    "p",
    { class: "box busy" },
    el("strong", {}, what),
    ": ",
    one.step ?? one.phase ?? one.status,
    ". ",
    el("a", { href }, "Follow it"),
  );
}

function state(list, schedule, sidecars, restore) {
  return el(
    "div",
    { class: "cards" },
    back(list),
    failed(list),
    next(schedule),
    present(sidecars),
    last(list, restore),
  );
}

function card(title, ...content) {
  return el("section", { class: "card" }, el("h2", {}, title), content);
}

function back({ latest: { completed, savepoint } }) {
  if (!completed) {
    return card(
      "Last completed",
      el("p", {}, mark("bad", "✕", "None")),
      el("p", {}, "There is nothing to roll back to. Take a checkpoint."),
    );
  }
  return card(
    "Last completed",
    el(
      "p",
      { class: "large" },
      el("a", { href: `#/checkpoints/${completed.epoch}` }, `Checkpoint ${completed.epoch}`),
      " ",
      time(completed.completed_at),
    ),
    el("p", {}, badge("COMPLETED"), " ", restorable(completed), savepointMark(completed)),
    el(
      "p",
      {},
      `Paused ${duration(completed.pause_ms_max)} at most; ${bytes(completed.state_size)} of state in ${plural(completed.process_count, "process", "processes")}, `,
      `${bytes(completed.bytes_uploaded)} uploaded.`,
    ),
    savepoint &&
      el(
        "p",
        {},
        "Last savepoint: ",
        el("a", { href: `#/checkpoints/${savepoint.epoch}` }, savepoint.savepoint),
        " ",
        time(savepoint.completed_at),
      ),
  );
}

function savepointMark(checkpoint) {
  return checkpoint.savepoint ? mark("plain", "★", `savepoint ${checkpoint.savepoint}`) : null;
}

function failed({ latest: { completed, failed: one }, counts }) {
  const title = "Last failed";
  if (!one)
    return card(
      title,
      el("p", {}, mark("good", "✓", "None has failed")),
      el("p", {}, `${plural(counts.completed, "checkpoint")} completed.`),
    );
  const after = !completed || completed.epoch < one.epoch;
  return card(
    title,
    el(
      "p",
      { class: "large" },
      el("a", { href: `#/checkpoints/${one.epoch}` }, `Checkpoint ${one.epoch}`),
      " ",
      time(one.completed_at),
    ),
    el("p", {}, after ? mark("bad", "✕", "None completed since") : mark("plain", "✓", "Completed since")),
    el("p", {}, one.reason ?? "It gives no reason."),
    el("p", { class: "hint" }, `${count(counts.failed)} failed, ${count(counts.completed)} completed.`),
  );
}

function next(schedule) {
  if (schedule.interval_ms === null) {
    return card(
      "Next checkpoint",
      el("p", {}, mark("warn", "!", "Nothing is scheduled")),
      el("p", {}, "Checkpoints are taken on request only. ", el("a", { href: "#/schedule" }, "Schedule")),
    );
  }
  return card(
    "Next checkpoint",
    el("p", { class: "large" }, schedule.next_at ? time(schedule.next_at) : "as soon as possible"),
    el("p", {}, `Every ${duration(schedule.interval_ms)}, ${schedule.mode}.`),
    schedule.failures > 0 && el("p", {}, mark("bad", "✕", `${schedule.failures} in a row failed`)),
    el("p", {}, el("a", { href: "#/schedule" }, "Schedule")),
  );
}

function present(sidecars) {
  const by = (state) => sidecars.filter((one) => one.state === state).length;
  const away = ["lost", "unregistered", "fenced"].filter((state) => by(state) > 0);
  return card(
    "Sidecars",
    el(
      "p",
      { class: "large" },
      el("a", { href: "#/sidecars" }, `${by("connected")} of ${count(sidecars.length)} connected`),
    ),
    sidecars.length === 0 && el("p", {}, mark("warn", "!", "No sidecar is known"), " Nothing can be checkpointed."),
    away.map((state) => el("p", {}, badge(state, `${by(state)} ${state}`))),
    el("p", {}, el("a", { href: "#/topology" }, "Who reads and writes what")),
  );
}

function last({ counts }, restore) {
  if (!restore) return card("Last rollback", el("p", {}, "Nothing was ever rolled back here."));
  return card(
    "Last rollback",
    el(
      "p",
      { class: "large" },
      el("a", { href: `#/restores/${restore.id}` }, `To checkpoint ${restore.epoch}`),
      " ",
      time(restore.started_at),
    ),
    el("p", {}, badge(restore.status), restore.duration_ms ? ` in ${duration(restore.duration_ms)}` : ""),
    restore.reason && el("p", {}, restore.reason, " ", code(/CL\d{4}/.exec(restore.reason)?.[0])),
    el("p", { class: "hint" }, `${plural(counts.restored, "rollback")} completed.`),
  );
}

function figures({ summary, counts }) {
  const row = (name, spread, shown) => ({
    name,
    cells: ["min", "avg", "p50", "p99", "max"].map((key) => shown(spread[key])),
  });
  const rows = [
    row("Pause, longest of any process", summary.pause_ms, duration),
    row("Duration, trigger to manifest", summary.duration_ms, duration),
    row("State", summary.state_size, bytes),
    row("Uploaded", summary.bytes_uploaded, bytes),
  ];
  const heads = ["least", "mean", "p50", "p99", "most"];
  return table({
    caption: `How ${plural(counts.completed, "completed checkpoint")} were`,
    key: "figures",
    rows: counts.completed === 0 ? [] : rows,
    empty: "none has completed yet.",
    columns: [
      { head: "What", cell: (one) => one.name, row: true },
      ...heads.map((head, index) => ({ head, number: true, cell: (one) => one.cells[index] })),
    ],
  });
}
