// Requests to the admin API: with the token of the person, a deadline, and errors that say what happened and what to do.
//
// The token stays in this tab's session storage and goes nowhere but into the Authorization header. It knows no route by name.

const TOKEN = "cutline.token";
const BASE = "../";
const ANSWER_WITHIN_MS = 15_000;

/** What the admin API answered instead of doing what was asked. */
export class Problem extends Error {
  constructor(status, details) {
    super(details.detail ?? `the admin API answered ${status}`);
    this.status = status;
    this.code = details.code ?? null;
    this.title = details.title ?? `Status ${status}`;
  }

  /** Whether it may pass by itself: it starts, or another admin API leads. */
  get waits() {
    return this.status === 503 || this.status === 429;
  }
}

/** There was no answer at all. */
export class Unreachable extends Error {
  constructor(why) {
    super(why);
    this.code = null;
    this.title = "No answer";
    this.waits = true;
  }
}

/** The token of this tab. */
export const token = {
  get: () => sessionStorage.getItem(TOKEN),
  set: (value) => sessionStorage.setItem(TOKEN, value),
  forget: () => sessionStorage.removeItem(TOKEN),
};

/** Headers that say who asks. */
export function credentials() {
  const value = token.get();
  return value ? { Authorization: `Bearer ${value}` } : {};
}

export function get(path) {
  return ask("GET", path);
}

/** Begins something once, even when the request has to be sent again under the same `key`. */
export function post(path, body, key) {
  return ask("POST", path, body, key ? { "Idempotency-Key": key } : {}, ANSWER_WITHIN_MS * 4);
}

export function put(path, body) {
  return ask("PUT", path, body);
}

export function remove(path) {
  return ask("DELETE", path, undefined, {}, ANSWER_WITHIN_MS * 4);
}

/** A key for `post`; made without what browsers keep for HTTPS. */
export function newKey() {
  const random = crypto.getRandomValues(new Uint8Array(16));
  return `dashboard-${Array.from(random, (byte) => byte.toString(16).padStart(2, "0")).join("")}`;
}

/** A response of any kind, or what stands against it. */
export async function open(path, options) {
  let response;
  try {
    response = await fetch(BASE + path, { cache: "no-store", credentials: "omit", ...options });
  } catch (error) {
    const late = error.name === "TimeoutError";
    throw new Unreachable(late ? "the admin API did not answer in time" : "the admin API cannot be reached");
  }
  if (response.ok) return response;
  let details = {};
  try {
    details = await response.json();
  } catch {
    // Something before the admin API answered, in words of its own.
  }
  throw new Problem(response.status, details);
}

async function ask(method, path, body, headers = {}, within = ANSWER_WITHIN_MS) {
  const response = await open(path, {
    method,
    headers: { ...credentials(), ...headers, ...(body === undefined ? {} : { "Content-Type": "application/json" }) },
    body: body === undefined ? undefined : JSON.stringify(body),
    signal: AbortSignal.timeout(within),
  });
  if (response.status === 204) return null;
  try {
    return await response.json();
  } catch {
    throw new Unreachable("the answer of the admin API broke off");
  }
}
