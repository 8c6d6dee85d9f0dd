// Elects a leading tab of the browser: the only one with a stream. When it closes, another leads.

import { forget, load, save } from "./storage.js";

const LEASE = 6000; // ms
const RENEWAL = 2000;

/** Waits until this tab leads, then runs `work(lost)`. If another tab takes the lead, the signal
 * `lost` aborts: `work` has to end, and this tab waits again. */
export async function lead(name, work) {
  for (;;) {
    if (navigator.locks) await navigator.locks.request(name, () => work(new AbortController().signal));
    else await lease(name, work);
  }
}

/** Runs `work` while no other tab runs work of that name. Without locks, several may run. */
export function exclusively(name, work) {
  return navigator.locks ? navigator.locks.request(name, work) : work();
}

// Browsers offer locks only to secure pages, which excludes plain HTTP to another machine. There, a
// stored lease replaces the lock. A tab that sleeps may lose it and notice late: two streams for a
// moment do no harm.
async function lease(name, work) {
  const me = Math.random();
  const isFree = () => {
    const held = load(name);
    return !held || held.by === me || held.until < Date.now();
  };
  while (!isFree()) await sleep(RENEWAL * (0.5 + Math.random()));
  const lost = new AbortController();
  const renew = () => {
    if (isFree()) save(name, { by: me, until: Date.now() + LEASE });
    else lost.abort();
  };
  const release = () => load(name)?.by === me && forget(name);
  renew();
  const timer = setInterval(renew, RENEWAL);
  addEventListener("pagehide", release);
  try {
    await work(lost.signal);
  } finally {
    clearInterval(timer);
    removeEventListener("pagehide", release);
    release();
  }
}

/** Resolves after `milliseconds`, or when `signal` aborts. */
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
