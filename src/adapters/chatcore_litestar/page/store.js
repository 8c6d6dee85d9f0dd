// This tab's copy of the account's chats. Snapshots, events and pages update it and may overlap, so
// every update can be applied twice.

const KEPT = 100; // messages kept of a chat that is not open

export class Store {
  constructor() {
    this.handle = undefined; // the account's; names of users need not be unique
    this.loaded = false;
    this.more = false; // whether the service has older chats
    this.chats = new Map();
    this._newest = 0;
    this._listeners = new Set();
    this._notifying = false;
    /** Called with the id of a chat that has to be fetched. */
    this.onMissing = () => {};
    /** Called with a chat and a new message of the peer. */
    this.onArrival = () => {};
  }

  /** Calls `changed()` soon after changes, once for several. */
  subscribe(changed) {
    this._listeners.add(changed);
  }

  /** Applies a snapshot of the current state. */
  loadSnapshot({ handle, chats }) {
    this.handle = handle;
    this.loaded = true;
    this.more ||= chats.length >= 100;
    for (const item of [...chats].reverse()) {
      const chat = this.put(item);
      chat.order = ++this._newest;
      // The snapshot replaces events, so the newest page has to be loaded again.
      if ((chat.messages.at(-1)?.seq ?? 0) < chat.seen) chat.known = false;
    }
    this.touch();
  }

  /** Applies a page of the list of chats that is below all known chats. */
  loadOlderChats({ chats, next }) {
    this.more = next !== null;
    for (const item of chats) {
      const known = this.chats.has(item.chat_id);
      const chat = this.put(item);
      if (!known) chat.order = Math.min(...[...this.chats.values()].map((each) => each.order)) - 1;
    }
    this.touch();
  }

  /** Applies a chat item. If it is older than the applied events, it changes no counter. */
  put(item) {
    const chat = this._chat(item.chat_id, item);
    const seen = item.last_message?.seq ?? 0;
    chat.peerRead = Math.max(chat.peerRead, item.peer_read_seq);
    if (seen >= chat.seen) {
      chat.seen = seen;
      if (seen > (chat.last?.seq ?? 0)) chat.last = item.last_message;
      if (item.read_seq >= chat.read) {
        chat.read = item.read_seq;
        chat.unread = item.unread;
      } else {
        // This tab's newer read marker has not reached the service.
        chat.unread = this._countUnread(chat) ?? Math.min(chat.unread, item.unread);
      }
    }
    this.touch();
    return chat;
  }

  /** Applies an event. Events come in the order of the event log. */
  apply(event) {
    const chat = this.chats.get(event.chat_id);
    if (event.type === "chat") {
      this._chat(event.chat_id, event);
    } else if (!chat) {
      this.onMissing(event.chat_id);
    } else if (event.type === "message") {
      this._arrived(chat, event.message);
    } else if (event.type === "read" && event.handle === this.handle) {
      this.markRead(chat, event.seq);
    } else if (event.type === "read") {
      chat.peerRead = Math.max(chat.peerRead, event.seq);
    }
    this.touch();
  }

  _arrived(chat, message) {
    this.place(chat, message);
    if (message.seq <= chat.seen) return;
    chat.seen = message.seq;
    chat.order = ++this._newest;
    if (!this.isMine(message) && message.seq > chat.read) {
      chat.unread++;
      this.onArrival(chat, message);
    }
  }

  isMine(message) {
    return message.handle === this.handle;
  }

  /** Applies a stored message, from an event or from the answer to its sending. */
  place(chat, message) {
    this._name(chat, [message]);
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

  /** Applies the newest page of messages, or the page before the known ones. Older messages that a
   * gap separates from the page are dropped, since no list may hide a gap. */
  merge(chat, page) {
    this._name(chat, page);
    if (page.length && page.at(-1).seq + 1 < chat.messages[0]?.seq) return;
    const all = new Map([...chat.messages, ...page].map((message) => [message.seq, message]));
    const sorted = [...all.values()].sort((a, b) => a.seq - b.seq);
    let first = sorted.indexOf(all.get(page[0]?.seq));
    while (first > 0 && sorted[first - 1].seq === sorted[first].seq - 1) first--;
    chat.messages = sorted.slice(Math.max(first, 0));
    chat.known = true;
    this.touch();
  }

  /** Drops older messages of a chat that was closed. */
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

  /** The unread count; undefined if too few messages are loaded. */
  _countUnread({ messages, read, seen }) {
    if (read >= seen) return 0;
    if (!messages.length || messages[0].seq > read + 1 || messages.at(-1).seq < seen) return;
    return messages.filter((each) => each.seq > read && each.seq <= seen && !this.isMine(each)).length;
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

  _chat(id, { user, handle }) {
    let chat = this.chats.get(id);
    if (!chat) {
      chat = {
        id,
        user,
        handle, // the peer's, as `user` is the peer's name
        last: null, // the newest message
        seen: 0, // the newest message number counted in `unread`
        read: 0,
        peerRead: 0,
        unread: 0,
        order: ++this._newest,
        messages: [], // without gaps, except that an own message may arrive before older ones
        known: false, // whether `messages` includes the newest one
      };
      this.chats.set(id, chat);
    }
    Object.assign(chat, { user, handle });
    return chat;
  }

  /** Takes over the peer's name, which changes when the peer is renamed or deleted. */
  _name(chat, messages) {
    if (this.handle === undefined) return; // Before the snapshot, own messages look like the peer's.
    const last = messages.findLast((message) => !this.isMine(message));
    if (last) Object.assign(chat, { user: last.sender, handle: last.handle });
  }

  /** Notifies the subscribers of a change. */
  touch() {
    if (this._notifying) return;
    this._notifying = true;
    queueMicrotask(() => {
      this._notifying = false;
      for (const changed of this._listeners) changed();
    });
  }
}
