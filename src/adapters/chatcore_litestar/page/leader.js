// One tab of a browser leads: it alone holds a stream. When it closes, another takes over.

import { forget, load, save } from "./storage.js";

const LEASE = 6000; // ms
const RENEWAL = 2000;

/** Waits until this tab leads, then runs `work(lost)`. The signal `lost` aborts when another tab
 * has taken the lead; then `work` has to end, and this tab waits again. */
export async function lead(name, work) {
  for (;;) {
    if (navigator.locks) await navigator.locks.request(name, () => work(new AbortController().signal));
    else await lease(name, work);
  }
}

/** Runs `work` while no other tab runs one of that name, as far as the browser can tell. */
export function alone(name, work) {
  return navigator.locks ? navigator.locks.request(name, work) : work();
}

// Browsers keep locks for secure pages, and plain HTTP to another machine is none. There, a
// stored lease stands in. A tab that sleeps may lose it and find out late: for a moment there
// are two streams, which harms nobody.
async function lease(name, work) {
  const me = Math.random();
  const mine = () => {
    const held = load(name);
    return !held || held.by === me || held.until < Date.now();
  };
  while (!mine()) await sleep(RENEWAL * (0.5 + Math.random()));
  const lost = new AbortController();
  const renew = () => {
    if (mine()) save(name, { by: me, until: Date.now() + LEASE });
    else lost.abort();
  };
  const giveUp = () => load(name)?.by === me && forget(name);
  renew();
  const timer = setInterval(renew, RENEWAL);
  addEventListener("pagehide", giveUp);
  try {
    await work(lost.signal);
  } finally {
    clearInterval(timer);
    removeEventListener("pagehide", giveUp);
    giveUp();
  }
}

/** Resolves after so many milliseconds, or when `signal` aborts. */
export function sleep(milliseconds, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(done, milliseconds);
    function done() {
      clearTimeout(timer);
      signal?.removeEventListener("abort", done);
      resolve();
    }
    if (signal?.aborted) done();
    else signal?.addEventListener("abort", done);
  });
}
