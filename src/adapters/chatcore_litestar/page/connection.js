// Keeps the store in step with the service. Every tab has its own cursor; the leading one holds
// the stream and passes on what it hears, each time with the cursor from which it followed. A tab
// whose cursor is another has missed something, or has heard it already: it asks for what comes
// after its own, and is in step again.
//
// A cursor is good with the state that it belongs to, so it lives as long as the tab. A page that
// is loaded anew starts with a snapshot, which has a cursor of its own.

import { ask, call, Refused } from "./api.js";
import { lead, sleep } from "./leader.js";
import { expire, session, usable } from "./session.js";

const SILENCE = 35_000; // ms; the service sends a heartbeat after 15 s
const FIRST_PAUSE = 500;
const LONGEST_PAUSE = 15_000;
const REPLACED_PAUSE = 30_000;

export class Connection {
  /** `onStatus` gets "connecting", "catching-up", "online" or "offline". */
  constructor(store, onStatus) {
    this.status = "connecting";
    this._store = store;
    this._onStatus = onStatus;
    this._cursor = undefined;
    this._leading = false;
    this._attempt = new AbortController();
    this._pause = new AbortController();
    this._silent = () => false;
    this._missing = new Set();
    this._name = `chatcore:${session().id}:${session().name}`;
    this._channel = new BroadcastChannel(this._name);
    this._channel.onmessage = ({ data }) => this._overheard(data);
  }

  async run() {
    addEventListener("online", () => this.hurry());
    // Only a hint: a service on this machine is there without any network. But what is on its
    // way may be lost, so it is asked for again, and the answer tells.
    addEventListener("offline", () => this.hurry());
    addEventListener("pageshow", (event) => event.persisted && this.wake());
    document.addEventListener("resume", () => this.wake());
    document.addEventListener("visibilitychange", () => document.hidden || this.wake());
    this._store.onMissing = (chatId) => this._insistOnChat(chatId);
    await this._insist((signal) => this._sync(signal));
    this._post({ hello: true });
    await lead(`${this._name}:stream`, (lost) => this._lead(lost));
  }

  /** Tries again now rather than later. */
  hurry() {
    this._attempt.abort();
    this._pause.abort();
    if (!this._leading) this._post({ hurry: true });
  }

  /** The tab has been away: its timers slept, and it may have heard nothing. */
  wake() {
    if (this._leading || this._cursor === undefined) {
      if (this.status !== "online" || this._silent()) this.hurry();
    } else {
      this._post({ hurry: true });
      this._missed();
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
      await this._insist(async (signal) => {
        if (lost.aborted) return;
        await this._catchUp(signal);
        await this._listen(signal);
      });
    }
    this._leading = false;
  }

  /** Follows the stream until it ends as announced. Raises what stands in the way. */
  async _listen(signal) {
    const attempt = this._attempt;
    let heard = Date.now();
    this._silent = () => Date.now() - heard > SILENCE;
    const watchdog = setInterval(() => this._silent() && attempt.abort(), 5000);
    try {
      const { token } = session();
      const response = await ask("GET", `v1/events?after=${encodeURIComponent(this._cursor)}`, {
        headers: { accept: "text/event-stream" },
        signal,
      });
      this._tell("online");
      for await (const { id, data } of frames(response.body)) {
        heard = Date.now();
        const event = JSON.parse(data);
        if (event.type === "end") {
          // Who comes back at once replaces another, and so on for ever.
          const replaced = event.reason === "replaced";
          if (event.reason === "expired" || event.reason === "void") expire(token);
          else this._tell(replaced ? "offline" : "connecting");
          // All clients of a service that restarts hear this at once.
          await sleep((replaced ? REPLACED_PAUSE : 0) + Math.random() * FIRST_PAUSE, signal);
          return;
        }
        if (id !== undefined) await this._take([event], id);
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

  /** Asks for what comes after the cursor until there is nothing more. */
  async _catchUp(signal) {
    for (;;) {
      const path = `v1/events?after=${encodeURIComponent(this._cursor)}`;
      const { events, cursor } = await call("GET", path, { signal });
      if (!events.length) return;
      if (this._leading) this._tell("catching-up");
      await this._take(events, cursor);
    }
  }

  async _take(events, cursor) {
    const from = this._cursor;
    for (const event of events) {
      if (event.type === "reset") await this._sync();
      else this._store.apply(event);
    }
    if (!events.some(({ type }) => type === "reset")) this._cursor = cursor;
    if (this._leading) this._post({ events, from, cursor });
  }

  /** The store has heard of a chat that it needs to know more of. */
  async _insistOnChat(chatId) {
    if (this._missing.has(chatId)) return;
    this._missing.add(chatId);
    for (let found = false; !found; found || (await sleep(FIRST_PAUSE * 4))) {
      found = await this.fetchChat(chatId).catch((error) => error instanceof Refused && !error.passing);
    }
    this._missing.delete(chatId);
  }

  /** A follower's way back into step; one at a time. */
  async _missed() {
    this._behind = true;
    if (this._mending) return;
    this._mending = true;
    try {
      while (this._behind) {
        this._behind = false;
        await this._catchUp();
      }
    } catch {
      // The next event, or the tab's becoming visible, starts it again.
    } finally {
      this._mending = false;
    }
  }

  _overheard({ events, from, cursor, status, hello, hurry }) {
    if (this._leading) {
      if (hello) this._post({ status: this.status });
      if (hurry) this.wake();
      return;
    }
    if (status) this._show(status);
    if (!events || this._cursor === undefined) return;
    if (from === this._cursor && !this._mending && !events.some(({ type }) => type === "reset")) {
      this._take(events, cursor);
    } else {
      this._missed();
    }
  }

  /** Runs `attempt(signal)` until it succeeds, with growing pauses. */
  async _insist(attempt) {
    for (let failures = 0; ; ) {
      const since = Date.now();
      this._attempt = new AbortController();
      try {
        return await attempt(this._attempt.signal);
      } catch (error) {
        if (error instanceof Refused && error.status === 401) {
          this._tell("connecting");
          await usable();
          failures = 0;
          continue;
        }
        // What held for a while was a success.
        failures = Date.now() - since > LONGEST_PAUSE ? 1 : failures + 1;
        this._tell(failures > 1 ? "offline" : "connecting");
        const pause = Math.min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (failures - 1));
        this._pause = new AbortController();
        const wanted = Math.max(pause * (0.5 + Math.random() / 2), (error.retryAfter ?? 0) * 1000);
        await sleep(failures > 1 ? wanted : wanted / 4, this._pause.signal);
      }
    }
  }

  _tell(status) {
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

/** The frames of an event stream. */
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
