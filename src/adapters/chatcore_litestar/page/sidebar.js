// The sidebar: the signed-in user, the state of the connection, and the list of chats.

import { call } from "./api.js";
import { avatar, bdi, el, hidden, icon, reconcile } from "./dom.js";
import { brief, count, say } from "./words.js";

const NEAR = 400; // px from the end of the list, closer than this, older chats are loaded

export function sidebar(store, name, { onAccount, onSignOut, onOpen }) {
  const status = el("span", { class: "status" });
  const list = el("ul", { class: "chats" });
  const empty = el("div", { class: "hint" }, el("p", {}, say("noChats")), el("p", {}, say("noChatsText")));
  empty.hidden = true;
  const skeleton = el("div", { class: "skeleton", "aria-hidden": "true" }, ...Array.from({ length: 6 }, () => el("span")));
  const nav = el("nav", { "aria-label": say("chats"), onkeydown: walk }, skeleton, empty, list);
  nav.addEventListener("scroll", loadMore, { passive: true });
  const account = el("button", { type: "button", class: "round", "aria-label": say("account"), title: say("account"), onclick: onAccount }, icon("person"));
  const out = el("button", { type: "button", class: "round", "aria-label": say("signOut"), title: say("signOut"), onclick: onSignOut }, icon("leave"));
  const element = el(
    "div",
    { class: "sidebar" },
    el("header", { class: "bar" }, avatar(name), el("div", { class: "who" }, el("h2", {}, bdi(name)), status), account, out),
    starter(store, onOpen),
    nav,
  );
  let loading = false;
  let next; // the `before` of the next page of chats

  function show(open) {
    skeleton.hidden = store.loaded;
    const chats = store.list();
    empty.hidden = !store.loaded || chats.length > 0;
    reconcile(list, chats.map((chat) => ({ key: `${chat.id} ${chat.user}`, chat })), make, (row, { chat }) => fill(row, chat, open));
  }

  function make({ chat }) {
    const when = el("time");
    const last = el("span", { class: "last" });
    const badge = el("span", { class: "badge" });
    const link = el(
      "a",
      { href: `#${chat.id}` },
      avatar(chat.user),
      el("span", { class: "peer" }, bdi(chat.user)),
      when,
      last,
      badge,
    );
    return Object.assign(el("li", {}, link), { link, when, last, badge });
  }

  function fill(row, chat, open) {
    if (chat.id === open) row.link.setAttribute("aria-current", "page");
    else row.link.removeAttribute("aria-current");
    const shown = [chat.last?.seq, chat.unread, new Date().getDate()].join();
    if (row.shown === shown) return;
    row.shown = shown;
    row.badge.hidden = !chat.unread;
    row.badge.replaceChildren(
      el("span", { "aria-hidden": "true" }, chat.unread > 99 ? "99+" : String(chat.unread)),
      hidden(count("unread", chat.unread)),
    );
    row.classList.toggle("unread", chat.unread > 0);
    if (!chat.last) return;
    const at = new Date(chat.last.sent_at);
    row.when.dateTime = chat.last.sent_at;
    row.when.textContent = brief(at);
    const mine = store.isMine(chat.last);
    row.last.replaceChildren(...(mine ? [el("span", { class: "mine" }, `${say("you")}: `)] : []), bdi(chat.last.text.slice(0, 120)));
  }

  /** Loads older chats when the end of the list is near. */
  async function loadMore() {
    if (loading || !store.more || nav.scrollHeight - nav.scrollTop - nav.clientHeight > NEAR) return;
    loading = true;
    try {
      const before = next ? `&before=${encodeURIComponent(next)}` : "";
      const page = await call("GET", `v1/chats?limit=100${before}`);
      next = page.next;
      store.loadOlderChats(page);
      // The first page repeats the chats of the snapshot.
      requestAnimationFrame(loadMore);
    } catch {
      // The next scroll retries.
    }
    loading = false;
  }

  function walk(event) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step || !event.target.matches("a")) return;
    event.preventDefault();
    const row = event.target.parentElement;
    (step > 0 ? row.nextElementSibling : row.previousElementSibling)?.firstElementChild.focus();
  }

  function showStatus(now) {
    status.textContent = say(now);
    status.className = `status ${now}`;
  }

  return { element, show, showStatus, focus: () => (list.querySelector("[aria-current]") ?? list.querySelector("a"))?.focus() };
}

/** The form that starts a chat by name. */
function starter(store, onOpen) {
  const name = el("input", {
    id: "start",
    type: "text",
    placeholder: say("personName"),
    "aria-label": say("personName"),
    autocomplete: "off",
    autocapitalize: "none",
    spellcheck: "false",
    maxlength: 128,
    enterkeyhint: "go",
    oninput: () => (alert.textContent = ""),
  });
  const alert = el("p", { class: "alert", role: "alert" });
  const button = el("button", { class: "round", "aria-label": say("startChat"), title: say("startChat") }, icon("plus"));
  let busy = false;

  async function start(event) {
    event.preventDefault();
    const peer = name.value.trim();
    if (!peer || busy) return name.focus();
    busy = true;
    alert.textContent = "";
    try {
      // No URL path can carry these two, and no user can have them as a name.
      if (peer === "." || peer === "..") alert.textContent = say("noSuchUser");
      else {
        const chat = store.put(await call("PUT", `v1/users/${encodeURIComponent(peer)}/chat`));
        name.value = "";
        onOpen(chat);
      }
    } catch (error) {
      if (error.status === 401) return;
      const known = { self_chat: "yourself", user_not_found: "noSuchUser" }[error.code];
      const refused = error.status === 403 ? "notAllowed" : "noSuchUser";
      alert.textContent = say(known ?? (error.status < 500 ? refused : error.status ? "busy" : "unreachable"));
    } finally {
      busy = false;
    }
  }

  return el("form", { class: "start", onsubmit: start }, name, button, alert);
}
