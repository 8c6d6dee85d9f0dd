// Registering, signing in, and the password once more when a session has ended.

import { call } from "./api.js";
import { el } from "./dom.js";
import { checkNew, fail, handler, input, nameBeside, passwordInput, withEye } from "./forms.js";
import { session, signIn, userId } from "./session.js";
import { say } from "./words.js";

/** The screen of someone who is not signed in. */
export function welcome() {
  let registering = false;
  const name = input("name", "text", "username", { maxlength: 128, autocapitalize: "none", spellcheck: "false" });
  const password = passwordInput("password", "current-password");
  const alert = el("p", { class: "alert", role: "alert" });
  const submit = el("button", { class: "primary", type: "submit" });
  const question = el("span");
  const other = el("button", { type: "button", class: "plain", onclick: () => turn(!registering) });
  const nameRule = el("span", { class: "rule", id: "name-rule" }, say("nameRule"));
  const passwordRule = el("span", { class: "rule", id: "password-rule" }, say("passwordRule"));
  const form = el(
    "form",
    { class: "card", onsubmit: handler(alert, submit, enter) },
    el("img", { src: new URL("icon.svg", import.meta.url).href, alt: "", width: 48, height: 48 }),
    el("h1", {}, "chatcore"),
    el("p", { class: "tagline" }, say("tagline")),
    el("label", { for: "name" }, say("name")),
    name,
    nameRule,
    el("label", { for: "password" }, say("password")),
    withEye(password),
    passwordRule,
    alert,
    submit,
    el("p", { class: "switch" }, question, " ", other),
  );

  async function enter() {
    if (registering) {
      checkNew(password);
      const body = { username: name.value, password: password.value };
      try {
        await call("POST", "register", { body });
      } catch (error) {
        if (error.status !== 400) throw error;
        return fail("nameRefused", name);
      }
    }
    const token = await logIn(name.value, password.value);
    if (!token) return fail("wrongPassword", password);
    const { me } = await call("GET", "v1/sync", { token });
    signIn(token, me);
  }

  function turn(to) {
    registering = to;
    submit.textContent = say(to ? "createAccount" : "signIn");
    question.textContent = say(to ? "haveAccount" : "newHere");
    other.textContent = say(to ? "signIn" : "createAccount");
    password.autocomplete = to ? "new-password" : "current-password";
    for (const [field, rule] of [[name, nameRule], [password, passwordRule]]) {
      rule.classList.toggle("off", !to);
      if (to) field.setAttribute("aria-describedby", rule.id);
      else field.removeAttribute("aria-describedby");
    }
    alert.textContent = "";
    queueMicrotask(() => name.focus());
  }

  turn(false);
  return el("main", { class: "welcome" }, form);
}

/** Asks for the password in place, over what is on the screen. Goes when the session is good
 * again, be it through another tab. */
export function askAgain(onSignOut) {
  const { name, id } = session();
  const password = passwordInput("again", "current-password");
  const alert = el("p", { class: "alert", role: "alert" });
  const submit = el("button", { class: "primary", type: "submit" }, say("goOn"));

  async function enter() {
    const token = await logIn(name, password.value);
    if (!token) return fail("wrongPassword", password);
    // Another account by the same name: what this browser keeps is not its.
    if (userId(token) !== id) return onSignOut();
    signIn(token, name);
  }

  // Escape, pressed twice, closes any dialog.
  function reopen() {
    if (dialog.isConnected) dialog.showModal();
  }

  const dialog = el(
    "dialog",
    { "aria-labelledby": "again-title", "aria-describedby": "again-text", oncancel: (event) => event.preventDefault(), onclose: reopen },
    el(
      "form",
      { onsubmit: handler(alert, submit, enter) },
      el("h2", { id: "again-title" }, say("expired")),
      el("p", { id: "again-text" }, say("expiredText")),
      nameBeside(name),
      el("label", { for: "again" }, say("passwordOf", { name })),
      withEye(password),
      alert,
      submit,
      el("button", { type: "button", class: "plain", onclick: onSignOut }, say("signOut")),
    ),
  );
  document.body.append(dialog);
  dialog.showModal();
  password.focus();
  return dialog;
}

/** The token, or undefined when name and password do not fit. */
async function logIn(username, password) {
  try {
    return (await call("POST", "login", { body: { username, password } })).token;
  } catch (error) {
    if (error.status === 401) return undefined;
    throw error;
  }
}
