// The topology as boxes and edges: services with what runs of them, topics between them, and everything that needs attention.
//
// It reads the answer of the admin API once; the graph and the table are drawn of the same world, and so cannot disagree.

import { count, plural } from "./quantity.js";

/** The world of `GET /v1/topology` and `GET /v1/sidecars`. */
export function worldOf(topology, sidecars) {
  const lag = new Map(topology.lag.map((one) => [one.group, one]));
  const groups = new Map(topology.groups.map((one) => [one.group, one]));
  const states = new Map(sidecars.map((one) => [`${one.service}/${one.instance}`, one.state]));
  const services = topology.services.map((service) => serviceOf(service, groups, lag, states));
  return {
    services,
    topics: topology.topics,
    lagProblem: topology.lag_problem ?? null,
    timeline: topology.timeline,
    maskedPartitions: topology.masked_partitions,
    outside: services.reduce((sum, one) => sum + one.outside.length, 0),
  };
}

function serviceOf(service, groups, lag, states) {
  const mine = service.groups.map((name) => groupOf(name, groups.get(name), lag.get(name)));
  const instances = service.instances.map((name) => ({
    name,
    state: states.get(`${service.service}/${name}`) ?? "lost",
  }));
  const lags = mine.map((group) => group.lag).filter((one) => one !== null);
  return {
    id: service.service,
    hasState: service.has_state,
    fenced: service.fenced,
    reads: service.reads,
    writes: service.writes,
    groups: mine,
    instances,
    away: instances.filter((one) => one.state !== "connected"),
    outside: mine.flatMap((group) => group.outside.map((member) => ({ group: group.name, member }))),
    lag: lags.length === 0 ? null : lags.reduce((sum, one) => sum + one, 0),
  };
}

function groupOf(name, described, lag) {
  const members = described?.members ?? [];
  return {
    name,
    members: members.length,
    outside: members.filter((member) => !member.sidecar).map((member) => member.member),
    lag: lag?.lag ?? null,
    partitions: lag?.partitions ?? [],
  };
}

/** What is wrong with a service, in few words; empty when nothing is. */
export function troubles(service) {
  return [
    service.fenced && "fenced by a rollback",
    service.outside.length > 0 && `${plural(service.outside.length, "member")} behind no sidecar`,
    ...["lost", "unregistered"].map((state) => {
      const number = service.away.filter((one) => one.state === state).length;
      return number > 0 && `${plural(number, "sidecar")} ${state}`;
    }),
    service.instances.length === 0 && "no instance runs",
  ].filter(Boolean);
}

/** The lag of a service or group, in words. */
export function lagWords(lag) {
  return lag === null ? "lag unknown" : `lag ${count(lag)}`;
}

/** The boxes of a world and what leads from one to another. Without topics, edges lead from service to service. */
export function graphOf(world, { topics, details }) {
  const boxes = world.services.map((service) => ({
    id: `s:${service.id}`,
    kind: "service",
    title: service.id,
    service,
    lines: lines(service, details),
    bad: troubles(service).length > 0,
  }));
  const edges = [];
  for (const topic of world.topics) {
    const id = `t:${topic.topic}`;
    if (topics) {
      boxes.push({
        id,
        kind: "topic",
        title: topic.topic,
        topic,
        lines: [topic.partitions === 0 ? "does not exist" : plural(topic.partitions, "partition")],
        bad: topic.partitions === 0,
      });
      for (const writer of topic.writers) edges.push({ from: `s:${writer}`, to: id });
      for (const reader of topic.readers) edges.push({ from: id, to: `s:${reader}` });
    } else {
      for (const writer of topic.writers)
        for (const reader of topic.readers) edges.push({ from: `s:${writer}`, to: `s:${reader}` });
    }
  }
  const seen = new Set();
  const once = ({ from, to }) => !seen.has(`${from}\n${to}`) && seen.add(`${from}\n${to}`);
  return { boxes, edges: edges.filter(once) };
}

function lines(service, details) {
  const summary = `${plural(service.instances.length, "instance")}, ${lagWords(service.lag)}`;
  const wrong = troubles(service).map((text) => `! ${text}`);
  if (!details) return [summary, ...wrong];
  return [
    summary,
    ...wrong,
    ...service.groups.map((group) => `group ${group.name}: ${lagWords(group.lag)}`),
    ...service.instances.map(
      (one) =>
        `${one.state === "connected" ? "✓" : "✕"} instance ${one.name}: ${one.state === "connected" ? "behind its sidecar" : one.state}`,
    ),
    ...service.outside.map(({ member }) => `! ${member}: no sidecar`),
  ];
}
