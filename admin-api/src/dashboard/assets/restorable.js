// Whether Kafka still has what a checkpoint needs, and for how long, where the admin API tells.

import { el } from "./dom.js";
import { time } from "./quantity.js";
import { mark } from "./status.js";

/** True when it is known that a checkpoint cannot be rolled back to any more. */
export function isGone(checkpoint) {
  return checkpoint.restorable?.state === "no";
}

/** A badge where there is something to know. */
export function restorable({ restorable: found }) {
  if (!found || found.state === "yes") return null;
  const badge = found.state === "no" ? mark("bad", "✕", "not restorable") : mark("warn", "!", "expires");
  if (found.reason) badge.title = found.reason;
  return el("span", {}, badge, found.state !== "no" && found.expires_at && [" ", time(found.expires_at)]);
}
