// The top of every view: whose deployment it is, where one can go, whether changes are heard, and who is there.

import { el, swap } from "./dom.js";

const PLACES = [
  ["overview", "Overview"],
  ["topology", "Topology"],
  ["checkpoints", "Checkpoints"],
  ["restores", "Rollbacks"],
  ["schedule", "Schedule"],
  ["sidecars", "Sidecars"],
  ["events", "Events"],
];

const root = document.getElementById("header");
const live = el("span", { class: "live", role: "status" });
const links = new Map(PLACES.map(([place, title]) => [place, el("a", { href: `#/${place}` }, title)]));

export const header = {
  /** Before it is known who is there. */
  before() {
    swap(root, el("div", { class: "bar" }, brand("")));
  },

  open(me, signOut) {
    const who =
      me.role === null
        ? el(
            "span",
            { class: "who", title: "No token is asked for here: everyone who reaches this page may do everything." },
            "No tokens in force",
          )
        : el(
            "span",
            { class: "who" },
            me.name,
            el("span", { class: "hint" }, ` ${me.role}`),
            " ",
            el("button", { type: "button", class: "quiet", onclick: signOut }, "Sign out"),
          );
    swap(
      root,
      el(
        "div",
        { class: "bar" },
        brand(me.deployment),
        el("div", { id: "activity", role: "status" }),
        el("span", { class: "right" }, live, who),
      ),
      el(
        "nav",
        { "aria-label": "Views" },
        el(
          "ul",
          {},
          PLACES.map(([place]) => el("li", {}, links.get(place))),
        ),
      ),
    );
  },

  /** Marks the view that is open. */
  at(place) {
    for (const [name, link] of links) {
      if (name === place) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
  },

  /** Says whether changes are heard as they happen. */
  live(is) {
    const words = is ? "Live" : "Reconnecting…";
    if (live.textContent === `● ${words}` || live.textContent === `○ ${words}`) return;
    live.classList.toggle("off", !is);
    swap(live, el("span", { "aria-hidden": "true" }, is ? "● " : "○ "), words);
  },
};

function brand(deployment) {
  return el(
    "a",
    { class: "brand", href: "#/overview" },
    el("span", { class: "name" }, "Cutline"),
    deployment && el("span", { class: "deployment" }, deployment),
  );
}
