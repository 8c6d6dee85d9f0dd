// The messages of one chat: a list that keeps its scroll position while it grows at both ends.

import { call } from "./api.js";
import { el, hidden, icon, reconcile } from "./dom.js";
import { linked } from "./links.js";
import { dayOf, momentOf, say, timeOf } from "./words.js";

const PAGE = 50;
const LARGEST_PAGE = 200;
const NEAR = 1200; // px from the top; closer than this, older messages are loaded
const STUCK = 60; // px from the bottom; closer than this counts as the bottom
const TOGETHER = 5 * 60_000; // ms; messages closer than this form a group

export class MessageList {
  constructor(store, outbox, reading, chat) {
    this._store = store;
    this._outbox = outbox;
    this._reading = reading;
    this.chat = chat;
    this._list = el("ol", { class: "messages" });
    this._top = el("div", { class: "top" });
    this._jump = el(
      "button",
      { type: "button", class: "jump", "aria-label": say("toNewest"), title: say("toNewest"), onclick: () => this.toBottom(true) },
      icon("down"),
    );
    this._empty = el("p", { class: "hint" }, say("noMessages"));
    this._scroller = el(
      "div",
      { class: "scroller", tabindex: "0", role: "region", "aria-label": say("messagesWith", { name: chat.user }) },
      this._top,
      this._empty,
      this._list,
    );
    this.element = el("div", { class: "scrollbox" }, this._scroller, this._jump);
    this._stuck = true;
    // The first message that was unread when the chat was opened, if any.
    this._divider = chat.unread ? chat.read + 1 : Infinity;
    this._placed = false;
    this._loading = false;
    this._failed = false;
    this._scroller.addEventListener("scroll", () => this._scrolled(), { passive: true });
    this._watch = new ResizeObserver(() => this._resized());
    this._watch.observe(this._scroller);
  }

  close() {
    this._watch.disconnect();
    this._store.trim(this.chat);
  }

  /** Makes the list match the store. Does nothing unless the list is on the screen: only there
   * elements have a position, and the user reads. */
  show() {
    if (!this.element.isConnected) return;
    const { chat } = this;
    if (!chat.known && !this._failed) this._load();
    const anchor = this._stuck ? undefined : this._anchor();
    const items = this._items();
    const older = chat.messages.length > 0 && chat.messages[0].seq > 1;
    this._empty.hidden = !chat.known || items.length > 0;
    this._scroller.setAttribute("aria-busy", String(!chat.known));
    this._showTop(older || !chat.known);
    reconcile(this._list, items, make, (row, item) => this._fill(row, item));
    if (!this._placed && chat.known) this._place();
    else if (this._stuck) this.toBottom();
    else this._restore(anchor);
    this._scrolled();
  }

  toBottom(smooth = false) {
    const behavior = smooth && !matchMedia("(prefers-reduced-motion: reduce)").matches ? "smooth" : "instant";
    this._scroller.scrollTo({ top: this._scroller.scrollHeight, behavior });
  }

  /** Marks the visible messages as read, if the page has the user's attention. */
  look() {
    if (document.hidden || !document.hasFocus() || !this._placed || !this.element.isConnected) return;
    const edge = this._scroller.getBoundingClientRect().bottom + 1;
    for (let row = this._list.lastElementChild; row; row = row.previousElementSibling) {
      if (row.seq && row.getBoundingClientRect().bottom <= edge + (this._stuck ? STUCK : 0)) {
        return this._reading.seen(this.chat, row.seq);
      }
    }
  }

  // The items to show, top to bottom.

  _items() {
    const { chat, _store: store } = this;
    const items = [];
    const waiting = this._outbox.of(chat);
    let before;
    for (const message of chat.messages) {
      const mine = store.isMine(message);
      const at = new Date(message.sent_at);
      const day = at.toDateString();
      const first = message.seq >= this._divider && (before?.seq ?? 0) < this._divider;
      if (day !== before?.day) items.push({ key: `day ${day}`, heading: at });
      if (first) items.push({ key: "new" });
      const joined = !first && day === before?.day && mine === before.mine && at - before.at < TOGETHER;
      // The event of an own message may arrive before the answer to its sending.
      const sent = mine ? waiting.findIndex(({ text, after }) => message.seq > after && text === message.text) : -1;
      const [item] = sent < 0 ? [] : waiting.splice(sent, 1);
      const key = item?.key ?? this._outbox.acknowledged.get(`${chat.id}:${message.seq}`) ?? message.seq;
      const state = mine ? (message.seq <= chat.peerRead ? "read" : "sent") : undefined;
      before = { key, seq: message.seq, text: message.text, at, day, mine, joined, state };
      items.push(before);
    }
    for (const item of waiting) {
      const state = item.failed ? "failed" : "pending";
      const at = new Date(item.at);
      const joined = before?.mine === true && at - before.at < TOGETHER;
      before = { key: item.key, text: item.text, at, mine: true, joined, state, item };
      items.push(before);
    }
    return items;
  }

  _fill(row, item) {
    if (item.heading) row.textContent = dayOf(item.heading);
    if (!item.text) return;
    row.seq = item.seq;
    row.classList.toggle("joined", item.joined);
    const shown = `${item.state} ${+item.at}`;
    if (row.shown === shown) return;
    row.shown = shown;
    row.className = `message ${item.mine ? "mine" : "theirs"}${item.joined ? " joined" : ""} ${item.state ?? ""}`;
    row.sender.textContent = `${item.mine ? say("you") : this.chat.user}: `;
    if (row.text.source !== item.text) row.text.replaceChildren(...linked((row.text.source = item.text)));
    row.time.dateTime = item.at.toISOString();
    row.time.title = momentOf(item.at);
    row.time.textContent = timeOf(item.at);
    row.mark.replaceChildren(...(item.state ? [icon(item.state), hidden(say(item.state))] : []));
    row.mark.title = item.state ? say(item.state) : "";
    row.actions.replaceChildren(
      ...(item.state === "failed"
        ? [
            el("span", {}, say(item.item.failed.endsWith("_not_found") ? "undelivered" : "failed")),
            el("button", { type: "button", class: "plain", onclick: () => this._outbox.retry(item.item) }, say("retry")),
            el("button", { type: "button", class: "plain", onclick: () => this._outbox.drop(item.item) }, say("remove")),
          ]
        : []),
    );
  }

  // Loading.

  /** Loads the newest messages, enough to include the unread ones. */
  _load() {
    return this._fetch(`limit=${Math.min(LARGEST_PAGE, PAGE + this.chat.unread)}`);
  }

  _loadOlder() {
    return this._fetch(`limit=${PAGE}&before=${this.chat.messages[0].seq}`);
  }

  async _fetch(query) {
    if (this._loading) return;
    this._loading = true;
    this._failed = false;
    try {
      const page = await call("GET", `v1/chats/${this.chat.id}/messages?${query}`);
      this._store.merge(this.chat, page.messages);
    } catch {
      this._failed = true;
    }
    this._loading = false;
    this.show();
  }

  /** Retries a load that failed while there was no connection. */
  retryLoading() {
    if (!this._failed) return;
    this._failed = false;
    this.show();
  }

  _showTop(waiting) {
    this._top.hidden = !waiting;
    const state = this._failed ? "failed" : "loading";
    if (this._top.state === state) return;
    this._top.state = state;
    const retry = el("button", { type: "button", class: "plain", onclick: () => this.retryLoading() }, say("retry"));
    this._top.replaceChildren(...(this._failed ? [`${say("loadFailed")} `, retry] : [say("loading")]));
  }

  // Keeping the scroll position.

  /** The first visible message and its position. Not every browser keeps it there, and none does
   * at the very top. */
  _anchor() {
    const edge = this._scroller.getBoundingClientRect().top;
    for (const row of this._list.children) {
      const { top, bottom } = row.getBoundingClientRect();
      if (bottom > edge && row.seq) return { row, top };
    }
  }

  _restore(anchor) {
    if (!anchor?.row.isConnected) return;
    const moved = anchor.row.getBoundingClientRect().top - anchor.top;
    if (moved) this._scroller.scrollTop += moved;
  }

  /** Scrolls to the first unread message, or else to the end. */
  _place() {
    this._placed = true;
    const divider = this._list.rows.get("new");
    this.toBottom();
    if (!divider) return;
    const above = divider.getBoundingClientRect().top - this._scroller.getBoundingClientRect().top;
    if (above < 0) this._scroller.scrollTop += above - 12;
  }

  _scrolled() {
    const { scrollTop, scrollHeight, clientHeight } = this._scroller;
    this._stuck = scrollHeight - scrollTop - clientHeight < STUCK;
    this._jump.hidden = this._stuck;
    const { messages } = this.chat;
    if (scrollTop < NEAR && messages.length && messages[0].seq > 1 && !this._failed && this._placed) this._loadOlder();
    this.look();
  }

  _resized() {
    if (this._stuck) this.toBottom();
  }
}

function make(item) {
  if (item.heading) return el("li", { class: "day" });
  if (!item.text) return el("li", { class: "new" }, el("span", {}, say("newMessages")));
  const parts = {
    sender: hidden(""),
    text: el("span", { class: "text", dir: "auto" }),
    time: el("time"),
    mark: el("span", { class: "mark" }),
    actions: el("span", { class: "actions" }),
  };
  const foot = el("span", { class: "foot" }, parts.time, parts.mark);
  const row = el("li", {}, el("div", { class: "bubble" }, parts.sender, parts.text, foot), parts.actions);
  return Object.assign(row, parts);
}
