// The text box of a chat. Every keystroke stores the draft.

import { el, icon } from "./dom.js";
import { folder } from "./session.js";
import { forget, load, save } from "./storage.js";
import { count, say } from "./words.js";

const LONGEST = 4096; // characters of a message

export function composer(outbox, chat, onSent) {
  const place = `${folder()}draft:${chat.id}:${chat.user}`;
  const label = say("messageTo", { name: chat.user });
  const box = el("textarea", {
    rows: 1,
    "aria-label": label,
    "aria-describedby": "too-long",
    placeholder: say("message"),
    enterkeyhint: "send",
    oninput: typed,
    onkeydown: pressed,
  });
  const excess = el("span", { class: "excess", id: "too-long", role: "status" });
  const button = el("button", { class: "round send", "aria-label": say("send"), title: say("send") }, icon("send"));
  const element = el("form", { class: "composer", onsubmit: send }, box, excess, button);
  box.value = load(place) ?? "";

  function typed() {
    if (box.value) save(place, box.value);
    else forget(place);
    fit();
  }

  function fit() {
    box.style.height = "auto";
    box.style.height = `${box.scrollHeight}px`;
    const over = [...box.value.trim()].length - LONGEST;
    excess.textContent = over > 0 ? count("tooLong", over) : "";
  }

  function pressed(event) {
    // On a touch keyboard, only Enter can start a new line.
    const sends = event.key === "Enter" && !event.shiftKey && !event.isComposing;
    if (sends && !matchMedia("(pointer: coarse)").matches) send(event);
  }

  /** Empties the box at once, so that a second click sends nothing. */
  function send(event) {
    event.preventDefault();
    const text = wellFormed(box.value).trim();
    box.focus();
    if (!text || excess.textContent) return;
    outbox.add(chat, text);
    box.value = "";
    typed();
    onSent();
  }

  queueMicrotask(fit);
  return { element, focus: () => box.focus({ preventScroll: true }) };
}

/** Removes what no message may contain: lone surrogates and NUL. */
const wellFormed = (text) => (text.toWellFormed?.() ?? text).replaceAll("\0", "");
