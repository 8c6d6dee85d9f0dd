// Sends the read markers to the service: one request at a time for each chat, since a marker moves
// at most once a second. When the user leaves the page, it sends the markers still unsent.

import { call, Refused } from "./api.js";
import { session } from "./session.js";

const PAUSE = 5000; // ms after a failure

export class ReadMarkers {
  constructor(store) {
    this._store = store;
    this._unsent = new Map();
    this._inFlight = new Map(); // the number in each chat's open request
    const { id } = session();
    addEventListener("pagehide", () => session()?.id === id && this._sendLast());
  }

  /** Records that the user has seen every message up to `seq`. */
  seen(chat, seq) {
    if (seq <= chat.read) return;
    this._store.markRead(chat, seq);
    this._unsent.set(chat.id, seq);
    this._send(chat.id);
  }

  /** Retries the markers that could not be sent. */
  flush() {
    for (const chatId of this._unsent.keys()) this._send(chatId);
  }

  async _send(chatId) {
    if (this._inFlight.has(chatId)) return;
    try {
      while (this._unsent.has(chatId)) {
        const seq = this._unsent.get(chatId);
        this._inFlight.set(chatId, seq);
        await put(chatId, seq);
        if (this._unsent.get(chatId) === seq) this._unsent.delete(chatId);
      }
    } catch (error) {
      if (!(error instanceof Refused) || error.retryable) setTimeout(() => this._send(chatId), PAUSE);
      else if (error.status !== 401) this._unsent.delete(chatId);
    } finally {
      this._inFlight.delete(chatId);
    }
  }

  _sendLast() {
    for (const [chatId, seq] of this._unsent) {
      if (this._inFlight.get(chatId) !== seq) put(chatId, seq).catch(() => {});
    }
  }
}

/** Sends a marker in a request that outlives the page. */
const put = (chatId, seq) => call("PUT", `v1/chats/${chatId}/read`, { body: { seq }, keepalive: true });
