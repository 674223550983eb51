// Everything that changes, as it changes: a log that grows at its top while this view is open, and can be stopped to be read.

import { el, fill, swap } from "./dom.js";
import { time } from "./quantity.js";

const ROWS_MAX = 500;

export function openEvents(main) {
  const body = el("tbody", {});
  const waiting = el("p", { class: "hint" }, "Nothing has changed since this view was opened.");
  const held = [];
  let stopped = false;
  const stop = el("button", { type: "button", "aria-pressed": "false", onclick: () => toggle() }, "Stop");
  const search = el("input", { id: "search", type: "search", autocomplete: "off", oninput: () => filter() });
  fill(
    main,
    el("h1", { tabindex: -1 }, "Events"),
    el("div", { class: "field inline" }, el("label", { for: "search" }, "Find"), search, stop),
    waiting,
    el(
      "div",
      { class: "scroll", tabindex: 0, role: "log", "aria-label": "Events, newest first" },
      el(
        "table",
        {},
        el("caption", { class: "unseen" }, "Events, newest first"),
        el(
          "thead",
          {},
          el(
            "tr",
            {},
            ["When", "What", "Of what"].map((head) => el("th", { scope: "col" }, head)),
          ),
        ),
        body,
      ),
    ),
  );

  function toggle() {
    stopped = !stopped;
    stop.setAttribute("aria-pressed", String(stopped));
    swap(stop, stopped ? "Go on" : "Stop");
    if (!stopped) held.splice(0).forEach(add);
  }

  function fits(row) {
    return row.textContent.toLowerCase().includes(search.value.trim().toLowerCase());
  }

  function filter() {
    for (const row of body.children) row.hidden = !fits(row);
  }

  function add(event) {
    waiting.hidden = true;
    const row = el(
      "tr",
      {},
      el("td", {}, time(event.at)),
      el("th", { scope: "row" }, event.kind),
      el("td", { class: "wide" }, facts(event.data)),
    );
    row.hidden = !fits(row);
    body.prepend(row);
    if (body.childElementCount > ROWS_MAX) body.lastElementChild.remove();
  }

  return {
    event(event) {
      if (!stopped) add(event);
      else if (held.push(event) > ROWS_MAX) held.shift();
    },
  };
}

function facts(data) {
  const words = Object.entries(data ?? {}).filter(([, value]) => value !== null);
  return words
    .map(([name, value]) => `${name.replaceAll("_", " ")} ${typeof value === "object" ? JSON.stringify(value) : value}`)
    .join(", ");
}
