// What this tab knows of the account's chats. It learns from snapshots, events and pages, and
// each may tell again what another has told: everything here can be applied twice.

const KEPT = 100; // messages of a chat that is not open

export class Store {
  constructor() {
    this.me = undefined;
    this.loaded = false;
    this.more = false; // whether the service has older chats than these
    this.chats = new Map();
    this._newest = 0;
    this._listeners = new Set();
    this._told = false;
    /** Called with the id of a chat that has to be asked for. */
    this.onMissing = () => {};
    /** Called with a chat and a message that the peer has just sent. */
    this.onArrival = () => {};
  }

  /** Calls `changed()` soon after changes, once for many. */
  subscribe(changed) {
    this._listeners.add(changed);
  }

  /** A snapshot: how things are. */
  loadSnapshot({ me, chats }) {
    this.me = me;
    this.loaded = true;
    this.more ||= chats.length >= 100;
    for (const item of [...chats].reverse()) {
      const chat = this.put(item);
      chat.order = ++this._newest;
      // What was said meanwhile is in no event: the newest page has to be read again.
      if ((chat.messages.at(-1)?.seq ?? 0) < chat.seen) chat.known = false;
    }
    this.touch();
  }

  /** A page of the list of chats, below all that are known. */
  loadOlderChats({ chats, next }) {
    this.more = next !== null;
    for (const item of chats) {
      const known = this.chats.has(item.chat_id);
      const chat = this.put(item);
      if (!known) chat.order = Math.min(...[...this.chats.values()].map((each) => each.order)) - 1;
    }
    this.touch();
  }

  /** A chat item. One that is older than what the events have told changes no counter. */
  put(item) {
    const chat = this._chat(item.chat_id, item.user);
    const seen = item.last_message?.seq ?? 0;
    chat.peerRead = Math.max(chat.peerRead, item.peer_read_seq);
    if (seen >= chat.seen) {
      chat.seen = seen;
      if (seen > (chat.last?.seq ?? 0)) chat.last = item.last_message;
      if (item.read_seq >= chat.read) {
        chat.read = item.read_seq;
        chat.unread = item.unread;
      } else {
        // The service has yet to be told how far this tab has read.
        chat.unread = this._countUnread(chat) ?? Math.min(chat.unread, item.unread);
      }
    }
    this.touch();
    return chat;
  }

  /** An event of the log, in the log's order. */
  apply(event) {
    const chat = this.chats.get(event.chat_id);
    if (event.type === "chat") {
      this._chat(event.chat_id, event.user);
    } else if (!chat) {
      this.onMissing(event.chat_id);
    } else if (event.type === "message") {
      this._heard(chat, event.message);
    } else if (event.type === "read" && event.user === this.me) {
      this.markRead(chat, event.seq);
    } else if (event.type === "read") {
      chat.peerRead = Math.max(chat.peerRead, event.seq);
    }
    this.touch();
  }

  _heard(chat, message) {
    this.place(chat, message);
    if (message.seq <= chat.seen) return;
    chat.seen = message.seq;
    chat.order = ++this._newest;
    if (message.sender !== this.me && message.seq > chat.read) {
      chat.unread++;
      this.onArrival(chat, message);
    }
  }

  /** A message that is known to be stored, from an event or from the answer to its sending. */
  place(chat, message) {
    if (message.seq > (chat.last?.seq ?? 0)) {
      chat.last = message;
      chat.order = ++this._newest;
    }
    const { messages } = chat;
    let at = messages.length;
    while (at > 0 && messages[at - 1].seq > message.seq) at--;
    const adjoins = at ? messages[at - 1].seq < message.seq : messages[0]?.seq === message.seq + 1;
    if (adjoins || (chat.known && !messages.length)) messages.splice(at, 0, message);
    this.touch();
  }

  /** The newest page of messages, or the one before those that are here. Older messages that a
   * gap parts from it are given up: together they would show a conversation that never was. */
  merge(chat, page) {
    if (page.length && page.at(-1).seq + 1 < chat.messages[0]?.seq) return;
    const all = new Map([...chat.messages, ...page].map((message) => [message.seq, message]));
    const sorted = [...all.values()].sort((a, b) => a.seq - b.seq);
    let first = sorted.indexOf(all.get(page[0]?.seq));
    while (first > 0 && sorted[first - 1].seq === sorted[first].seq - 1) first--;
    chat.messages = sorted.slice(Math.max(first, 0));
    chat.known = true;
    this.touch();
  }

  /** Forgets what is far up in a chat that is no longer looked at. */
  trim(chat) {
    if (chat.messages.length > KEPT) chat.messages = chat.messages.slice(-KEPT);
  }

  markRead(chat, seq) {
    if (seq <= chat.read) return;
    chat.read = seq;
    const unread = this._countUnread(chat);
    if (unread === undefined) this.onMissing(chat.id);
    else chat.unread = unread;
    this.touch();
  }

  /** Undefined where the messages that are here do not tell. */
  _countUnread({ messages, read, seen }) {
    if (read >= seen) return 0;
    if (!messages.length || messages[0].seq > read + 1 || messages.at(-1).seq < seen) return;
    return messages.filter((each) => each.seq > read && each.seq <= seen && each.sender !== this.me)
      .length;
  }

  /** The chats, the most recently active first. */
  list() {
    return [...this.chats.values()].sort((a, b) => b.order - a.order);
  }

  unread() {
    let sum = 0;
    for (const chat of this.chats.values()) sum += chat.unread;
    return sum;
  }

  _chat(id, user) {
    let chat = this.chats.get(id);
    if (!chat) {
      chat = {
        id,
        user,
        last: null, // the newest message
        seen: 0, // the newest number that `unread` accounts for
        read: 0,
        peerRead: 0,
        unread: 0,
        order: ++this._newest,
        messages: [], // without gaps, but that an own message may come before older ones
        known: false, // whether `messages` reaches the newest one
      };
      this.chats.set(id, chat);
    }
    return chat;
  }

  /** Something that is shown with the chats has changed. */
  touch() {
    if (this._told) return;
    this._told = true;
    queueMicrotask(() => {
      this._told = false;
      for (const changed of this._listeners) changed();
    });
  }
}
