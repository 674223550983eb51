// The start of the dashboard: who is there, which view the address names, and keeping that view true.
//
// It promises that what is shown is refreshed on every change and after every reconnection, and that it is said plainly when
// the admin API does not answer and how old what is shown is then. What a view shows is the view's.

import { Problem, token } from "./api.js";
import { announce, el, keep, swap } from "./dom.js";
import { follow } from "./stream.js";
import { header } from "./header.js";
import { login } from "./login.js";
import { whoami } from "./me.js";
import { notice } from "./notice.js";
import { problemBox } from "./problem.js";
import { activity } from "./activity.js";
import { openCheckpoint } from "./checkpoint.js";
import { openCheckpoints } from "./checkpoints.js";
import { openCode } from "./codes.js";
import { openEvents } from "./events.js";
import { openOverview } from "./overview.js";
import { openRestore } from "./restore.js";
import { openRestores } from "./restores.js";
import { openSchedule } from "./schedule.js";
import { openSidecars } from "./sidecars.js";
import { openTopology } from "./topology.js";
import { openWizard } from "./wizard.js";

const VIEWS = [
  { path: /^\/overview$/, title: "Overview", open: openOverview, nav: "overview" },
  { path: /^\/topology$/, title: "Topology", open: openTopology, nav: "topology" },
  { path: /^\/checkpoints$/, title: "Checkpoints", open: openCheckpoints, nav: "checkpoints" },
  { path: /^\/checkpoints\/(\d+)$/, title: "Checkpoint", open: openCheckpoint, nav: "checkpoints" },
  { path: /^\/restores$/, title: "Rollbacks", open: openRestores, nav: "restores" },
  { path: /^\/restores\/([\w.-]+)$/, title: "Rollback", open: openRestore, nav: "restores" },
  { path: /^\/rollback(?:\/(\d+))?$/, title: "Roll back", open: openWizard, nav: "restores" },
  { path: /^\/schedule$/, title: "Schedule", open: openSchedule, nav: "schedule" },
  { path: /^\/sidecars$/, title: "Sidecars", open: openSidecars, nav: "sidecars" },
  { path: /^\/events$/, title: "Events", open: openEvents, nav: "events" },
  { path: /^\/codes\/(CL\d{4})$/, title: "Error code", open: openCode, nav: null },
];
const START = "/overview";
/** How soon after an event what is shown is asked for again: events come in bursts. */
const SETTLE_MS = 150;
/** How often it is asked for while nothing is heard, unless the view says otherwise. */
const PERIOD_MS = 10_000;
const RETRY_MS = 2_000;
/** How often it is asked whether this admin API still leads, and who one is. */
const WHO_PERIOD_MS = 30_000;

const main = document.getElementById("main");
const context = { me: null, refresh: () => refresh() };
let view = null;
let opened = 0;
let timer = null;
let running = false;
let again = false;

async function refresh() {
  if (running) {
    again = true;
    return;
  }
  running = true;
  clearTimeout(timer);
  const mine = opened;
  let wait = null;
  try {
    await view?.refresh?.();
    notice.answered(context.me);
    if (!context.me.leading) whoAgain();
    if (mine === opened) keep(trouble, null, () => null);
  } catch (problem) {
    if (problem instanceof Problem && problem.status === 401)
      return signOut("The token is not known here any more. Sign in again.");
    if (problem.waits) {
      notice.failed(problem);
      wait = RETRY_MS;
    } else if (mine === opened) keep(trouble, problem.message, () => problemBox(problem, "This cannot be shown"));
    // Not an answer but a mistake of this page: whoever looks into it finds where.
    if (!("title" in problem)) console.error(problem);
  } finally {
    running = false;
  }
  timer = setTimeout(refresh, again ? 0 : (wait ?? view?.period ?? PERIOD_MS));
  again = false;
}

const trouble = el("div");

function show() {
  const address = location.hash.slice(1).split("?")[0] || START;
  const found = VIEWS.map((one) => [one, one.path.exec(address)]).find(([, match]) => match);
  if (!found) {
    location.replace(`#${START}`);
    return;
  }
  const [wanted, match] = found;
  view?.close?.();
  opened += 1;
  keep(trouble, null, () => null);
  swap(main, trouble);
  document.title = `${wanted.title} – ${context.me.deployment} – Cutline`;
  header.at(wanted.nav);
  view = wanted.open(main, context, match.slice(1));
  scrollTo(0, 0);
  main.querySelector("h1")?.focus({ preventScroll: true });
  refresh();
}

let settling = null;

function heard(event) {
  view?.event?.(event);
  activity.event(event);
  if (event.kind === "leader.elected") announce("Another admin API leads now.");
  settling ??= setTimeout(() => {
    settling = null;
    refresh();
  }, SETTLE_MS);
}

function connected(is) {
  header.live(is);
  // What happened while nothing was heard is not told again by a new leader.
  refresh();
  if (is) whoAgain();
}

async function whoAgain() {
  try {
    context.me = await whoami();
    notice.answered(context.me);
  } catch {
    // The view's own requests tell.
  }
}

function signOut(reason) {
  token.forget();
  sessionStorage.setItem("cutline.reason", reason ?? "");
  location.reload();
}

async function who() {
  for (;;) {
    try {
      return await whoami();
    } catch (problem) {
      if (problem instanceof Problem && !problem.waits) {
        const reason = sessionStorage.getItem("cutline.reason");
        sessionStorage.removeItem("cutline.reason");
        token.forget();
        return login(main, reason);
      }
      notice.failed(problem);
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    }
  }
}

header.before();
context.me = await who();
notice.answered(context.me);
header.open(context.me, () => signOut());
activity.open(document.getElementById("activity"));
addEventListener("hashchange", show);
// The skip link moves the keyboard; it is no address.
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
show();
follow(heard, connected);
setInterval(whoAgain, WHO_PERIOD_MS);
