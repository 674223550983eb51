// The history of checkpoints: newest first, by status, page by page.

import { get } from "./api.js";
import { el, fill, keep } from "./dom.js";
import { bytes, count, duration, time } from "./quantity.js";
import { restorable } from "./restorable.js";
import { roleButton } from "./role.js";
import { badge, mark } from "./status.js";
import { table } from "./table.js";
import { takeCheckpoint } from "./take.js";

const PAGE_ROWS = 25;
const STATUSES = [
  ["", "all"],
  ["COMPLETED", "completed"],
  ["FAILED", "failed"],
  ["IN_PROGRESS", "in progress"],
];

export function openCheckpoints(main, context) {
  // What the pages before this one began below; the first page begins nowhere.
  const befores = [];
  const body = el("div");
  const pager = el("div", { class: "actions pager" });
  const filter = el(
    "select",
    {
      id: "filter",
      onchange: () => {
        befores.length = 0;
        context.refresh();
      },
    },
    STATUSES.map(([value, words]) => el("option", { value }, words)),
  );
  fill(
    main,
    el(
      "div",
      { class: "titled" },
      el("h1", { tabindex: -1 }, "Checkpoints"),
      el(
        "div",
        { class: "actions" },
        roleButton(context.me, "operator", "Take a checkpoint", () => takeCheckpoint(), { class: "primary" }),
      ),
    ),
    el("div", { class: "field inline" }, el("label", { for: "filter" }, "Show"), filter),
    body,
    pager,
  );
  return {
    async refresh() {
      const query = new URLSearchParams({ limit: PAGE_ROWS + 1 });
      if (filter.value) query.set("status", filter.value);
      if (befores.length > 0) query.set("before", befores.at(-1));
      const list = await get(`v1/checkpoints?${query}`);
      const rows = list.history.slice(0, PAGE_ROWS);
      const more = list.history.length > PAGE_ROWS;
      keep(body, rows, () => history(rows));
      keep(pager, [befores, more, rows.at(-1)?.epoch, list.counts], () => [
        el(
          "button",
          {
            type: "button",
            disabled: befores.length === 0,
            "data-key": "newer",
            onclick: () => {
              befores.pop();
              context.refresh();
            },
          },
          "Newer",
        ),
        el(
          "button",
          {
            type: "button",
            disabled: !more,
            "data-key": "older",
            onclick: () => {
              befores.push(rows.at(-1).epoch);
              context.refresh();
            },
          },
          "Older",
        ),
        el(
          "span",
          { class: "hint" },
          `${count(list.counts.total)} in all: ${count(list.counts.completed)} completed, ${count(list.counts.failed)} failed`,
        ),
      ]);
    },
  };
}

function history(rows) {
  return table({
    caption: "Checkpoints, newest first",
    key: "history",
    hideCaption: true,
    rows,
    empty: "none that stands so.",
    columns: [
      {
        head: "Checkpoint",
        row: true,
        cell: (one) => [
          el("a", { href: `#/checkpoints/${one.epoch}`, "data-key": `epoch-${one.epoch}` }, String(one.epoch)),
          name(one),
        ],
      },
      { head: "Status", cell: (one) => [badge(one.status), " ", restorable(one)] },
      { head: "Taken", cell: (one) => time(one.started_at) },
      { head: "Pause", number: true, cell: (one) => (one.status === "COMPLETED" ? duration(one.pause_ms_max) : "–") },
      { head: "Duration", number: true, cell: (one) => duration(one.duration_ms) },
      { head: "State", number: true, cell: (one) => (one.status === "COMPLETED" ? bytes(one.state_size) : "–") },
      { head: "Uploaded", number: true, cell: (one) => (one.status === "COMPLETED" ? bytes(one.bytes_uploaded) : "–") },
      { head: "Mode", cell: (one) => one.mode },
      { head: "Note", wide: true, cell: note },
    ],
  });
}

function name(one) {
  return one.savepoint && [" ", mark("plain", "★", one.savepoint)];
}

function note(one) {
  if (one.phase) return one.phase;
  if (!one.reason) return "";
  return [
    one.reason,
    one.retried_as && [
      " – tried again as ",
      el("a", { href: `#/checkpoints/${one.retried_as}` }, String(one.retried_as)),
    ],
  ];
}
