// Beginning a checkpoint: how its input is held and whether it gets a name, then the way to its progress.

import { newKey, post } from "./api.js";
import { ask } from "./dialog.js";
import { el } from "./dom.js";

const MODES = [
  ["", "as configured"],
  ["aligned", "aligned – waits at the markers"],
  ["unaligned", "unaligned – stops where it is"],
  ["synchronous", "synchronous – everyone stops together"],
];

/** Asks, begins it, and goes to it. */
export async function takeCheckpoint() {
  const key = newKey();
  const begun = await ask({
    title: "Take a checkpoint",
    label: "Take it",
    content: [
      el("p", {}, "Every service pauses for a moment, usually well below a second, and goes on by itself."),
      el(
        "div",
        { class: "field" },
        el("label", { for: "mode" }, "How input is held"),
        el(
          "select",
          { id: "mode", name: "mode" },
          MODES.map(([value, words]) => el("option", { value }, words)),
        ),
      ),
      el(
        "div",
        { class: "field" },
        el("label", { for: "savepoint" }, "Name"),
        el("input", {
          id: "savepoint",
          name: "savepoint",
          autocomplete: "off",
          maxlength: 100,
          "aria-describedby": "savepoint-hint",
        }),
        el(
          "p",
          { id: "savepoint-hint", class: "hint" },
          "With a name it is a savepoint, which retention never deletes.",
        ),
      ),
    ],
    act: (form) => {
      const request = {};
      for (const name of ["mode", "savepoint"]) {
        const value = form.get(name).trim();
        if (value) request[name] = value;
      }
      return post("v1/checkpoints", request, key);
    },
  });
  if (begun) location.hash = `#/checkpoints/${begun.epoch}`;
}
