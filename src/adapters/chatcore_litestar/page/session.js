// Who is signed in: one account for all tabs of the browser. An expired session is kept, marked
// as such, so that its name, drafts and unsent messages wait for the password.

import { forget, keys, load, onOtherTabs, save } from "./storage.js";

const KEY = "chatcore";
const listeners = new Set();

let current = load(KEY);
let voiding = false;

/** `{token, id, name, expired}`, or undefined. */
export const session = () => current;

/** Where this account's drafts and unsent messages are kept. The id alone would not do: a
 * database that was made anew gives the same ids to others. */
export const folder = () => `${KEY}:${current.id}:${current.name}:`;

/** Calls `changed(session, before)` after each change, in this tab or another. */
export function onSession(changed) {
  listeners.add(changed);
}

export function signIn(token, name) {
  set({ token, id: userId(token), name, expired: false });
}

export function expire(token) {
  if (voiding) return;
  // Another tab may have a new one.
  const stored = load(KEY);
  if (stored?.token !== current?.token) change(stored);
  if (current?.token === token && !current.expired) set({ ...current, expired: true });
}

/** Runs `work`, on whose way the token becomes void: until it is over, nothing is to be asked of
 * anybody for that. */
export async function whileVoiding(work) {
  voiding = true;
  try {
    return await work();
  } finally {
    voiding = false;
    change(current);
  }
}

/** Forgets the account and all that this browser keeps for it. */
export function signOut() {
  for (const key of keys(folder())) forget(key);
  set(undefined);
}

/** Resolves when there is a session that has not expired. */
export function usable() {
  return new Promise((resolve) => {
    const look = () => {
      if (!current || current.expired || voiding) return;
      listeners.delete(look);
      resolve();
    };
    listeners.add(look);
    look();
  });
}

/** The id that a token is for; it is the server who checks tokens. */
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
