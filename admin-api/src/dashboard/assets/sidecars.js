// Every sidecar: how it stands, what is behind it, and the way to evict one that is gone for good.

import { get, remove } from "./api.js";
import { ask } from "./dialog.js";
import { el, fill, keep } from "./dom.js";
import { count, duration, plural, time } from "./quantity.js";
import { may, whyNot } from "./role.js";
import { badge } from "./status.js";
import { table } from "./table.js";

const ORDER = ["lost", "unregistered", "fenced", "connected"];

export function openSidecars(main, context) {
  const body = el("div");
  const search = el("input", { id: "search", type: "search", autocomplete: "off", oninput: () => draw() });
  let all = [];
  const draw = () => {
    const words = search.value.trim().toLowerCase();
    const rows = all.filter((one) => `${one.service}/${one.instance}`.toLowerCase().includes(words));
    keep(body, rows, () => list(context, rows, all.length));
  };
  fill(
    main,
    el("h1", { tabindex: -1 }, "Sidecars"),
    el("div", { class: "field inline" }, el("label", { for: "search" }, "Find"), search),
    body,
  );
  return {
    async refresh() {
      all = (await get("v1/sidecars")).sort((a, b) => ORDER.indexOf(a.state) - ORDER.indexOf(b.state));
      draw();
    },
  };
}

function list(context, rows, total) {
  return [
    el(
      "p",
      { class: "hint" },
      rows.length === total ? plural(total, "sidecar") : `${rows.length} of ${plural(total, "sidecar")}`,
      ". ",
      whyNot(context.me, "admin") && `Evicting: ${whyNot(context.me, "admin")}`,
    ),
    table({
      caption: "Sidecars, those in need of attention first",
      key: "sidecars",
      hideCaption: true,
      rows,
      empty: "none is known.",
      columns: [
        { head: "Sidecar", row: true, cell: (one) => name(one) },
        { head: "State", cell: (one) => badge(one.state) },
        { head: "Connected", cell: (one) => time(one.connected_at) },
        { head: "Connections", number: true, cell: (one) => count(one.app_connections) },
        { head: "Members", wide: true, cell: members },
        {
          head: "Capture",
          cell: (one) => [
            one.capture ?? "–",
            one.providers.length > 0 && `, ${one.providers.join(", ")}`,
            `, by ${one.scope}`,
          ],
        },
        { head: "Partitions read", number: true, cell: (one) => count(one.reads.length) },
        { head: "Writes", wide: true, cell: (one) => one.writes.join(", ") || "–" },
        { head: "Run", cell: (one) => el("code", { title: one.incarnation }, one.incarnation.slice(0, 8)) },
        ...evictions(context),
      ],
    }),
  ];
}

/** The column of buttons, for those who may; a button that cannot be pressed in every row would only be in the way. */
function evictions(context) {
  if (!may(context.me, "admin")) return [];
  const button = (one) =>
    el(
      "button",
      {
        type: "button",
        "data-key": `evict-${name(one)}`,
        "aria-label": `Evict ${name(one)}`,
        onclick: () => evict(context, one),
      },
      "Evict…",
    );
  return [{ head: "Evict", cell: button }];
}

function name(one) {
  return `${one.service}/${one.instance}`;
}

function members(one) {
  return one.groups.map((group) => `${group.group} (${group.members.length})`).join(", ") || "–";
}

function evict(context, one) {
  return ask({
    title: `Evict ${name(one)}?`,
    label: "Evict it",
    danger: true,
    word: name(one),
    content: [
      el(
        "p",
        {},
        "Its run is over: when it still lives it stops and registers anew. No checkpoint begins until it has surely stopped.",
      ),
      one.state === "connected" &&
        el("p", { class: "box warn" }, "It is connected: its application loses its connections to Kafka for a moment."),
    ],
    act: async () => {
      const evicted = await remove(
        `v1/sidecars/${encodeURIComponent(one.service)}/${encodeURIComponent(one.instance)}`,
      );
      context.refresh();
      return duration(evicted.settles_in_ms);
    },
  });
}
