// Everything that changes, as it changes: the stream of events, resumed where it broke off.
//
// A browser's own EventSource cannot say who asks, so the stream is read from a request. It promises to go on until it is told to
// stop, and to say whether it is connected. What an event means is for others.

import { credentials, open } from "./api.js";

const SILENCE_MAX_MS = 25_000;
const WAIT_MIN_MS = 500;
const WAIT_MAX_MS = 5_000;
const LINE_CHARS_MAX = 1 << 20;

/** Follows events. `onEvent(event)` gets each; `onState(connected)` each change. Answers a function that ends it. */
export function follow(onEvent, onState) {
  let ended = false;
  let last = null;
  let current = null;
  const loop = async () => {
    let wait = WAIT_MIN_MS;
    while (!ended) {
      current = new AbortController();
      const heard = () => {
        wait = WAIT_MIN_MS;
        onState(true);
      };
      try {
        await read(current, last, heard, (event) => {
          last = event.id;
          onEvent(event);
        });
      } catch {
        // Why is told by the requests that ask for what is shown.
      }
      if (ended) return;
      onState(false);
      await new Promise((resolve) => setTimeout(resolve, wait));
      wait = Math.min(wait * 2, WAIT_MAX_MS);
    }
  };
  loop();
  return () => {
    ended = true;
    current?.abort();
  };
}

async function read(controller, last, heard, onEvent) {
  let silence;
  const alive = () => {
    clearTimeout(silence);
    silence = setTimeout(() => controller.abort(), SILENCE_MAX_MS);
  };
  try {
    alive();
    const headers = { ...credentials(), ...(last ? { "Last-Event-ID": last } : {}) };
    const response = await open("v1/events", { headers, signal: controller.signal });
    heard();
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      alive();
      const lines = (rest + value).split("\n");
      rest = lines.pop();
      if (rest.length > LINE_CHARS_MAX) throw new Error("a line without an end");
      // Every event is one line of data, which holds its id and kind too.
      for (const line of lines) {
        if (line.startsWith("data:")) onEvent(JSON.parse(line.slice(5)));
      }
    }
  } finally {
    clearTimeout(silence);
    controller.abort();
  }
}
