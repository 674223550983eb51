// Tables: with a caption, headers of columns and rows, and a frame that scrolls by keyboard where a table is wider than the page.
//
// It knows cells, not what they mean.

import { el } from "./dom.js";

/**
 * A table. A column is `{ head, cell(row), number, row }`: `number` aligns right, `row` makes its cells headers of their rows.
 * `key` names it, so that focus and scrolling survive when it is made anew.
 */
export function table({ caption, columns, rows, key, empty = "None.", hideCaption = false }) {
  if (rows.length === 0) {
    return el("div", { class: "empty" }, el("p", {}, el("strong", {}, caption), ": ", empty));
  }
  const head = el(
    "tr",
    {},
    columns.map((column) => el("th", { scope: "col", class: column.number && "number" }, column.head)),
  );
  const body = rows.map((row) =>
    el(
      "tr",
      { class: row.rowClass },
      columns.map((column) => cell(column, row)),
    ),
  );
  const label = `${caption}, scrolls sideways`;
  return el(
    "div",
    { class: "scroll", tabindex: 0, role: "region", "aria-label": label, "data-key": `table-${key ?? caption}` },
    el(
      "table",
      {},
      el("caption", { class: hideCaption && "unseen" }, caption),
      el("thead", {}, head),
      el("tbody", {}, body),
    ),
  );
}

function cell(column, row) {
  const content = column.cell(row);
  const attributes = { class: column.number ? "number" : column.wide ? "wide" : null };
  return column.row ? el("th", { scope: "row", ...attributes }, content) : el("td", attributes, content);
}
