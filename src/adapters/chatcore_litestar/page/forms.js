// What the forms that ask for a password have in common.

import { Refused } from "./api.js";
import { el, icon } from "./dom.js";
import { count, say } from "./words.js";

const SHORTEST = 8; // characters of a new password

class Mistake extends Error {}

/** Ends a submit: `field` is to be filled in anew. */
export function fail(words, field) {
  field.focus();
  field.select?.();
  throw new Mistake(say(words));
}

export function checkNew(password) {
  if ([...password.value.normalize("NFC")].length < SHORTEST) fail("shortPassword", password);
}

/** Runs `enter` on submit, once at a time, and shows what went wrong. */
export function handler(alert, submit, enter) {
  return async (event) => {
    event.preventDefault();
    if (submit.getAttribute("aria-busy") === "true") return;
    submit.setAttribute("aria-busy", "true");
    alert.textContent = "";
    try {
      await enter();
    } catch (error) {
      alert.textContent = words(error);
    } finally {
      submit.removeAttribute("aria-busy");
    }
  };
}

function words(error) {
  if (error instanceof Mistake) return error.message;
  if (error.status === 429 && error.retryAfter) return count("tooMany", error.retryAfter);
  return say(error instanceof Refused ? "busy" : "unreachable");
}

export function input(id, type, autocomplete, more) {
  return el("input", { id, name: id, type, autocomplete, required: true, ...more });
}

export const passwordInput = (id, autocomplete) => input(id, "password", autocomplete, { maxlength: 1024 });

/** For password managers, which look for the name beside the password. */
export const nameBeside = (name) =>
  el("input", { class: "unseen", value: name, autocomplete: "username", readonly: true, tabindex: "-1", "aria-hidden": "true" });

export function withEye(password) {
  const eye = el("button", {
    type: "button",
    class: "eye",
    "aria-label": say("showPassword"),
    "aria-pressed": "false",
    onclick: () => {
      const show = password.type === "password";
      password.type = show ? "text" : "password";
      eye.setAttribute("aria-pressed", String(show));
    },
  });
  eye.append(icon("eye"));
  return el("span", { class: "field" }, password, eye);
}
