// Keeps the store up to date with the service. Every tab has its own cursor. The leading tab holds
// the stream and posts its events to the other tabs, with the cursor before them. A tab with
// another cursor has missed events or seen these already, so it fetches the events after its own.
//
// A cursor is valid only with the state it belongs to, so it is not stored: a page that is loaded
// again starts with a snapshot and its cursor.

import { ask, call, Refused } from "./api.js";
import { lead, sleep } from "./leader.js";
import { expire, session, validSession } from "./session.js";

const SILENCE = 35_000; // ms; the service sends a heartbeat after 15 s
const FIRST_PAUSE = 500;
const LONGEST_PAUSE = 15_000;
const REPLACED_PAUSE = 30_000;

export class Connection {
  /** Calls `onStatus` with "connecting", "catching-up", "online" or "offline". */
  constructor(store, onStatus) {
    this.status = "connecting";
    this._store = store;
    this._onStatus = onStatus;
    this._cursor = undefined;
    this._leading = false;
    this._attempt = new AbortController();
    this._pause = new AbortController();
    this._isSilent = () => false;
    this._loadingChats = new Set();
    this._name = `chatcore:${session().id}:${session().name}`;
    this._channel = new BroadcastChannel(this._name);
    this._channel.onmessage = ({ data }) => this._receive(data);
  }

  async run() {
    addEventListener("online", () => this.retryNow());
    // Only a hint: a service on this machine needs no network. But the request under way may be
    // lost, so it is repeated.
    addEventListener("offline", () => this.retryNow());
    addEventListener("pageshow", (event) => event.persisted && this.wake());
    document.addEventListener("resume", () => this.wake());
    document.addEventListener("visibilitychange", () => document.hidden || this.wake());
    this._store.onMissing = (chatId) => this._loadMissingChat(chatId);
    await this._retry((signal) => this._sync(signal));
    this._post({ hello: true });
    await lead(`${this._name}:stream`, (lost) => this._lead(lost));
  }

  /** Retries at once, without waiting for the pause to end. */
  retryNow() {
    this._attempt.abort();
    this._pause.abort();
    if (!this._leading) this._post({ retryNow: true });
  }

  /** Catches up after the tab was suspended: its timers slept, and it may have missed events. */
  wake() {
    if (this._leading || this._cursor === undefined) {
      if (this.status !== "online" || this._isSilent()) this.retryNow();
    } else {
      this._post({ retryNow: true });
      this._resync();
    }
  }

  async fetchChat(chatId) {
    return this._store.put(await call("GET", `v1/chats/${chatId}`));
  }

  // The leading tab.

  async _lead(lost) {
    this._leading = true;
    lost.addEventListener("abort", () => this._attempt.abort());
    while (!lost.aborted) {
      await this._retry(async (signal) => {
        if (lost.aborted) return;
        await this._catchUp(signal);
        await this._listen(signal);
      });
    }
    this._leading = false;
  }

  /** Follows the stream until its end frame. Throws if it ends without one. */
  async _listen(signal) {
    const attempt = this._attempt;
    let heardAt = Date.now();
    this._isSilent = () => Date.now() - heardAt > SILENCE;
    const watchdog = setInterval(() => this._isSilent() && attempt.abort(), 5000);
    try {
      const { token } = session();
      const response = await ask("GET", `v1/events?after=${encodeURIComponent(this._cursor)}`, {
        headers: { accept: "text/event-stream" },
        signal,
      });
      this._setStatus("online");
      for await (const { id, data } of frames(response.body)) {
        heardAt = Date.now();
        const event = JSON.parse(data);
        if (event.type === "end") {
          // Reconnecting at once would replace another stream, which would do the same.
          const replaced = event.reason === "replaced";
          // The next request renews a session.
          const over = event.reason === "void" || (event.reason === "expired" && !session()?.refresh);
          if (over) expire(token);
          else this._setStatus(replaced ? "offline" : "connecting");
          // A random pause: a service that restarts ends all its streams at once.
          await sleep((replaced ? REPLACED_PAUSE : 0) + Math.random() * FIRST_PAUSE, signal);
          return;
        }
        if (id !== undefined) await this._apply([event], id);
      }
      throw new Error("the stream broke off");
    } finally {
      clearInterval(watchdog);
      attempt.abort();
    }
  }

  // Every tab.

  async _sync(signal) {
    const snapshot = await call("GET", "v1/sync", { signal });
    this._store.loadSnapshot(snapshot);
    this._cursor = snapshot.cursor;
  }

  /** Fetches the events after the cursor until there are no more. */
  async _catchUp(signal) {
    for (;;) {
      const path = `v1/events?after=${encodeURIComponent(this._cursor)}`;
      const { events, cursor } = await call("GET", path, { signal });
      if (!events.length) return;
      if (this._leading) this._setStatus("catching-up");
      await this._apply(events, cursor);
    }
  }

  async _apply(events, cursor) {
    const from = this._cursor;
    for (const event of events) {
      if (event.type === "reset") await this._sync();
      else this._store.apply(event);
    }
    if (!events.some(({ type }) => type === "reset")) this._cursor = cursor;
    if (this._leading) this._post({ events, from, cursor });
  }

  /** Fetches a chat of which the store knows too little; retries until it has an answer. */
  async _loadMissingChat(chatId) {
    if (this._loadingChats.has(chatId)) return;
    this._loadingChats.add(chatId);
    for (let found = false; !found; found || (await sleep(FIRST_PAUSE * 4))) {
      found = await this.fetchChat(chatId).catch((error) => error instanceof Refused && !error.retryable);
    }
    this._loadingChats.delete(chatId);
  }

  /** Catches up in a tab that does not lead; one run at a time. */
  async _resync() {
    this._behind = true;
    if (this._resyncing) return;
    this._resyncing = true;
    try {
      while (this._behind) {
        this._behind = false;
        await this._catchUp();
      }
    } catch {
      // The next event retries, and so does the tab when it becomes visible.
    } finally {
      this._resyncing = false;
    }
  }

  _receive({ events, from, cursor, status, hello, retryNow }) {
    if (this._leading) {
      if (hello) this._post({ status: this.status });
      if (retryNow) this.wake();
      return;
    }
    if (status) this._show(status);
    if (!events || this._cursor === undefined) return;
    if (from === this._cursor && !this._resyncing && !events.some(({ type }) => type === "reset")) {
      this._apply(events, cursor);
    } else {
      this._resync();
    }
  }

  /** Runs `attempt(signal)` until it succeeds, with growing pauses. */
  async _retry(attempt) {
    for (let failures = 0; ; ) {
      const since = Date.now();
      this._attempt = new AbortController();
      try {
        return await attempt(this._attempt.signal);
      } catch (error) {
        if (error instanceof Refused && error.status === 401) {
          this._setStatus("connecting");
          await validSession();
          failures = 0;
          continue;
        }
        // A connection that lasted for a while counts as a success.
        failures = Date.now() - since > LONGEST_PAUSE ? 1 : failures + 1;
        this._setStatus(failures > 1 ? "offline" : "connecting");
        const pause = Math.min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (failures - 1));
        this._pause = new AbortController();
        const delay = Math.max(pause * (0.5 + Math.random() / 2), (error.retryAfter ?? 0) * 1000);
        await sleep(failures > 1 ? delay : delay / 4, this._pause.signal);
      }
    }
  }

  _setStatus(status) {
    this._show(status);
    if (this._leading) this._post({ status });
  }

  _show(status) {
    if (this.status === status) return;
    this.status = status;
    this._onStatus(status);
  }

  _post(message) {
    this._channel.postMessage(message);
  }
}

/** Yields the frames of an event stream. */
async function* frames(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    text += value;
    for (let end; (end = text.indexOf("\n\n")) >= 0; text = text.slice(end + 2)) {
      const frame = { id: undefined, data: "" };
      for (const line of text.slice(0, end).split("\n")) {
        const [, name, rest] = /^(\w*):? ?(.*)$/s.exec(line);
        if (name === "id") frame.id = rest;
        else if (name === "data") frame.data += rest;
      }
      if (frame.data) yield frame;
    }
  }
}
