// The session: one signed-in account for all tabs of the browser. An expired session is kept and
// marked, so that its name, drafts and unsent messages are there when the user signs in again.

import { forget, keys, load, onOtherTabs, save } from "./storage.js";

const KEY = "chatcore";
const listeners = new Set();

let current = load(KEY);
let revoking = false;

/** `{token, refresh, sessionId, id, name, expired}`, or undefined. A session of before device
 * sessions has neither `refresh` nor `sessionId`. */
export const session = () => current;

/** The prefix of this account's storage keys. The id alone is not enough: a recreated database
 * gives the same ids to other users. */
export const folder = () => `${KEY}:${current.id}:${current.name}:`;

/** Calls `changed(session, before)` after each change, in this tab or another. */
export function onSession(changed) {
  listeners.add(changed);
}

export function signIn({ token, refresh_token, session_id }, name) {
  set({ token, refresh: refresh_token, sessionId: session_id, id: userId(token), name, expired: false });
}

/** The session, with the tokens that another tab may have stored a moment ago. */
export function latest() {
  const stored = load(KEY);
  if (stored?.token !== current?.token) change(stored);
  return current;
}

export function expire(token) {
  if (revoking) return;
  latest();
  if (current?.token === token && !current.expired) set({ ...current, expired: true });
}

/** Runs `work`, which revokes the token. Until it ends, a refused token does not count as expired,
 * so the page does not ask for the password. */
export async function whileRevoking(work) {
  revoking = true;
  try {
    return await work();
  } finally {
    revoking = false;
    change(current);
  }
}

/** Deletes the session and everything stored for its account. */
export function signOut() {
  for (const key of keys(folder())) forget(key);
  set(undefined);
}

/** Resolves when there is a valid session. */
export function validSession() {
  return new Promise((resolve) => {
    const check = () => {
      if (!current || current.expired || revoking) return;
      listeners.delete(check);
      resolve();
    };
    listeners.add(check);
    check();
  });
}

/** The user id in a token, unverified: only the service verifies tokens. */
export function userId(token) {
  try {
    return JSON.parse(atob(token.split(".")[1].replace(/-/g, "+").replace(/_/g, "/"))).user_id;
  } catch {
    return undefined;
  }
}

function set(next) {
  if (next) save(KEY, next);
  else forget(KEY);
  change(next);
}

function change(next) {
  const before = current;
  current = next;
  for (const changed of [...listeners]) changed(current, before);
}

onOtherTabs((key) => {
  if (key === KEY || key === null) change(load(KEY));
});
