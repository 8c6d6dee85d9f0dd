// Sessions of devices: this browser's own, from the sign-in to its end, and the list of all.

import { call } from "./api.js";
import { bdi, el } from "./dom.js";
import { sleep } from "./leader.js";
import { session } from "./session.js";
import { brief, say } from "./words.js";

const LEAVING = 3000; // ms

/** Resolves with the tokens of a new session; undefined if the name or the password is wrong. */
export async function startSession(username, password) {
  const body = { username, password, device: deviceName() };
  try {
    return await call("POST", "v1/sessions", { body, token: "" });
  } catch (error) {
    if (error.status === 403) return undefined;
    throw error;
  }
}

/** Ends this browser's session at the service, if that answers within LEAVING. Waits for the answer,
 * since an expired token has to be renewed first. */
export async function endSession() {
  const { sessionId, expired } = session();
  if (!sessionId || expired) return;
  const ended = call("DELETE", `v1/me/sessions/${sessionId}`, { keepalive: true }).catch(() => {});
  await Promise.race([ended, sleep(LEAVING)]);
}

/** A part of the account dialog: the devices, each with a button that signs it out. */
export function deviceList() {
  const list = el("ul", { class: "devices" });
  const alert = el("p", { class: "alert", role: "alert" });
  const details = el(
    "details",
    { name: "account", ontoggle: () => details.open && attempt(show) },
    el("summary", {}, say("devices")),
    list,
    alert,
  );

  async function show() {
    const { sessions } = await call("GET", "v1/me/sessions");
    list.replaceChildren(...sessions.map(row));
  }

  function row({ session_id, device, used_at, current }) {
    const when = current ? say("thisDevice") : say("lastUsed", { when: brief(new Date(used_at)) });
    const end = el(
      "button",
      { type: "button", class: "plain", "aria-label": say("endDevice", { device }), onclick: () => attempt(() => finish(session_id)) },
      say("signOut"),
    );
    return el("li", {}, el("span", {}, bdi(device)), el("span", { class: "rule" }, when), current ? undefined : end);
  }

  async function finish(id) {
    try {
      await call("DELETE", `v1/me/sessions/${id}`);
    } catch (error) {
      // It has ended already.
      if (error.status !== 404) throw error;
    }
    await show();
  }

  async function attempt(work) {
    alert.textContent = "";
    try {
      await work();
    } catch {
      alert.textContent = say("unreachable");
    }
  }

  return details;
}

/** How the user will recognise this browser among others. */
function deviceName() {
  const names = (found) => found.find(([pattern]) => pattern.test(navigator.userAgent))?.[1];
  const browser = names([[/Edg/, "Edge"], [/OPR\//, "Opera"], [/Firefox|FxiOS/, "Firefox"], [/Chrome|CriOS/, "Chrome"], [/Safari/, "Safari"]]);
  const system = names([[/iPhone/, "iPhone"], [/iPad/, "iPad"], [/Android/, "Android"], [/Windows/, "Windows"], [/Mac OS X/, "Mac"], [/Linux|X11/, "Linux"]]);
  return [browser, system].filter(Boolean).join(", ") || "?";
}
