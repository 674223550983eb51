// Every rollback there was, newest first, and the way to a new one.

import { get } from "./api.js";
import { el, fill, keep } from "./dom.js";
import { count, duration, time } from "./quantity.js";
import { roleButton } from "./role.js";
import { badge } from "./status.js";
import { table } from "./table.js";

export function openRestores(main, context) {
  const body = el("div");
  fill(
    main,
    el(
      "div",
      { class: "titled" },
      el("h1", { tabindex: -1 }, "Rollbacks"),
      el(
        "div",
        { class: "actions" },
        roleButton(
          context.me,
          "admin",
          "Plan a rollback",
          () => {
            location.hash = "#/rollback";
          },
          { class: "primary" },
        ),
      ),
    ),
    body,
  );
  return {
    async refresh() {
      const restores = await get("v1/restores");
      keep(body, restores, () => list(restores));
    },
  };
}

function list(restores) {
  return table({
    caption: "Rollbacks, newest first",
    key: "restores",
    rows: restores,
    empty: "nothing was ever rolled back here.",
    columns: [
      {
        head: "Rollback",
        row: true,
        cell: (one) => el("a", { href: `#/restores/${one.id}`, "data-key": one.id }, `to checkpoint ${one.epoch}`),
      },
      { head: "Status", cell: (one) => badge(one.status) },
      { head: "Begun", cell: (one) => time(one.started_at) },
      { head: "Duration", number: true, cell: (one) => duration(one.duration_ms) },
      { head: "Services", cell: (one) => one.services.join(", ") },
      { head: "Masked offsets", number: true, cell: (one) => count(one.masked_offsets) },
      { head: "Timeline", number: true, cell: (one) => one.timeline ?? "–" },
      { head: "Note", wide: true, cell: (one) => one.reason ?? "" },
    ],
  });
}
