// What changed from one checkpoint to the next: state by size, positions by how far groups got, topics and processes by name.

import { el } from "./dom.js";
import { bytes, bytesChange, count, duration } from "./quantity.js";
import { mark } from "./status.js";
import { table } from "./table.js";

/** How `to` differs from `from`, both details of completed checkpoints. */
export function difference(from, to) {
  const apart = Math.round((new Date(to.started_at) - new Date(from.started_at)) / 1000) * 1000;
  return el(
    "section",
    {},
    el("h2", {}, `Since checkpoint ${from.epoch}`),
    el(
      "p",
      { class: "hint" },
      `Taken ${duration(apart)} before. State is compared by size, positions by offset. `,
      el("a", { href: `#/checkpoints/${from.epoch}` }, `Checkpoint ${from.epoch}`),
    ),
    from.timeline !== to.timeline &&
      el("p", { class: "box warn" }, `A rollback lies between them: timeline ${from.timeline} became ${to.timeline}.`),
    states(from, to),
    progress(from, to),
    topics(from, to),
  );
}

function states(from, to) {
  const before = new Map(from.processes.map((one) => [one.process, one]));
  const after = new Map(to.processes.map((one) => [one.process, one]));
  const names = [...new Set([...before.keys(), ...after.keys()])].sort();
  const rows = names.map((name) => ({ name, before: before.get(name), after: after.get(name) }));
  return table({
    caption: "State by process",
    key: "state-difference",
    rows,
    columns: [
      { head: "Process", row: true, cell: (row) => row.name },
      { head: "Before", number: true, cell: (row) => bytes(row.before?.state_size) },
      { head: "After", number: true, cell: (row) => bytes(row.after?.state_size) },
      { head: "Change", number: true, cell: change },
      { head: "Uploaded", number: true, cell: (row) => bytes(row.after?.bytes_uploaded) },
    ],
  });
}

function change({ before, after }) {
  if (!before) return mark("plain", "+", "new");
  if (!after) return mark("warn", "−", "gone");
  return bytesChange(after.state_size - before.state_size);
}

function progress(from, to) {
  const positions = (one) =>
    new Map(
      [...one.processes.flatMap((process) => process.positions), ...one.idle_positions].map((at) => [
        `${at.group} ${at.topic} ${at.partition}`,
        at,
      ]),
    );
  const before = positions(from);
  const sums = new Map();
  for (const [key, at] of positions(to)) {
    const name = `${at.group} ${at.topic}`;
    const sum = sums.get(name) ?? { group: at.group, topic: at.topic, partitions: 0, offsets: 0 };
    sum.partitions += 1;
    sum.offsets += (at.offset ?? 0) - (before.get(key)?.offset ?? 0);
    sums.set(name, sum);
  }
  return table({
    caption: "How far groups got",
    key: "progress",
    rows: [...sums.values()],
    columns: [
      { head: "Group", row: true, cell: (sum) => sum.group },
      { head: "Topic", cell: (sum) => sum.topic },
      { head: "Partitions", number: true, cell: (sum) => count(sum.partitions) },
      {
        head: "Offsets",
        number: true,
        cell: (sum) => (sum.offsets < 0 ? `−${count(-sum.offsets)}` : `+${count(sum.offsets)}`),
      },
    ],
  });
}

function topics(from, to) {
  const before = new Map(from.topics.map((topic) => [topic.name, topic]));
  const after = new Map(to.topics.map((topic) => [topic.name, topic]));
  const changes = [];
  for (const [name, topic] of after) {
    const old = before.get(name);
    if (!old) changes.push(`${name} is new`);
    else if (old.id !== topic.id) changes.push(`${name} was deleted and made again`);
    else if (old.partitions !== topic.partitions)
      changes.push(`${name} has ${topic.partitions} partitions, had ${old.partitions}`);
  }
  for (const name of before.keys()) if (!after.has(name)) changes.push(`${name} is gone`);
  return (
    changes.length > 0 &&
    el(
      "div",
      {},
      el("h3", {}, "Topics"),
      el(
        "ul",
        {},
        changes.map((text) => el("li", {}, text)),
      ),
    )
  );
}
