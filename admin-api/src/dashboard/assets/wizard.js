// A rollback, step by step: to which checkpoint and for whom, what it would do, a typed word, and then its progress.
//
// It promises that nothing is held or changed before the word is typed, and that what is confirmed is what was planned: whatever is
// chosen anew has to be planned anew.

import { get, newKey, post } from "./api.js";
import { typedWord } from "./dialog.js";
import { announce, check, el, fill, keep, swap } from "./dom.js";
import { planView } from "./plan.js";
import { problemBox } from "./problem.js";
import { bytes, plural, stamp } from "./quantity.js";
import { isGone } from "./restorable.js";
import { roleButton, whyNot } from "./role.js";
import { mark } from "./status.js";

const CHOICES_MAX = 200;

export function openWizard(main, context, [wanted]) {
  const parts = { choose: el("div"), services: el("div"), plan: el("div"), confirm: el("div") };
  const options = {
    safety: check("safety", true, "Take a checkpoint of the present state first, so that this can be undone", {
      onchange: () => stale(),
    }),
    contamination: check("contamination", false, "Go on although others have read what will be masked", {
      onchange: () => stale(),
    }),
  };
  const select = el("select", { id: "epoch", onchange: () => chosen() });
  const state = { services: new Set(), all: true, request: null };
  fill(
    main,
    el("h1", { tabindex: -1 }, "Roll back"),
    el(
      "p",
      {},
      "Services and their state go back to one checkpoint, together. Planning holds nothing and changes nothing.",
    ),
    whyNot(context.me, "admin") &&
      el("p", { class: "box warn" }, "Planning and rolling back is for admins. ", whyNot(context.me, "admin")),
    el(
      "section",
      { class: "step-box" },
      el("h2", {}, "1. Choose"),
      el("div", { class: "field" }, el("label", { for: "epoch" }, "Checkpoint"), select),
      parts.services,
      el("div", {}, options.safety.line),
      el("div", {}, options.contamination.line),
      el(
        "div",
        { class: "actions" },
        roleButton(context.me, "admin", "Plan it", () => plan(), { class: "primary", id: "plan" }),
      ),
    ),
    parts.plan,
    parts.confirm,
  );

  /** What was planned is no longer what is chosen. */
  function stale() {
    state.request = null;
    swap(parts.plan);
    swap(parts.confirm);
  }

  async function chosen() {
    stale();
    state.all = true;
    state.services.clear();
    swap(parts.services);
    if (!select.value) return;
    try {
      const detail = await get(`v1/checkpoints/${select.value}`);
      const names = [...new Set(detail.processes.map((process) => process.service))].sort();
      swap(parts.services, serviceChoice(names, state, stale));
    } catch (problem) {
      swap(parts.services, problemBox(problem, "Its services cannot be read"));
    }
  }

  function request() {
    return {
      epoch: Number(select.value),
      ...(state.all ? {} : { services: [...state.services] }),
      safety_checkpoint: options.safety.box.checked,
      allow_contamination: options.contamination.box.checked,
    };
  }

  async function plan() {
    stale();
    const asked = request();
    if (!state.all && state.services.size === 0) {
      swap(parts.plan, el("p", { class: "box warn", role: "alert" }, "Choose at least one service."));
      return;
    }
    swap(
      parts.plan,
      el(
        "p",
        { class: "box busy", role: "status" },
        "Planning: reading the checkpoint and asking Kafka and every sidecar…",
      ),
    );
    try {
      const found = await post("v1/restores", { ...asked, dry_run: true });
      if (JSON.stringify(request()) !== JSON.stringify(asked)) return;
      state.request = asked;
      const heading = el("h2", { tabindex: -1, id: "plan-heading" }, "2. Look at the plan");
      swap(
        parts.plan,
        el(
          "section",
          { class: "step-box" },
          heading,
          el(
            "p",
            { class: "hint" },
            `As of ${stamp(new Date())}, to checkpoint ${asked.epoch}. What is masked grows while services write; the rollback plans again itself.`,
          ),
          planView(found),
        ),
      );
      if (found.feasible) confirmation();
      heading.focus();
      announce(found.feasible ? "The plan is there: it can be done." : "The plan is there: it cannot be done.");
    } catch (problem) {
      swap(parts.plan, problemBox(problem, "There is no plan"));
    }
  }

  function confirmation() {
    const asked = state.request;
    const key = newKey();
    const wrong = el("div");
    const button = el("button", { type: "submit", class: "danger", id: "roll-back" }, "Roll back now");
    const submit = async (event) => {
      event.preventDefault();
      button.disabled = true;
      swap(wrong);
      try {
        const begun = await post("v1/restores", asked, key);
        location.hash = `#/restores/${begun.id}`;
      } catch (problem) {
        swap(wrong, problemBox(problem, "It was not begun"));
        button.disabled = false;
      }
    };
    const whom = asked.services ? asked.services.join(", ") : "all its services";
    swap(
      parts.confirm,
      el(
        "form",
        { class: "step-box danger-box", onsubmit: submit },
        el("h2", {}, "3. Confirm"),
        el(
          "p",
          {},
          `This puts ${whom} of deployment `,
          el("strong", {}, context.me.deployment),
          ` back to checkpoint ${asked.epoch}. `,
          "Their connections to Kafka are closed until it is done. Once state is being put back it cannot be stopped.",
        ),
        el(
          "p",
          {},
          asked.safety_checkpoint
            ? "The present state is kept in a checkpoint first."
            : mark("warn", "!", "No checkpoint of the present state is taken: this cannot be undone."),
        ),
        typedWord(context.me.deployment, button),
        wrong,
        el("div", { class: "actions" }, button),
      ),
    );
  }

  let first = true;
  return {
    async refresh() {
      const { history } = await get(`v1/checkpoints?status=COMPLETED&limit=${CHOICES_MAX}`);
      const before = first ? wanted : select.value;
      keep(select, history, () =>
        history.map((one) => el("option", { value: one.epoch, disabled: isGone(one) }, choice(one))),
      );
      if (history.length === 0)
        return swap(parts.services, el("p", { class: "box warn" }, "There is no completed checkpoint to go back to."));
      if (before && history.some((one) => String(one.epoch) === before)) select.value = before;
      if (first || (before && select.value !== before)) {
        first = false;
        await chosen();
        if (wanted && select.value !== wanted) {
          parts.services.prepend(
            el("p", { class: "box warn" }, `Checkpoint ${wanted} cannot be chosen: it did not complete, or is gone.`),
          );
        }
      }
    },
  };
}

function choice(one) {
  const name = one.savepoint ? ` “${one.savepoint}”` : "";
  const gone = isGone(one) ? ", not restorable any more" : "";
  return `${one.epoch}${name} – ${stamp(one.started_at)}, ${bytes(one.state_size)}, ${plural(one.process_count, "process", "processes")}${gone}`;
}

function serviceChoice(names, state, stale) {
  const boxes = names.map((name, index) => {
    const onchange = ({ target }) => {
      if (target.checked) state.services.add(name);
      else state.services.delete(name);
      stale();
    };
    return check(`service-${index}`, true, name, { disabled: true, onchange });
  });
  const some = (are) => {
    state.all = !are;
    state.services = new Set(names);
    for (const { box } of boxes) {
      box.disabled = !are;
      box.checked = true;
    }
    stale();
  };
  const radio = (id, checked, words, are) =>
    el(
      "div",
      {},
      el(
        "span",
        { class: "check" },
        el("input", { type: "radio", name: "which", id, checked, onchange: () => some(are) }),
        el("label", { for: id }, words),
      ),
    );
  return el(
    "fieldset",
    {},
    el("legend", {}, "Services"),
    radio("which-all", true, `All ${plural(names.length, "service")} of the checkpoint`, false),
    radio("which-some", false, "Only these", true),
    el(
      "div",
      { class: "choices" },
      boxes.map(({ line }) => line),
    ),
  );
}
