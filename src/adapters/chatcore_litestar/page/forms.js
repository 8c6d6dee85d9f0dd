// Parts of all forms that ask for a password.

import { Refused } from "./api.js";
import { el, icon } from "./dom.js";
import { count, say } from "./words.js";

const SHORTEST = 8; // characters of a new password

class Mistake extends Error {}

/** Aborts a submit: shows `text` and selects `field`, which the user has to correct. */
export function fail(text, field) {
  field.focus();
  field.select?.();
  throw new Mistake(say(text));
}

export function checkNewPassword(password) {
  if ([...password.value.normalize("NFC")].length < SHORTEST) fail("shortPassword", password);
}

/** Makes a submit listener that runs `enter`, one run at a time, and shows its error in `alert`. */
export function submitHandler(alert, submit, enter) {
  return async (event) => {
    event.preventDefault();
    if (submit.getAttribute("aria-busy") === "true") return;
    submit.setAttribute("aria-busy", "true");
    alert.textContent = "";
    try {
      await enter();
    } catch (error) {
      alert.textContent = textOf(error);
    } finally {
      submit.removeAttribute("aria-busy");
    }
  };
}

function textOf(error) {
  if (error instanceof Mistake) return error.message;
  if (error.status === 429 && error.retryAfter) return count("tooMany", error.retryAfter);
  return say(error instanceof Refused ? "busy" : "unreachable");
}

export function input(id, type, autocomplete, more) {
  return el("input", { id, name: id, type, autocomplete, required: true, ...more });
}

export const passwordInput = (id, autocomplete) => input(id, "password", autocomplete, { maxlength: 1024 });

/** A hidden field for password managers, which look for the name beside the password. */
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
