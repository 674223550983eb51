// Roles: what the person before the page may do, and buttons that say so when it is not enough.
//
// The admin API decides; this only spares people a refusal. It knows the order of roles and nothing of what they do.

import { el } from "./dom.js";

const ORDER = ["viewer", "operator", "admin"];

/** Whether `me` may do what needs `role`. Where no token is asked for there is no role, and everyone may. */
export function may(me, role) {
  return me.role === null || ORDER.indexOf(me.role) >= ORDER.indexOf(role);
}

/** Why not, or null. */
export function whyNot(me, role) {
  return may(me, role) ? null : `Needs role ${role}; ${me.name} has role ${me.role}.`;
}

/** A button for those who may; for others one that cannot be pressed, with the reason beside it. */
export function roleButton(me, role, label, onclick, attributes = {}) {
  const reason = whyNot(me, role);
  if (reason === null)
    return el("button", { type: "button", onclick, "data-key": `button-${label}`, ...attributes }, label);
  // It can be reached by keyboard, so that the reason is read.
  const button = el(
    "button",
    { type: "button", "aria-disabled": "true", title: reason, "data-key": `button-${label}`, ...attributes },
    label,
  );
  return el("span", { class: "refused" }, button, el("span", { class: "hint" }, reason));
}
