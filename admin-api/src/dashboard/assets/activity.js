// What is under way in this deployment, wherever one is: a checkpoint or a rollback, with the way to it.

import { get } from "./api.js";
import { el, keep } from "./dom.js";
import { mark, moves } from "./status.js";

let root = null;
let asking = false;

async function look() {
  if (asking || !root) return;
  asking = true;
  try {
    const [list, restores] = await Promise.all([get("v1/checkpoints?limit=1"), get("v1/restores")]);
    const restore = restores.find((one) => moves(one.status));
    const checkpoint = list.history.find((one) => ["TRIGGERED", "IN_PROGRESS"].includes(one.status));
    keep(root, [restore?.id, checkpoint?.epoch], () => {
      if (restore)
        return el("a", { href: `#/restores/${restore.id}` }, mark("busy", "…", `Rolling back to ${restore.epoch}`));
      if (checkpoint)
        return el(
          "a",
          { href: `#/checkpoints/${checkpoint.epoch}` },
          mark("busy", "…", `Checkpoint ${checkpoint.epoch}`),
        );
      return null;
    });
  } catch {
    // The view's own requests tell.
  } finally {
    asking = false;
  }
}

export const activity = {
  open(element) {
    root = element;
    look();
  },

  event(event) {
    if (/^(checkpoint\.(triggered|completed|failed)|restore\.|reset|leader)/.test(event.kind)) look();
  },
};
