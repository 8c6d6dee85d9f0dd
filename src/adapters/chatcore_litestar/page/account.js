// The account dialog: the devices, change the password, export the data, delete the account.

import { ask, call } from "./api.js";
import { deviceList, startSession } from "./devices.js";
import { el } from "./dom.js";
import { checkNewPassword, fail, nameBeside, passwordInput, submitHandler, withEye } from "./forms.js";
import { session, signIn, signOut, whileRevoking } from "./session.js";
import { say } from "./words.js";

/** Opens the dialog. `mayLeave()` asks for confirmation if messages are unsent. */
export function showAccount(mayLeave) {
  const { name } = session();
  const dialog = el(
    "dialog",
    { class: "account", "aria-labelledby": "account-title", onclose: () => dialog.remove() },
    el("h2", { id: "account-title" }, say("account")),
    deviceList(),
    passwordForm(name),
    action("download", download),
    action("signOutEverywhere", () => mayLeave() && revokeAll()),
    deleteForm(name),
    el("button", { type: "button", class: "plain", onclick: () => dialog.close() }, say("close")),
  );
  document.body.append(dialog);
  dialog.showModal();
}

function passwordForm(name) {
  const current = passwordInput("current", "current-password");
  const next = passwordInput("next", "new-password");
  const done = el("p", { class: "done", role: "status" });

  async function change(form) {
    done.textContent = "";
    checkNewPassword(next);
    const body = { current_password: current.value, new_password: next.value };
    await whileRevoking(async () => {
      const { token } = await showRefusal(() => call("PUT", "v1/me/password", { body }), current, next);
      // The change ended all sessions. The token is good for 12 hours if no new one can be had.
      const tokens = await startSession(name, next.value).catch(() => undefined);
      signIn(tokens ?? { token }, name);
    });
    form.reset();
    done.textContent = say("passwordChanged");
  }

  return folded("changePassword", "changePassword", change, [
    nameBeside(name),
    el("label", { for: "current" }, say("currentPassword")),
    withEye(current),
    el("label", { for: "next" }, say("newPassword")),
    withEye(next),
    el("p", { class: "rule" }, say("passwordRule")),
    done,
  ]);
}

function deleteForm(name) {
  const password = passwordInput("farewell", "current-password");

  async function erase() {
    const body = { password: password.value };
    await whileRevoking(async () => {
      await showRefusal(() => call("DELETE", "v1/me", { body }), password);
      signOut();
    });
  }

  return folded("deleteAccount", "deleteForGood", erase, [
    el("p", {}, say("deleteText")),
    nameBeside(name),
    el("label", { for: "farewell" }, say("passwordOf", { name })),
    withEye(password),
  ]);
}

/** A form that unfolds below its title. */
function folded(title, button, enter, parts) {
  const alert = el("p", { class: "alert", role: "alert" });
  const submit = el("button", { class: "primary", type: "submit" }, say(button));
  const form = el("form", { onsubmit: submitHandler(alert, submit, () => enter(form)) }, ...parts, alert, submit);
  return el("details", { name: "account" }, el("summary", {}, say(title)), form);
}

/** A form with nothing but its button. */
function action(text, enter) {
  const alert = el("p", { class: "alert", role: "alert" });
  const submit = el("button", { class: "row", type: "submit" }, say(text));
  return el("form", { onsubmit: submitHandler(alert, submit, () => enter(submit)) }, submit, alert);
}

async function showRefusal(work, current, next) {
  try {
    return await work();
  } catch (error) {
    if (error.status === 403) fail("wrongCurrent", current);
    if (error.status === 422 && next) fail("refusedPassword", next);
    throw error;
  }
}

async function revokeAll() {
  await whileRevoking(async () => {
    await call("POST", "v1/logout-everywhere");
    signOut();
  });
}

async function download(button) {
  const response = await ask("GET", "v1/me/export");
  const data = await response.blob();
  // A complete export has this last line.
  if (!(await data.slice(-200).text()).includes('"type":"end"')) fail("downloadFailed", button);
  const href = URL.createObjectURL(data);
  el("a", { href, download: `chatcore ${session().name}.jsonl` }).click();
  setTimeout(() => URL.revokeObjectURL(href), 60_000);
}
