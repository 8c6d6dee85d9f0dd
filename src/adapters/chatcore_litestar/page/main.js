// Puts the page together.

import { showAccount } from "./account.js";
import { Blocks, blocking } from "./blocks.js";
import { Connection } from "./connection.js";
import { announce, avatar, bdi, el, icon } from "./dom.js";
import { composer } from "./composer.js";
import { Log } from "./log.js";
import { Outbox } from "./outbox.js";
import { Reading } from "./reading.js";
import { onSession, session, signOut } from "./session.js";
import { sidebar } from "./sidebar.js";
import { Store } from "./store.js";
import { askAgain, welcome } from "./welcome.js";
import { count, language, say } from "./words.js";

document.documentElement.lang = language;

onSession((now, before) => {
  // Another account, or none: nothing of the old one stays in memory.
  if (before && (now?.id !== before.id || now?.name !== before.name)) location.reload();
  else if (!before && now) start();
});

if (session()) start();
else document.body.replaceChildren(welcome());

function start() {
  const store = new Store();
  const connection = new Connection(store, showStatus);
  const outbox = new Outbox(connection, store);
  const reading = new Reading(store);
  const blocks = new Blocks(() => blocker?.show());
  const side = sidebar(store, session().name, {
    onAccount: () => showAccount(mayLeave),
    onSignOut: leave,
    onOpen: ({ id }) => go(id),
  });
  const notice = el("span");
  const pill = el(
    "div",
    { class: "pill" },
    notice,
    el("button", { type: "button", class: "plain", onclick: () => connection.hurry() }, say("tryNow")),
  );
  const pane = el("div", { class: "pane" });
  const title = el("h1", { class: "unseen" }, "chatcore");
  document.body.replaceChildren(el("main", { class: "app" }, title, side.element, pane, pill));
  let log;
  let box;
  let blocker;
  let open = null; // the id of the chat that is open; undefined when none is
  let settled = false; // whether `open` is what the pane shows
  let dialog;

  store.subscribe(show);
  store.onArrival = (chat, message) => announce(`${chat.user}: ${message.text}`);
  onSession(checkSession);
  addEventListener("hashchange", openAddressed);
  addEventListener("focus", () => log?.look());
  document.addEventListener("visibilitychange", () => log?.look());
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && open !== undefined && !document.querySelector("dialog")) {
      location.hash = "";
      side.focus();
    }
  });
  checkSession();
  openAddressed();
  showStatus(connection.status);
  connection.run();
  outbox.flush();

  function show() {
    if (!settled) openAddressed();
    side.show(open);
    log?.show();
    const unread = store.unread();
    document.title = unread ? `(${unread}) chatcore` : "chatcore";
  }

  async function openAddressed() {
    const id = Number(/^#(\d{1,15})$/.exec(location.hash)?.[1]) || undefined;
    if (id === open && (settled || !store.loaded)) return;
    log?.close();
    log = box = blocker = undefined;
    open = id;
    settled = store.loaded || id === undefined;
    document.body.classList.toggle("reading", open !== undefined);
    let chat = store.chats.get(id);
    if (!chat && id !== undefined && store.loaded) {
      pane.replaceChildren();
      try {
        chat = await connection.fetchChat(id);
      } catch (error) {
        settled = error.status === 404;
      }
      if (open !== id || log) return;
    }
    if (!chat) {
      const text = id === undefined ? "chooseChat" : settled && "noSuchChat";
      pane.replaceChildren(...(text ? [el("p", { class: "hint" }, say(text))] : []));
    } else {
      log = new Log(store, outbox, reading, chat);
      box = composer(outbox, chat, () => log?.toBottom());
      const back = el("a", { class: "round back", href: "#", "aria-label": say("back"), title: say("back") }, icon("back"));
      blocker = blocking(blocks, chat, box);
      const bar = el("header", { class: "bar" }, back, avatar(chat.user), el("h2", {}, bdi(chat.user)), blocker.button);
      pane.replaceChildren(bar, blocker.question, log.element, blocker.alert, blocker.notice, box.element);
      log.show();
      if (!dialog && !matchMedia("(pointer: coarse)").matches) box.focus();
    }
    side.show(open);
  }

  function go(id) {
    location.hash = `#${id}`;
  }

  function showStatus(status) {
    side.showStatus(status);
    notice.textContent = say(status);
    pill.className = `pill ${status}`;
    announce(say(status));
    if (status !== "online") return;
    outbox.flush();
    reading.flush();
    blocks.refresh().catch(() => {}); // It is asked for again after the next interruption.
    log?.again();
    show();
  }

  function checkSession() {
    const expired = session()?.expired;
    if (expired && !dialog) dialog = askAgain(leave);
    if (expired || !dialog) return;
    dialog.remove();
    dialog = undefined;
    box?.focus();
    connection.wake();
    outbox.flush();
    reading.flush();
    log?.again();
  }

  function mayLeave() {
    const waiting = outbox.items().length;
    return !waiting || confirm(count("signOutUnsent", waiting));
  }

  function leave() {
    if (mayLeave()) signOut();
  }
}
