// Quantities for people: durations, bytes, counts, times, each with its unit.
//
// A time is shown as how long ago, kept true by a clock, with the exact time as its title. It knows no field of any answer.

import { el } from "./dom.js";

const CLOCK_PERIOD_MS = 1000;
const UNITS = ["B", "KiB", "MiB", "GiB", "TiB"];
const whole = new Intl.NumberFormat("en");
const exact = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "medium" });

/** Milliseconds, in ms or the unit they are best read in. */
export function duration(ms) {
  if (ms === null || ms === undefined) return "–";
  if (ms < 10) return `${ms === 0 ? 0 : ms.toFixed(1)} ms`;
  if (ms < 1000) return `${Math.round(ms)} ms`;
  const seconds = ms / 1000;
  if (seconds < 60) return `${seconds.toFixed(seconds < 10 ? 2 : 1)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return joined(minutes, "min", Math.floor(seconds % 60), "s");
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return joined(hours, "h", minutes % 60, "min");
  return joined(Math.floor(hours / 24), "d", hours % 24, "h");
}

function joined(large, largeUnit, small, smallUnit) {
  return small === 0 ? `${large} ${largeUnit}` : `${large} ${largeUnit} ${small} ${smallUnit}`;
}

/** Bytes, in the unit they are best read in. */
export function bytes(size) {
  if (size === null || size === undefined) return "–";
  let unit = 0;
  while (size >= 1024 && unit < UNITS.length - 1) {
    size /= 1024;
    unit += 1;
  }
  return `${unit === 0 || size >= 100 ? Math.round(size) : size.toFixed(1)} ${UNITS[unit]}`;
}

/** Bytes that were added or went. */
export function bytesChange(change) {
  if (change === 0) return "±0 B";
  return `${change > 0 ? "+" : "−"}${bytes(Math.abs(change))}`;
}

/** A number of things. */
export function count(number) {
  return number === null || number === undefined ? "–" : whole.format(number);
}

/** So many of a thing: `plural(2, "service")`. */
export function plural(number, one, many = `${one}s`) {
  return `${count(number)} ${number === 1 ? one : many}`;
}

/** How long ago, or in how long. */
export function relative(date) {
  const distance = date.getTime() - Date.now();
  const rounded = Math.round(Math.abs(distance) / 1000) * 1000;
  if (rounded < 1000) return "now";
  // Beyond a minute, seconds are noise.
  const told = duration(rounded)
    .replace(/(min|h|d) \d+ (s|min|h)$/, "$1")
    .replace(/\.\d+ s$/, " s");
  return distance > 0 ? `in ${told}` : `${told} ago`;
}

/** The exact local time. */
export function stamp(text) {
  return exact.format(new Date(text));
}

/** A time that stays true. */
export function time(text) {
  if (!text) return "–";
  const date = new Date(text);
  const title = `${exact.format(date)} (${date.toISOString()})`;
  return el("time", { datetime: text, title, "data-relative": true }, relative(date));
}

setInterval(() => {
  for (const element of document.querySelectorAll("time[data-relative]")) {
    const told = relative(new Date(element.dateTime));
    if (element.textContent !== told) element.textContent = told;
  }
}, CLOCK_PERIOD_MS);
