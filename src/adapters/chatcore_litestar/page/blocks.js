// Whom the account blocks. All tabs share what the service last said of it.

import { call, Refused } from "./api.js";
import { el } from "./dom.js";
import { folder, session } from "./session.js";
import { load, onOtherTabs, save } from "./storage.js";
import { say } from "./words.js";

export class Blocks {
  /** `onChange()` follows each change, in this tab or another. */
  constructor(onChange) {
    this._place = `${folder()}blocks`;
    this._onChange = onChange;
    this._turn = 0;
    onOtherTabs((key) => key === this._place && onChange());
  }

  has(name) {
    return (load(this._place) ?? []).includes(name);
  }

  /** Asks the service. Resolves when its newest answer is stored, also if another call asked for it. */
  refresh() {
    return (this._newest = this._refresh());
  }

  async _refresh() {
    const turn = ++this._turn;
    const names = [];
    let after = "";
    do {
      const page = await call("GET", `v1/blocks?limit=200${after && `&after=${encodeURIComponent(after)}`}`);
      names.push(...page.blocks.map(({ user }) => user));
      after = page.after;
    } while (after);
    if (turn !== this._turn) return this._newest;
    if (!session()) return;
    save(this._place, names);
    this._onChange();
  }

  async set(name, blocked) {
    await call(blocked ? "PUT" : "DELETE", `v1/blocks/${encodeURIComponent(name)}`);
    await this.refresh();
  }
}

/** For an open chat: the button that blocks the peer, the question that it asks, and what stands
 * in the place of `composer` while the peer is blocked. */
export function blocking(blocks, { user: name }, composer) {
  const alert = el("p", { class: "alert", role: "alert" });
  const button = el("button", { type: "button", class: "plain block", onclick: () => turn(true) }, say("block"));
  const yes = el("button", { type: "button", class: "plain danger", onclick: () => set(true) }, say("block"));
  const no = el("button", { type: "button", class: "plain", onclick: () => turn(false) }, say("cancel"));
  const question = el(
    "div",
    { class: "strip", role: "group", "aria-label": say("blockAsk", { name }), onkeydown: pressed },
    el("p", {}, say("blockAsk", { name })),
    el("span", {}, yes, no),
  );
  const undo = el("button", { type: "button", class: "plain", onclick: () => set(false) }, say("unblock"));
  const notice = el("div", { class: "strip" }, el("p", {}, say("blocked", { name })), undo);
  question.hidden = true;

  function turn(asking) {
    question.hidden = !asking;
    button.hidden = asking;
    alert.textContent = "";
    (asking ? yes : button).focus();
  }

  function pressed(event) {
    if (event.key !== "Escape") return;
    event.stopPropagation();
    turn(false);
  }

  async function set(blocked) {
    alert.textContent = "";
    try {
      await blocks.set(name, blocked);
      if (blocked) undo.focus();
      else composer.focus();
    } catch (error) {
      const gone = error instanceof Refused && !error.passing;
      if (error.status !== 401) alert.textContent = say(gone ? "nobody" : error instanceof Refused ? "busy" : "unreachable");
    }
  }

  function show() {
    const now = blocks.has(name);
    question.hidden ||= now;
    button.hidden = now || !question.hidden;
    notice.hidden = !now;
    composer.element.hidden = now;
  }

  show();
  return { button, question, notice, alert, show };
}
