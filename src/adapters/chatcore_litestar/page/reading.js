// Tells the service how far the account has read: one request at a time for each chat, since a
// marker moves at most once a second. What has been on the screen has been read, so a page that is
// left tells what it had still to tell.

import { call, Refused } from "./api.js";
import { session } from "./session.js";

const PAUSE = 5000; // ms after a failure

export class Reading {
  constructor(store) {
    this._store = store;
    this._wanted = new Map();
    this._busy = new Map(); // what each chat's request says
    const { id } = session();
    addEventListener("pagehide", () => session()?.id === id && this._leave());
  }

  /** Everything up to `seq` has been seen. */
  seen(chat, seq) {
    if (seq <= chat.read) return;
    this._store.markRead(chat, seq);
    this._wanted.set(chat.id, seq);
    this._tell(chat.id);
  }

  /** Tells again what could not be told. */
  flush() {
    for (const chatId of this._wanted.keys()) this._tell(chatId);
  }

  async _tell(chatId) {
    if (this._busy.has(chatId)) return;
    try {
      while (this._wanted.has(chatId)) {
        const seq = this._wanted.get(chatId);
        this._busy.set(chatId, seq);
        await put(chatId, seq);
        if (this._wanted.get(chatId) === seq) this._wanted.delete(chatId);
      }
    } catch (error) {
      if (!(error instanceof Refused) || error.passing) setTimeout(() => this._tell(chatId), PAUSE);
      else if (error.status !== 401) this._wanted.delete(chatId);
    } finally {
      this._busy.delete(chatId);
    }
  }

  _leave() {
    for (const [chatId, seq] of this._wanted) {
      if (this._busy.get(chatId) !== seq) put(chatId, seq).catch(() => {});
    }
  }
}

/** Its request outlives the page. */
const put = (chatId, seq) => call("PUT", `v1/chats/${chatId}/read`, { body: { seq }, keepalive: true });
