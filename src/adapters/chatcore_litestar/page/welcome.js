// The forms to register, to sign in, and to sign in again after a session expired.

import { call } from "./api.js";
import { startSession } from "./devices.js";
import { el } from "./dom.js";
import { checkNewPassword, fail, input, nameBeside, passwordInput, submitHandler, withEye } from "./forms.js";
import { session, signIn, userId } from "./session.js";
import { say } from "./words.js";

/** The screen without a session. */
export function welcome() {
  let registering = false;
  const name = input("name", "text", "username", { maxlength: 128, autocapitalize: "none", spellcheck: "false" });
  const password = passwordInput("password", "current-password");
  const alert = el("p", { class: "alert", role: "alert" });
  const submit = el("button", { class: "primary", type: "submit" });
  const question = el("span");
  const switcher = el("button", { type: "button", class: "plain", onclick: () => setMode(!registering) });
  const nameRule = el("span", { class: "rule", id: "name-rule" }, say("nameRule"));
  const passwordRule = el("span", { class: "rule", id: "password-rule" }, say("passwordRule"));
  const form = el(
    "form",
    { class: "card", onsubmit: submitHandler(alert, submit, enter) },
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
    el("p", { class: "switch" }, question, " ", switcher),
  );

  async function enter() {
    if (registering) {
      checkNewPassword(password);
      const body = { username: name.value, password: password.value };
      try {
        await call("POST", "register", { body });
      } catch (error) {
        if (error.status !== 400) throw error;
        return fail("nameRefused", name);
      }
    }
    const tokens = await startSession(name.value, password.value);
    if (!tokens) return fail("wrongPassword", password);
    const { me } = await call("GET", "v1/sync", { token: tokens.token });
    signIn(tokens, me);
  }

  function setMode(register) {
    registering = register;
    submit.textContent = say(register ? "createAccount" : "signIn");
    question.textContent = say(register ? "haveAccount" : "newHere");
    switcher.textContent = say(register ? "signIn" : "createAccount");
    password.autocomplete = register ? "new-password" : "current-password";
    for (const [field, rule] of [[name, nameRule], [password, passwordRule]]) {
      rule.classList.toggle("off", !register);
      if (register) field.setAttribute("aria-describedby", rule.id);
      else field.removeAttribute("aria-describedby");
    }
    alert.textContent = "";
    queueMicrotask(() => name.focus());
  }

  setMode(false);
  return el("main", { class: "welcome" }, form);
}

/** Opens a dialog that asks for the password. The caller removes it when the session is valid
 * again, which may happen in another tab. */
export function askPassword(onSignOut) {
  const { name, id } = session();
  const password = passwordInput("again", "current-password");
  const alert = el("p", { class: "alert", role: "alert" });
  const submit = el("button", { class: "primary", type: "submit" }, say("continue"));

  async function enter() {
    const tokens = await startSession(name, password.value);
    if (!tokens) return fail("wrongPassword", password);
    // Another account with the same name must not get the stored data.
    if (userId(tokens.token) !== id) return onSignOut();
    signIn(tokens, name);
  }

  // A second Escape closes any dialog.
  function reopen() {
    if (dialog.isConnected) dialog.showModal();
  }

  const dialog = el(
    "dialog",
    { "aria-labelledby": "again-title", "aria-describedby": "again-text", oncancel: (event) => event.preventDefault(), onclose: reopen },
    el(
      "form",
      { onsubmit: submitHandler(alert, submit, enter) },
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
