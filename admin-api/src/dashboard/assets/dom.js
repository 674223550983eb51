// Elements: made, and put in place of others, without ever reading data as HTML.
//
// Text is always text. What is replaced keeps the keyboard where it was: an element inside that has a `data-key` hands focus and
// scrolling to its successor of the same key. It knows nothing of what is shown.

const SVG = "http://www.w3.org/2000/svg";
const shown = new WeakMap();

/** An HTML element. Attributes that begin with `on` are listeners; null, undefined and false leave one out. */
export function el(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

/** The same, for SVG. */
export function svg(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...present(children));
  return element;
}

function present(children) {
  return children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false);
}

/** A box to tick, with its words beside it. */
export function check(id, checked, words, attributes = {}) {
  const box = el("input", { type: "checkbox", id, checked, ...attributes });
  return { box, line: el("span", { class: "check" }, box, el("label", { for: id }, words)) };
}

/** Adds `children` to what is in `container`. */
export function fill(container, ...children) {
  container.append(...present(children));
}

/** Puts `children` in place of what is in `container`. */
export function swap(container, ...children) {
  const active = document.activeElement;
  const key = container.contains(active) ? active.closest("[data-key]")?.dataset.key : undefined;
  const scrolled = new Map();
  for (const box of container.querySelectorAll(".scroll[data-key]"))
    scrolled.set(box.dataset.key, [box.scrollLeft, box.scrollTop]);
  const open = new Map();
  for (const box of container.querySelectorAll("details[data-key]")) open.set(box.dataset.key, box.open);
  container.replaceChildren(...present(children));
  for (const box of container.querySelectorAll("details[data-key]")) {
    if (open.has(box.dataset.key)) box.open = open.get(box.dataset.key);
  }
  for (const box of container.querySelectorAll(".scroll[data-key]")) {
    const [left, top] = scrolled.get(box.dataset.key) ?? [0, 0];
    box.scrollLeft = left;
    box.scrollTop = top;
  }
  if (key !== undefined) container.querySelector(`[data-key="${CSS.escape(key)}"]`)?.focus({ preventScroll: true });
}

/** As `swap`, with what `render` gives, and only when `data` is not what was shown in `container` last. */
export function keep(container, data, render) {
  const text = JSON.stringify(data) ?? "";
  if (shown.get(container) === text) return;
  shown.set(container, text);
  swap(container, render());
}

/** Tells those who cannot see the page. */
export function announce(text) {
  const said = document.getElementById("said");
  // The same words twice are two announcements.
  said.textContent = "";
  setTimeout(() => {
    said.textContent = text;
  }, 50);
}
