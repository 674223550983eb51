// Badges: a word and a sign for how something stands, never a colour alone.

import { el } from "./dom.js";

const LOOKS = {
  COMPLETED: ["good", "✓"],
  FAILED: ["bad", "✕"],
  ABORTED: ["warn", "◼"],
  TRIGGERED: ["busy", "…"],
  IN_PROGRESS: ["busy", "…"],
  DELETING: ["warn", "…"],
  PLANNED: ["busy", "…"],
  FENCING: ["busy", "…"],
  RESTORING: ["busy", "…"],
  connected: ["good", "✓"],
  fenced: ["busy", "▮"],
  unregistered: ["warn", "?"],
  lost: ["bad", "✕"],
};

/** A badge for a status word. */
export function badge(word, text = word) {
  const [look, sign] = LOOKS[word] ?? ["plain", "·"];
  return mark(look, sign, text.replaceAll("_", " "));
}

/** A badge of any kind: `good`, `bad`, `warn`, `busy` or `plain`. */
export function mark(look, sign, text) {
  return el("span", { class: `badge ${look}` }, el("span", { "aria-hidden": "true" }, sign), " ", text);
}

/** Whether a checkpoint or restore of this status still moves. */
export function moves(status) {
  return ["TRIGGERED", "IN_PROGRESS", "DELETING", "PLANNED", "FENCING", "RESTORING"].includes(status);
}
