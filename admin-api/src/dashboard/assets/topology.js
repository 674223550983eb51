// Who reads and writes what: a graph for the eye and a table that says the same, both narrowed by one search.

import { get } from "./api.js";
import { announce, check, el, fill, keep } from "./dom.js";
import { Graph } from "./graph.js";
import { count, plural } from "./quantity.js";
import { mark } from "./status.js";
import { table } from "./table.js";
import { graphOf, lagWords, troubles, worldOf } from "./world.js";

const PERIOD_MS = 5_000;
/** Up to so many services are drawn with all that runs of them. */
const DETAILED_MAX = 24;
const SAY_AFTER_MS = 600;

export function openTopology(main) {
  const parts = { summary: el("div"), about: el("div", { class: "about" }), table: el("div") };
  const search = el("input", {
    id: "search",
    type: "search",
    autocomplete: "off",
    "aria-describedby": "found",
    oninput: () => found(),
    onkeydown: (event) => enter(event),
  });
  const told = el("span", { id: "found", class: "hint" });
  const options = {
    topics: check("topics", true, "Topics", { onchange: () => draw() }),
    details: check("details", true, "Groups and instances", { onchange: () => draw() }),
    near: check("near", false, "Only what is beside the selected", { onchange: () => draw() }),
  };
  const graph = new Graph({
    label: "Graph of services and topics; the table below says the same",
    onSelect: (id) => select(id === selected ? null : id),
  });
  let world = null;
  let selected = null;
  let first = true;
  fill(
    main,
    el("h1", { tabindex: -1 }, "Topology"),
    parts.summary,
    el("div", { class: "field inline tools" }, el("label", { for: "search" }, "Find"), search, told),
    el(
      "div",
      { class: "tools" },
      Object.values(options).map((option) => option.line),
    ),
    graph.element,
    parts.about,
    parts.table,
  );

  function matches(text) {
    return text.toLowerCase().includes(search.value.trim().toLowerCase());
  }

  function servicesFound() {
    const words = (service) =>
      [service.id, ...service.groups.map((group) => group.name), ...service.reads, ...service.writes].join(" ");
    return world.services.filter((service) => matches(words(service)));
  }

  let saying = null;

  function found() {
    if (!world) return;
    const searched = search.value.trim() !== "";
    const services = servicesFound();
    const topics = world.topics.filter((topic) => matches(topic.topic));
    const ids = new Set([
      ...services.filter((service) => matches(service.id) || topics.length === 0).map((one) => `s:${one.id}`),
      ...topics.map((one) => `t:${one.topic}`),
    ]);
    graph.mark({ found: searched ? ids : null });
    told.textContent = searched
      ? `${plural(services.length, "service")} and ${plural(topics.length, "topic")} found`
      : "";
    clearTimeout(saying);
    if (searched) saying = setTimeout(() => announce(told.textContent), SAY_AFTER_MS);
    keep(parts.table, [services, world.services.length, selected], () => serviceTable(services, world.services.length));
  }

  function enter(event) {
    if (event.key !== "Enter" || !world) return;
    const service = world.services.find((one) => matches(one.id)) ?? servicesFound()[0];
    if (service) select(`s:${service.id}`, true);
  }

  function select(id, bring = false) {
    selected = id;
    graph.mark({ selected });
    if (options.near.box.checked) draw();
    if (bring) graph.show(id);
    about();
    found();
  }

  function about() {
    const service = world?.services.find((one) => `s:${one.id}` === selected);
    const topic = world?.topics.find((one) => `t:${one.topic}` === selected);
    keep(parts.about, [service, topic], () =>
      service ? aboutService(service) : topic ? aboutTopic(topic, world) : null,
    );
  }

  function draw() {
    let { boxes, edges } = graphOf(world, { topics: options.topics.box.checked, details: options.details.box.checked });
    if (options.near.box.checked && selected) {
      const beside = new Set([
        selected,
        ...edges.filter(({ from, to }) => from === selected || to === selected).flatMap(({ from, to }) => [from, to]),
      ]);
      boxes = boxes.filter((box) => beside.has(box.id));
    }
    const drawn = JSON.stringify([boxes.map((box) => [box.id, box.lines]), edges]);
    if (drawn !== draw.last) graph.draw(boxes, edges);
    draw.last = drawn;
  }

  function serviceTable(services, total) {
    return table({
      caption:
        services.length === total
          ? `All ${plural(total, "service")}`
          : `${count(services.length)} of ${plural(total, "service")}`,
      key: "services",
      rows: services,
      empty: total === 0 ? "no service has registered yet." : "no service fits the search.",
      columns: [
        {
          head: "Service",
          row: true,
          cell: (one) =>
            el(
              "button",
              {
                type: "button",
                class: "link",
                "aria-pressed": String(`s:${one.id}` === selected),
                "data-key": `show-${one.id}`,
                onclick: () => select(`s:${one.id}`, true),
              },
              one.id,
            ),
        },
        { head: "Standing", cell: (one) => standing(one) },
        { head: "Instances", cell: (one) => instances(one) },
        { head: "Groups", wide: true, cell: (one) => one.groups.map((group) => group.name).join(", ") || "–" },
        { head: "Lag", number: true, cell: (one) => count(one.lag) },
        { head: "Reads", wide: true, cell: (one) => one.reads.join(", ") || "–" },
        { head: "Writes", wide: true, cell: (one) => one.writes.join(", ") || "–" },
      ],
    });
  }

  return {
    period: PERIOD_MS,
    async refresh() {
      const [topology, sidecars] = await Promise.all([get("v1/topology"), get("v1/sidecars")]);
      world = worldOf(topology, sidecars);
      if (first) options.details.box.checked = world.services.length <= DETAILED_MAX;
      first = false;
      keep(
        parts.summary,
        [
          world.services.length,
          world.topics.length,
          world.outside,
          world.lagProblem,
          world.timeline,
          world.maskedPartitions,
        ],
        () => summary(world),
      );
      draw();
      about();
      found();
    },
  };
}

function summary(world) {
  return [
    el(
      "p",
      {},
      `${plural(world.services.length, "service")}, ${plural(world.topics.length, "topic")}, timeline ${world.timeline}`,
      world.maskedPartitions > 0 && `, ${plural(world.maskedPartitions, "partition")} with masks`,
      ".",
    ),
    world.outside > 0 &&
      el(
        "p",
        { class: "box bad" },
        el("strong", {}, `${plural(world.outside, "group member")} behind no sidecar. `),
        "Checkpoints fail while they are there: what they read and write passes no sidecar.",
      ),
    world.lagProblem && el("p", { class: "box warn" }, "Lag cannot be told: ", world.lagProblem),
  ];
}

function standing(service) {
  const wrong = troubles(service);
  return wrong.length === 0 ? mark("good", "✓", "behind sidecars") : wrong.map((text) => mark("bad", "!", text));
}

function instances(service) {
  return (
    service.instances.map((one) => `${one.name}${one.state === "connected" ? "" : ` (${one.state})`}`).join(", ") ||
    "none"
  );
}

function aboutService(service) {
  const partitions = service.groups.flatMap((group) => group.partitions.map((one) => ({ ...one, group: group.name })));
  return el(
    "section",
    { class: "box", "aria-label": `About ${service.id}` },
    el("h2", {}, service.id),
    el(
      "p",
      {},
      standing(service),
      ` ${service.hasState ? "Records state" : "Records no state"}; ${lagWords(service.lag)}.`,
    ),
    service.outside.length > 0 &&
      el(
        "ul",
        {},
        service.outside.map(({ group, member }) => el("li", {}, `${member} of group ${group} is behind no sidecar`)),
      ),
    partitions.length > 0 &&
      table({
        caption: "Lag by partition",
        key: "lag",
        rows: partitions,
        columns: [
          { head: "Partition", row: true, cell: (one) => `${one.topic}-${one.partition}` },
          { head: "Group", cell: (one) => one.group },
          { head: "Committed", number: true, cell: (one) => count(one.committed) },
          { head: "End", number: true, cell: (one) => count(one.end) },
          { head: "Lag", number: true, cell: (one) => count(one.lag) },
        ],
      }),
  );
}

function aboutTopic(topic) {
  const names = (list) => list.join(", ") || "nobody known here";
  return el(
    "section",
    { class: "box", "aria-label": `About ${topic.topic}` },
    el("h2", {}, topic.topic),
    el(
      "p",
      {},
      topic.partitions === 0 ? "It does not exist." : `${plural(topic.partitions, "partition")}. `,
      `Written by ${names(topic.writers)}; read by ${names(topic.readers)}.`,
    ),
  );
}
