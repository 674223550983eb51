// The plan of a rollback, for a person to judge: what stands against it, what goes back, what is masked, who has seen too much.

import { el } from "./dom.js";
import { code } from "./problem.js";
import { bytes, count, plural } from "./quantity.js";
import { mark } from "./status.js";
import { table } from "./table.js";

/** The plan. */
export function planView(plan) {
  return [
    verdict(plan),
    plan.warnings.length > 0 &&
      el(
        "section",
        { class: "box warn" },
        el("h3", {}, "To know before"),
        el(
          "ul",
          {},
          plan.warnings.map((text) => el("li", {}, text)),
        ),
      ),
    el("h3", {}, "What goes back"),
    services(plan.services),
    positions(plan.services),
    el("h3", {}, "What will be masked"),
    masks(plan.masks),
    el("h3", {}, "Who else is touched"),
    plan.contaminated.length > 0
      ? contaminations(plan.contaminated)
      : el("p", {}, mark("good", "✓", "Nobody outside has read what will be masked.")),
    holds(plan.holds),
  ];
}

function verdict(plan) {
  if (plan.feasible) {
    return el(
      "p",
      { class: "box good" },
      el("strong", {}, "It can be done now. "),
      "Nothing is held or changed until it is confirmed.",
    );
  }
  return el(
    "section",
    { class: "box bad" },
    el("h3", {}, `It cannot be done: ${plural(plan.problems.length, "problem")}`),
    el(
      "ul",
      {},
      plan.problems.map((problem) => el("li", {}, code(problem.code), " ", problem.detail)),
    ),
  );
}

function services(list) {
  return table({
    caption: "State by service",
    key: "plan-state",
    rows: list.flatMap((service) =>
      service.state.length > 0 ? service.state.map((state) => ({ service, state })) : [{ service, state: null }],
    ),
    empty: "none.",
    columns: [
      { head: "Service", row: true, cell: ({ service }) => service.service },
      { head: "Process", cell: ({ state }) => state?.process ?? "no state recorded" },
      { head: "Provider", cell: ({ state }) => state?.provider ?? "–" },
      { head: "State", number: true, cell: ({ state }) => bytes(state?.state_size) },
      { head: "Positions", number: true, cell: ({ service }) => count(service.positions.length) },
    ],
  });
}

function positions(list) {
  const sums = new Map();
  for (const service of list) {
    for (const at of service.positions) {
      const key = `${at.group} ${at.topic}`;
      const sum = sums.get(key) ?? {
        service: service.service,
        group: at.group,
        topic: at.topic,
        partitions: 0,
        back: 0,
      };
      sum.partitions += 1;
      sum.back += Math.max(0, (at.committed_now ?? 0) - (at.offset ?? 0));
      sums.set(key, sum);
    }
  }
  return table({
    caption: "Positions, and how far they go back",
    key: "plan-positions",
    rows: [...sums.values()],
    empty: "no group has any.",
    columns: [
      { head: "Group", row: true, cell: (sum) => sum.group },
      { head: "Topic", cell: (sum) => sum.topic },
      { head: "Partitions", number: true, cell: (sum) => count(sum.partitions) },
      { head: "Offsets back", number: true, cell: (sum) => count(sum.back) },
    ],
  });
}

function masks(list) {
  const total = list.reduce((sum, mask) => sum + mask.to - mask.from, 0);
  return [
    el(
      "p",
      {},
      list.length === 0
        ? "Nothing: no restored service has written anything since."
        : `${plural(total, "offset")} on ${plural(list.length, "range")}, as things are now. Nobody will be delivered them again; they stay in the log.`,
    ),
    list.length > 0 &&
      table({
        caption: "Masked records by writer and partition",
        key: "plan-masks",
        rows: list,
        columns: [
          { head: "Written by", row: true, cell: (mask) => mask.service },
          { head: "Partition", cell: (mask) => `${mask.topic}-${mask.partition}` },
          { head: "From", number: true, cell: (mask) => count(mask.from) },
          { head: "Up to", number: true, cell: (mask) => count(mask.to) },
          { head: "Offsets", number: true, cell: (mask) => count(mask.to - mask.from) },
        ],
      }),
  ];
}

/** Groups that have read what is masked. */
export function contaminations(list) {
  return [
    el(
      "p",
      { class: "box warn" },
      "These groups have read records that will not have been written. What they did with them stays.",
    ),
    table({
      caption: "Contaminated groups",
      key: "contaminated",
      rows: list,
      columns: [
        { head: "Group", row: true, cell: (one) => one.group },
        { head: "Service", cell: (one) => one.service ?? "none: outside this deployment" },
        { head: "Partition", cell: (one) => `${one.topic}-${one.partition}` },
        { head: "From", number: true, cell: (one) => count(one.from) },
        { head: "Read up to", number: true, cell: (one) => count(one.delivered) },
      ],
    }),
  ];
}

function holds(list) {
  return (
    list.length > 0 &&
    table({
      caption: "Where unrestored readers wait meanwhile",
      key: "plan-holds",
      rows: list,
      columns: [
        { head: "Partition", row: true, cell: (hold) => `${hold.topic}-${hold.partition}` },
        { head: "Held at", number: true, cell: (hold) => count(hold.offset) },
      ],
    })
  );
}
