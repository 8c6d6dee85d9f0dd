// The users that the account blocks. All tabs share the last answer of the service.

import { call, Refused } from "./api.js";
import { el } from "./dom.js";
import { folder, session } from "./session.js";
import { load, onOtherTabs, save } from "./storage.js";
import { say } from "./words.js";

export class Blocks {
  /** Calls `onChange()` after each change, in this tab or another. */
  constructor(onChange) {
    this._place = `${folder()}blocks`;
    this._onChange = onChange;
    this._request = 0;
    onOtherTabs((key) => key === this._place && onChange());
  }

  has(handle) {
    return (load(this._place) ?? []).includes(handle);
  }

  /** Fetches the list. Resolves when the newest answer is stored, be it that of a later call. */
  refresh() {
    return (this._newest = this._refresh());
  }

  async _refresh() {
    const request = ++this._request;
    const handles = [];
    let after = "";
    do {
      const page = await call("GET", `v1/blocks?limit=200${after && `&after=${encodeURIComponent(after)}`}`);
      handles.push(...page.blocks.map(({ handle }) => handle));
      after = page.after;
    } while (after);
    if (request !== this._request) return this._newest;
    if (!session()) return;
    save(this._place, handles);
    this._onChange();
  }

  async set(handle, blocked) {
    await call(blocked ? "PUT" : "DELETE", `v1/blocks/-?handle=${encodeURIComponent(handle)}`);
    await this.refresh();
  }
}

/** For an open chat: the button that blocks the peer, the question it opens, and the notice that
 * replaces `composer` while the peer is blocked. */
export function blocking(blocks, chat, composer) {
  const name = chat.user;
  const alert = el("p", { class: "alert", role: "alert" });
  const button = el("button", { type: "button", class: "plain block", onclick: () => ask(true) }, say("block"));
  const yes = el("button", { type: "button", class: "plain danger", onclick: () => set(true) }, say("block"));
  const no = el("button", { type: "button", class: "plain", onclick: () => ask(false) }, say("cancel"));
  const question = el(
    "div",
    { class: "strip", role: "group", "aria-label": say("blockAsk", { name }), onkeydown: pressed },
    el("p", {}, say("blockAsk", { name })),
    el("span", {}, yes, no),
  );
  const undo = el("button", { type: "button", class: "plain", onclick: () => set(false) }, say("unblock"));
  const notice = el("div", { class: "strip" }, el("p", {}, say("blocked", { name })), undo);
  question.hidden = true;

  function ask(open) {
    question.hidden = !open;
    button.hidden = open;
    alert.textContent = "";
    (open ? yes : button).focus();
  }

  function pressed(event) {
    if (event.key !== "Escape") return;
    event.stopPropagation();
    ask(false);
  }

  async function set(blocked) {
    alert.textContent = "";
    try {
      await blocks.set(chat.handle, blocked);
      if (blocked) undo.focus();
      else composer.focus();
    } catch (error) {
      const refused = error instanceof Refused && !error.retryable;
      if (error.status !== 401) alert.textContent = say(refused ? "noSuchUser" : error instanceof Refused ? "busy" : "unreachable");
    }
  }

  function show() {
    const now = blocks.has(chat.handle);
    question.hidden ||= now;
    button.hidden = now || !question.hidden;
    notice.hidden = !now;
    composer.element.hidden = now;
  }

  show();
  return { button, question, notice, alert, show };
}
