// Where the boxes of a layered graph lie: left to right along its edges, with as few crossings as a few sweeps find.
//
// Given boxes with sizes and edges between them it answers places, the same for the same input; cycles are broken, and their closing
// edges run back. An edge over several columns gets places of its own between, so that it does not run behind boxes. It knows
// nothing of what the boxes are, and takes a second for none of the graphs people look at.

/** The middle of a place that an edge has. */
export const WAY_MIDDLE = 7;

const COLUMN_GAP = 90;
const ROW_GAP = 16;
const SWEEPS = 8;
/** Edges get places of their own in graphs of up to so many boxes: in a crowd nobody follows a single line. */
const WAYS_BOXES_MAX = 120;
const WAY_HEIGHT = 2 * WAY_MIDDLE;
/** A column that would be taller than this many boxes is continued in another beside it. */
const COLUMN_ROWS_MIN = 14;
/** A way through more layers than this is laid in fewer: nobody reads a strip of a hundred columns. */
const LAYERS_MAX = 24;

/**
 * Places `nodes` (`{ id, width, height }`) by `edges` (`{ from, to }`): `{ at, ways, width, height }`. `at` is where each id is, `ways`
 * which ids an edge passes on its way, by its ends.
 */
export function layout(nodes, edges) {
  const ids = nodes.map((node) => node.id);
  const known = new Set(ids);
  const forward = acyclic(
    ids,
    edges.filter(({ from, to }) => from !== to && known.has(from) && known.has(to)),
  );
  const size = new Map(nodes.map((node) => [node.id, node]));
  const layers = layered(ids, forward);
  const { ways, hops } =
    ids.length <= WAYS_BOXES_MAX ? between(layers, forward, size) : { ways: new Map(), hops: forward };
  return { ...placed(columns(ordered(layers, hops), nodes.length), size, hops), ways };
}

/** Gives every edge that passes by a layer a place in it: the places of each edge, by its ends, and the edges from place to place. */
function between(layers, edges, size) {
  const rank = new Map(layers.flatMap((layer, index) => layer.map((id) => [id, index])));
  const ways = new Map();
  const hops = [];
  for (const { from, to } of edges) {
    const way = [];
    for (let layer = rank.get(from) + 1; layer < rank.get(to); layer += 1) {
      const id = `${from}\n${to}\n${layer}`;
      size.set(id, { id, width: 0, height: WAY_HEIGHT });
      layers[layer].push(id);
      way.push(id);
    }
    const stops = [from, ...way, to];
    for (let at = 1; at < stops.length; at += 1) hops.push({ from: stops[at - 1], to: stops[at] });
    if (way.length > 0) ways.set(`${from}\n${to}`, way);
  }
  return { ways, hops };
}

/** The edges with those that close a cycle turned round. */
function acyclic(ids, edges) {
  const out = new Map(ids.map((id) => [id, []]));
  const inward = new Map(ids.map((id) => [id, 0]));
  for (const { from, to } of edges) {
    out.get(from).push(to);
    inward.set(to, inward.get(to) + 1);
  }
  const state = new Map();
  const back = new Set();
  // Begun where nothing comes in, so that what turns back is what leads back there.
  const starts = [...ids].sort((a, b) => inward.get(a) - inward.get(b));
  for (const start of starts) {
    if (state.has(start)) continue;
    const stack = [[start, 0]];
    state.set(start, "open");
    while (stack.length > 0) {
      const top = stack.at(-1);
      const next = out.get(top[0])[top[1]];
      top[1] += 1;
      if (next === undefined) {
        state.set(top[0], "closed");
        stack.pop();
      } else if (state.get(next) === "open") back.add(`${top[0]}\n${next}`);
      else if (!state.has(next)) {
        state.set(next, "open");
        stack.push([next, 0]);
      }
    }
  }
  return edges.map(({ from, to }) => (back.has(`${from}\n${to}`) ? { from: to, to: from } : { from, to }));
}

/** Each box as far right as the longest way to it. */
function layered(ids, edges) {
  const inward = new Map(ids.map((id) => [id, 0]));
  const out = new Map(ids.map((id) => [id, []]));
  for (const { from, to } of edges) {
    inward.set(to, inward.get(to) + 1);
    out.get(from).push(to);
  }
  const rank = new Map(ids.map((id) => [id, 0]));
  const ready = ids.filter((id) => inward.get(id) === 0);
  for (let index = 0; index < ready.length; index += 1) {
    const id = ready[index];
    for (const to of out.get(id)) {
      rank.set(to, Math.max(rank.get(to), rank.get(id) + 1));
      inward.set(to, inward.get(to) - 1);
      if (inward.get(to) === 0) ready.push(to);
    }
  }
  const layers = [];
  const fold = Math.ceil((1 + Math.max(0, ...rank.values())) / LAYERS_MAX);
  for (const id of ids) (layers[Math.floor(rank.get(id) / fold)] ??= []).push(id);
  return layers.filter(Boolean);
}

/** Every layer by the mean place of its neighbours, swept to and fro. */
function ordered(layers, edges) {
  const before = neighbours(edges, "to", "from");
  const after = neighbours(edges, "from", "to");
  const place = new Map();
  const note = (layer) => layer.forEach((id, index) => place.set(id, index / Math.max(1, layer.length - 1)));
  layers.forEach(note);
  for (let sweep = 0; sweep < SWEEPS; sweep += 1) {
    const down = sweep % 2 === 0;
    const beside = down ? before : after;
    const order = down ? layers : [...layers].reverse();
    for (const layer of order) {
      const mean = new Map(
        layer.map((id) => [
          id,
          average(
            (beside.get(id) ?? []).map((other) => place.get(other)),
            place.get(id),
          ),
        ]),
      );
      layer.sort((a, b) => mean.get(a) - mean.get(b) || place.get(a) - place.get(b));
      note(layer);
    }
  }
  return layers;
}

function neighbours(edges, of, other) {
  const all = new Map();
  for (const edge of edges) all.set(edge[of], (all.get(edge[of]) ?? []).concat(edge[other]));
  return all;
}

function average(values, otherwise) {
  return values.length === 0 ? otherwise : values.reduce((sum, value) => sum + value, 0) / values.length;
}

function columns(layers, count) {
  const rows = Math.max(COLUMN_ROWS_MIN, Math.ceil(Math.sqrt(count) * 1.4));
  return layers.flatMap((layer) => {
    const parts = Math.ceil(layer.length / rows);
    const each = Math.ceil(layer.length / parts);
    return Array.from({ length: parts }, (_, part) => layer.slice(part * each, (part + 1) * each));
  });
}

function placed(all, size, edges) {
  const beside = neighbours(edges.concat(edges.map(({ from, to }) => ({ from: to, to: from }))), "from", "to");
  const at = new Map();
  let x = 0;
  all.forEach((column, index) => {
    let y = 0;
    const width = Math.max(...column.map((id) => size.get(id).width));
    for (const id of column) {
      at.set(id, { x, y, column: index, columnWidth: width });
      y += size.get(id).height + ROW_GAP;
    }
    x += width + COLUMN_GAP;
  });
  for (let sweep = 0; sweep < SWEEPS; sweep += 1) {
    for (const column of sweep % 2 === 0 ? all : [...all].reverse()) settle(column, size, beside, at);
  }
  const top = Math.min(0, ...[...at.values()].map((one) => one.y));
  for (const one of at.values()) one.y -= top;
  const height = Math.max(0, ...[...at].map(([id, one]) => one.y + size.get(id).height));
  return { at, width: Math.max(0, x - COLUMN_GAP), height };
}

/** Moves the boxes of a column towards their neighbours, without changing their order or letting them touch. */
function settle(column, size, beside, at) {
  const middle = (id) => at.get(id).y + size.get(id).height / 2;
  const wanted = column.map((id) => average((beside.get(id) ?? []).map(middle), middle(id)) - size.get(id).height / 2);
  let y = -Infinity;
  column.forEach((id, index) => {
    y = Math.max(wanted[index], y);
    at.get(id).y = y;
    y += size.get(id).height + ROW_GAP;
  });
  // Pushed down by those above: all of it goes up by half of what that came to.
  const pushed = average(
    column.map((id, index) => at.get(id).y - wanted[index]),
    0,
  );
  for (const id of column) at.get(id).y -= pushed;
}
