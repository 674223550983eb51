// A picture of a layered graph that can be moved, zoomed, searched and narrowed down to what is beside one box.
//
// It draws boxes with lines of text and the edges between them; what they stand for is for who made them. Whatever it shows stands
// in a table as well: it is one stop for the keyboard, which moves and zooms it.

import { el, svg, swap } from "./dom.js";
import { WAY_MIDDLE, layout } from "./layout.js";

const CHARS_MAX = 34;
/** The font of every line, bold as titles are, so that no line is wider than thought. */
const FONT = "650 12px system-ui, sans-serif";
const LINE_HEIGHT = 17;
const PADDING = 9;
const MARGIN = 24;
const FRAME_MIN = 320;
const FRAME_SHARE = 0.65;
/** How far a line that runs back dips below what it leads between. */
const DIP_MIN = 60;
const DIP_MAX = 240;
/** How far a line runs straight out of its box. */
const REACH_MIN = 30;
const BACK_REACH = 70;
const ZOOM_STEP = 1.3;
/** Never nearer than this many pixels to a unit, never farther than the whole. */
const SCALE_MAX = 2;
const MOVE_SHARE = 0.15;
const SCALE_READABLE = 0.6;
const WINDOWS_FEW = 3;

export class Graph {
  constructor({ label, onSelect }) {
    this.onSelect = onSelect;
    this.picture = svg("svg", { role: "img", "aria-label": label, class: "graph" });
    const button = (title, sign, act) =>
      el("button", { type: "button", title, "aria-label": title, onclick: act }, sign);
    this.frame = el(
      "div",
      {
        class: "graph-frame",
        tabindex: 0,
        role: "group",
        "aria-label": `${label}: arrows move it, plus and minus zoom, 0 shows all`,
      },
      this.picture,
    );
    this.element = el(
      "div",
      { class: "graph-box" },
      el(
        "div",
        { class: "graph-tools" },
        button("Zoom in", "+", () => this.zoom(ZOOM_STEP)),
        button("Zoom out", "−", () => this.zoom(1 / ZOOM_STEP)),
        button("Show all", "All", () => this.fit()),
      ),
      this.frame,
    );
    this.whole = { width: 1, height: 1 };
    this.window = null;
    this.marks = { found: null, selected: null };
    this.frame.addEventListener("keydown", (event) => this.key(event));
    this.frame.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    this.frame.addEventListener("pointerdown", (event) => this.drag(event));
    new ResizeObserver(() => this.look()).observe(this.frame);
  }

  /** Draws `boxes` and `edges` anew; what one looks at stays when the boxes are the same. */
  draw(boxes, edges) {
    if (this.rewrite(boxes, edges)) return;
    const sized = boxes.map((box) => ({ ...box, ...sizeOf(box) }));
    const { at, ways, width, height } = layout(sized, edges);
    const places = new Map(sized.map((box) => [box.id, { ...box, ...at.get(box.id) }]));
    const ids = [...places.keys()].join("\n");
    const same = ids === this.ids;
    this.ids = ids;
    this.places = places;
    this.stops = (from, to) => (ways.get(`${from}\n${to}`) ?? []).map((id) => at.get(id));
    this.edges = edges;
    this.drawn = new Map();
    this.bottom = height;
    const lines = edges.filter(({ from, to }) => places.has(from) && places.has(to)).map((edge) => this.edge(edge));
    this.whole = { width: width + 2 * MARGIN, height: this.bottom + 2 * MARGIN };
    // No taller than it has to be: the table below is a part of the view.
    const wanted = this.whole.height * Math.min(1, this.view().width / this.whole.width);
    this.frame.style.height = `${Math.max(FRAME_MIN, Math.min(innerHeight * FRAME_SHARE, wanted))}px`;
    swap(
      this.picture,
      arrow(),
      svg(
        "g",
        { transform: `translate(${MARGIN} ${MARGIN})` },
        lines,
        [...places.values()].map((box) => this.box(box)),
      ),
    );
    if (same && this.window) this.look();
    else this.begin();
    this.mark();
  }

  /** Writes new words into the boxes there are; false when they are others now, or too small. */
  rewrite(boxes, edges) {
    const fits = (box) => {
      const old = this.places.get(box.id);
      return old?.bad === box.bad && old.lines.length === box.lines.length && sizeOf(box).width <= old.width;
    };
    if (!this.places || boxes.length !== this.places.size || !boxes.every(fits)) return false;
    if (JSON.stringify(edges) !== JSON.stringify(this.edges)) return false;
    for (const box of boxes) {
      const drawn = this.drawn.get(box.id);
      const lines = [box.title, ...box.lines];
      drawn.querySelector("title").textContent = lines.join("\n");
      drawn.querySelectorAll("text").forEach((text, index) => {
        if (text.textContent !== cut(lines[index])) text.textContent = cut(lines[index]);
      });
    }
    return true;
  }

  box(box) {
    const text = (line, index) =>
      svg(
        "text",
        {
          x: PADDING,
          y: PADDING + 12 + index * LINE_HEIGHT,
          class: index === 0 ? "title" : line.startsWith("!") || line.startsWith("✕") ? "wrong" : "line",
        },
        cut(line),
      );
    const drawn = svg(
      "g",
      {
        class: `box-${box.kind}${box.bad ? " wrong" : ""}`,
        transform: `translate(${box.x} ${box.y})`,
        "data-id": box.id,
        onclick: () => this.moved || this.onSelect(box.id),
      },
      svg("title", {}, [box.title, ...box.lines].join("\n")),
      svg("rect", { width: box.width, height: box.height, rx: box.kind === "topic" ? box.height / 2 : 4 }),
      [box.title, ...box.lines].map(text),
    );
    this.drawn.set(box.id, drawn);
    return drawn;
  }

  edge({ from, to }) {
    const [a, b] = [this.places.get(from), this.places.get(to)];
    const [x1, y1, x2, y2] = [a.x + a.width, a.y + a.height / 2, b.x, b.y + b.height / 2];
    const back = b.column <= a.column;
    const dip = back ? Math.min(DIP_MAX, DIP_MIN + (x1 - x2) * 0.3) + Math.abs(y1 - y2) / 2 : 0;
    // A curve reaches three quarters of the way to where it is drawn.
    if (back) this.bottom = Math.max(this.bottom, (y1 + y2) / 2 + dip * 0.75);
    let path = `M${x1} ${y1}`;
    let [x, y] = [x1, y1];
    const curve = (toX, toY) => {
      const reach = back ? BACK_REACH : Math.max(REACH_MIN, (toX - x) / 2);
      path += `C${x + reach} ${y + dip} ${toX - reach} ${toY + dip} ${toX} ${toY}`;
      [x, y] = [toX, toY];
    };
    for (const stop of back ? [] : this.stops(from, to)) {
      curve(stop.x, stop.y + WAY_MIDDLE);
      x = stop.x + stop.columnWidth;
      path += `H${x}`;
    }
    curve(x2 - 2, y2);
    const look = back ? "edge back" : "edge";
    return svg("path", { class: look, "marker-end": "url(#arrow)", "data-from": from, "data-to": to, d: path });
  }

  /** Marks what was found, and what is beside the one selected; the rest steps back. */
  mark(marks = {}) {
    Object.assign(this.marks, marks);
    const { found, selected } = this.marks;
    const beside = selected && this.beside(selected);
    for (const [id, drawn] of this.drawn ?? []) {
      drawn.classList.toggle("found", found?.has(id) ?? false);
      drawn.classList.toggle("selected", id === selected);
      drawn.classList.toggle("faint", (found && !found.has(id)) || (!found && beside && !beside.has(id)) || false);
    }
    for (const line of this.picture.querySelectorAll(".edge")) {
      const { from, to } = line.dataset;
      line.classList.toggle("strong", selected !== null && (from === selected || to === selected));
      line.classList.toggle(
        "faint",
        (found !== null && !(found.has(from) && found.has(to))) ||
          (selected !== null && from !== selected && to !== selected),
      );
    }
  }

  /** The box itself and those an edge leads to or from. */
  beside(id) {
    const all = new Set([id]);
    for (const { from, to } of this.edges ?? []) {
      if (from === id) all.add(to);
      if (to === id) all.add(from);
    }
    return all;
  }

  /** Brings a box to the middle, large enough to be read. */
  show(id) {
    const box = this.places?.get(id);
    if (!box) return;
    const { width, height } = this.view();
    this.window = {
      x: box.x + MARGIN + box.width / 2 - width / 2,
      y: box.y + MARGIN + box.height / 2 - height / 2,
      scale: 1,
    };
    this.look();
  }

  /** What is seen first: all of it, or its left where a window of all of it would be too small to read, and a few windows are enough. */
  begin() {
    this.fit();
    const { width, height } = this.view();
    const few = this.whole.width * SCALE_READABLE < WINDOWS_FEW * width;
    if (this.window.scale >= SCALE_READABLE || !few) return;
    this.window = { x: 0, y: (this.whole.height - height / SCALE_READABLE) / 2, scale: SCALE_READABLE };
    this.look();
  }

  /** Shows all of it. */
  fit() {
    this.window = { x: 0, y: 0, scale: this.least() };
    const { width, height } = this.view();
    this.window.x = (this.whole.width - width / this.window.scale) / 2;
    this.window.y = (this.whole.height - height / this.window.scale) / 2;
    this.look();
  }

  zoom(factor, at = { x: 0.5, y: 0.5 }) {
    const { width, height } = this.view();
    const scale = Math.min(SCALE_MAX, Math.max(this.least(), this.window.scale * factor));
    this.window.x += (width / this.window.scale - width / scale) * at.x;
    this.window.y += (height / this.window.scale - height / scale) * at.y;
    this.window.scale = scale;
    this.look();
  }

  /** The scale at which all of it is seen; a small graph is not blown up. */
  least() {
    const { width, height } = this.view();
    return Math.min(1, width / this.whole.width, height / this.whole.height);
  }

  view() {
    return { width: this.frame.clientWidth || 1, height: this.frame.clientHeight || 1 };
  }

  look() {
    if (!this.window) return;
    const { width, height } = this.view();
    const { x, y, scale } = this.window;
    this.picture.setAttribute("viewBox", `${x} ${y} ${width / scale} ${height / scale}`);
  }

  move(x, y) {
    this.window.x += x;
    this.window.y += y;
    this.look();
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const { width, height } = this.view();
    const [x, y] = [(width / this.window.scale) * MOVE_SHARE, (height / this.window.scale) * MOVE_SHARE];
    const act = {
      ArrowLeft: () => this.move(-x, 0),
      ArrowRight: () => this.move(x, 0),
      ArrowUp: () => this.move(0, -y),
      ArrowDown: () => this.move(0, y),
      "+": () => this.zoom(ZOOM_STEP),
      "=": () => this.zoom(ZOOM_STEP),
      "-": () => this.zoom(1 / ZOOM_STEP),
      0: () => this.fit(),
    }[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  }

  /** The wheel scrolls the page; with Ctrl, as a pinch does, it zooms. */
  wheel(event) {
    if (!event.ctrlKey) return;
    event.preventDefault();
    const frame = this.frame.getBoundingClientRect();
    this.zoom(event.deltaY < 0 ? ZOOM_STEP : 1 / ZOOM_STEP, {
      x: (event.clientX - frame.left) / frame.width,
      y: (event.clientY - frame.top) / frame.height,
    });
  }

  drag(begin) {
    if (begin.button !== 0) return;
    this.moved = false;
    let [x, y] = [begin.clientX, begin.clientY];
    const move = (event) => {
      // A hand that trembles still presses.
      if (!this.moved && Math.hypot(event.clientX - begin.clientX, event.clientY - begin.clientY) < 4) return;
      this.moved = true;
      this.move((x - event.clientX) / this.window.scale, (y - event.clientY) / this.window.scale);
      [x, y] = [event.clientX, event.clientY];
    };
    const end = () => {
      removeEventListener("pointermove", move);
      removeEventListener("pointerup", end);
      removeEventListener("pointercancel", end);
    };
    addEventListener("pointermove", move);
    addEventListener("pointerup", end);
    addEventListener("pointercancel", end);
  }
}

const ruler = document.createElement("canvas").getContext("2d");

function sizeOf(box) {
  ruler.font = FONT;
  const widest = Math.max(...[box.title, ...box.lines].map((line) => ruler.measureText(cut(line)).width));
  return {
    width: Math.max(90, Math.ceil(widest) + 2 * PADDING),
    height: (1 + box.lines.length) * LINE_HEIGHT + 2 * PADDING - 3,
  };
}

function cut(text) {
  return text.length > CHARS_MAX ? `${text.slice(0, CHARS_MAX - 1)}…` : text;
}

function arrow() {
  return svg(
    "defs",
    {},
    svg(
      "marker",
      { id: "arrow", viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 7, markerHeight: 7, orient: "auto" },
      svg("path", { d: "M0 0L8 4L0 8z" }),
    ),
  );
}
