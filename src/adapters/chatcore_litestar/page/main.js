// Assembles the page.

import { showAccount } from "./account.js";
import { Blocks, blocking } from "./blocks.js";
import { Connection } from "./connection.js";
import { endSession } from "./devices.js";
import { announce, avatar, bdi, el, icon } from "./dom.js";
import { composer } from "./composer.js";
import { MessageList } from "./messages.js";
import { Outbox } from "./outbox.js";
import { ReadMarkers } from "./read_markers.js";
import { onSession, session, signOut, whileRevoking } from "./session.js";
import { sidebar } from "./sidebar.js";
import { Store } from "./store.js";
import { askPassword, welcome } from "./welcome.js";
import { count, language, say } from "./words.js";

document.documentElement.lang = language;

onSession((now, before) => {
  // Another account or none: a reload clears the old one's data from memory.
  if (before && (now?.id !== before.id || now?.name !== before.name)) location.reload();
  else if (!before && now) start();
});

if (session()) start();
else document.body.replaceChildren(welcome());

function start() {
  const store = new Store();
  const connection = new Connection(store, showStatus);
  const outbox = new Outbox(connection, store);
  const readMarkers = new ReadMarkers(store);
  const blocks = new Blocks(() => blocker?.show());
  const side = sidebar(store, session().name, {
    onAccount: () => showAccount(mayLeave),
    onSignOut: leave,
    onOpen: ({ id }) => openChat(id),
  });
  const notice = el("span");
  const pill = el(
    "div",
    { class: "pill" },
    notice,
    el("button", { type: "button", class: "plain", onclick: () => connection.retryNow() }, say("tryNow")),
  );
  const pane = el("div", { class: "pane" });
  const title = el("h1", { class: "unseen" }, "chatcore");
  document.body.replaceChildren(el("main", { class: "app" }, title, side.element, pane, pill));
  let messages;
  let box;
  let blocker;
  let heading;
  let open = null; // the id of the open chat; undefined if none is open
  let settled = false; // whether the pane shows `open`
  let dialog;

  store.subscribe(show);
  store.onArrival = (chat, message) => announce(`${chat.user}: ${message.text}`);
  onSession(checkSession);
  addEventListener("hashchange", openAddressed);
  addEventListener("focus", () => messages?.look());
  document.addEventListener("visibilitychange", () => messages?.look());
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
    messages?.show();
    if (messages && heading.textContent !== messages.chat.user) heading.replaceChildren(bdi(messages.chat.user));
    const unread = store.unread();
    document.title = unread ? `(${unread}) chatcore` : "chatcore";
  }

  async function openAddressed() {
    const id = Number(/^#(\d{1,15})$/.exec(location.hash)?.[1]) || undefined;
    if (id === open && (settled || !store.loaded)) return;
    messages?.close();
    messages = box = blocker = undefined;
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
      if (open !== id || messages) return;
    }
    if (!chat) {
      const text = id === undefined ? "chooseChat" : settled && "noSuchChat";
      pane.replaceChildren(...(text ? [el("p", { class: "hint" }, say(text))] : []));
    } else {
      messages = new MessageList(store, outbox, readMarkers, chat);
      box = composer(outbox, chat, () => messages?.toBottom());
      const back = el("a", { class: "round back", href: "#", "aria-label": say("back"), title: say("back") }, icon("back"));
      blocker = blocking(blocks, chat, box);
      heading = el("h2", {}, bdi(chat.user));
      const bar = el("header", { class: "bar" }, back, avatar(chat.user), heading, blocker.button);
      pane.replaceChildren(bar, blocker.question, messages.element, blocker.alert, blocker.notice, box.element);
      messages.show();
      if (!dialog && !matchMedia("(pointer: coarse)").matches) box.focus();
    }
    side.show(open);
  }

  function openChat(id) {
    location.hash = `#${id}`;
  }

  function showStatus(status) {
    side.showStatus(status);
    notice.textContent = say(status);
    pill.className = `pill ${status}`;
    announce(say(status));
    if (status !== "online") return;
    outbox.flush();
    readMarkers.flush();
    blocks.refresh().catch(() => {}); // The next reconnection retries.
    messages?.retryLoading();
    show();
  }

  function checkSession() {
    const expired = session()?.expired;
    if (expired && !dialog) dialog = askPassword(leave);
    if (expired || !dialog) return;
    dialog.remove();
    dialog = undefined;
    box?.focus();
    connection.wake();
    outbox.flush();
    readMarkers.flush();
    messages?.retryLoading();
  }

  function mayLeave() {
    const waiting = outbox.items().length;
    return !waiting || confirm(count("signOutUnsent", waiting));
  }

  async function leave() {
    if (!mayLeave()) return;
    await whileRevoking(async () => {
      await endSession();
      signOut();
    });
  }
}
