// Unsent messages. Each is stored before it is sent, with an idempotency key that makes retries
// safe, until the service acknowledges it or the user deletes it. All tabs share them.

import { call, Refused } from "./api.js";
import { exclusively, sleep } from "./leader.js";
import { folder, session } from "./session.js";
import { forget, keys, load, onOtherTabs, save } from "./storage.js";

const FIRST_PAUSE = 1000; // ms
const LONGEST_PAUSE = 15_000;
const MOST_FAULTS = 5; // errors of the service, after which a message counts as failed

export class Outbox {
  constructor(connection, store) {
    this._connection = connection;
    this._store = store;
    this._folder = `${folder()}outbox:`;
    this._failures = 0;
    this._pause = new AbortController();
    /** The keys of the messages this tab has sent, by chat and number. */
    this.acknowledged = new Map();
    onOtherTabs((key) => key === null || (key.startsWith(this._folder) && store.touch()));
  }

  /** Items `{key, chat, to, text, after, at, failed}`, oldest first. `after` is the last message
   * number of the chat when the item was added; `failed`, the code of a refusal. */
  items() {
    return keys(this._folder)
      .map((key) => load(key))
      .filter(Boolean);
  }

  of(chat) {
    // A refused message stays, even if the peer was deleted and so has another name.
    return this.items().filter((item) => item.chat === chat.id && (isFor(item, chat) || item.failed));
  }

  add(chat, text) {
    const at = Math.max(Date.now(), (this.items().at(-1)?.at ?? 0) + 1);
    const key = [...crypto.getRandomValues(new Uint8Array(16))]
      .map((byte) => byte.toString(16).padStart(2, "0"))
      .join("");
    this._save({ key, chat: chat.id, to: chat.handle, text, after: chat.last?.seq ?? 0, at });
    this.flush();
  }

  /** Sends a failed message again, as the same message. */
  retry(item) {
    this._save({ ...item, failed: undefined, faults: 0 });
    this.flush();
  }

  drop(item) {
    forget(this._place(item));
    this._store.touch();
  }

  /** Sends the waiting messages one by one, oldest first. */
  async flush() {
    this._requested = true;
    this._pause.abort();
    if (this._flushing) return;
    this._flushing = true;
    while (this._requested) {
      this._requested = false;
      // Two tabs that send the same messages would do no harm, only double work.
      const done = await exclusively(`${this._folder}sending`, () => this._sendAll());
      if (done) continue;
      this._requested = true;
      this._pause = new AbortController();
      await sleep(Math.min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** this._failures++), this._pause.signal);
    }
    this._flushing = false;
  }

  /** Resolves with false if a retry is needed later. */
  async _sendAll() {
    for (;;) {
      const item = this.items().find(({ failed }) => !failed);
      if (!item || session()?.expired !== false) return true;
      try {
        await this._send(item);
        this._failures = 0;
      } catch (error) {
        if (!(error instanceof Refused)) return false;
        if (error.status === 401) return true;
        // Deleted during the request, by a sign-out or by the user: do not store it again.
        if (!load(this._place(item))) continue;
        const faults = (item.faults ?? 0) + (error.status === 500 ? 1 : 0);
        const failed = error.retryable && faults < MOST_FAULTS ? undefined : error.code || "refused";
        this._save({ ...item, faults, failed });
        if (!failed) return false;
      }
    }
  }

  async _send(item) {
    // In a recreated database, the same id may be another chat.
    const chat = this._store.chats.get(item.chat) ?? (await this._connection.fetchChat(item.chat));
    if (!isFor(item, chat)) throw new Refused(404, "chat_not_found");
    const message = await call("POST", `v1/chats/${chat.id}/messages`, {
      body: { text: item.text },
      headers: { "idempotency-key": item.key },
    });
    this.acknowledged.set(`${chat.id}:${message.seq}`, item.key);
    this._store.place(chat, message);
    this.drop(item);
  }

  _save(item) {
    save(this._place(item), item);
    this._store.touch();
  }

  _place({ at, key }) {
    return `${this._folder}${String(at).padStart(15, "0")}:${key}`;
  }
}

/** Whether the message was written to this peer. Earlier versions of the page kept the name. */
const isFor = ({ to }, chat) => to === chat.handle || to === chat.user;
