// Requests to the service. The token travels in a header, never in a URL.

import { expire, latest, session, signIn } from "./session.js";

const SECONDS = 20;

/** The service answered with an error. */
export class Refused extends Error {
  constructor(status, code, retryAfter = 0) {
    super(`${status} ${code}`);
    this.status = status;
    this.code = code;
    this.retryAfter = retryAfter; // seconds
  }

  /** Whether a retry of the request may succeed. */
  get retryable() {
    return this.status >= 500 || this.status === 408 || this.status === 429;
  }
}

/** No answer arrived; the request may or may not have taken effect. */
export class Unreachable extends Error {}

/** Sends a request; resolves with the JSON of the answer, if any. Throws Refused, Unreachable. */
export async function call(method, path, { body, headers = {}, token, signal, keepalive } = {}) {
  const aborter = new AbortController();
  const abort = () => aborter.abort();
  const timer = setTimeout(abort, SECONDS * 1000);
  signal?.addEventListener("abort", abort);
  try {
    const response = await ask(method, path, {
      headers: body === undefined ? headers : { ...headers, "content-type": "application/json" },
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: aborter.signal,
      token,
      keepalive,
    });
    return response.status === 204 ? undefined : await response.json();
  } catch (error) {
    throw error instanceof Refused ? error : new Unreachable(error.message);
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", abort);
  }
}

/** Sends a request; resolves with a successful response. Throws Refused and errors of `fetch`.
 * Without a `token` it sends that of the session, and once more after a renewal. */
export async function ask(method, path, { headers = {}, body, signal, token, keepalive } = {}) {
  const used = token ?? session()?.token;
  const response = await fetch(new URL(path, document.baseURI.split("#")[0]), {
    method,
    headers: used ? { ...headers, authorization: `Bearer ${used}` } : headers,
    body,
    signal,
    keepalive,
    cache: "no-store",
    credentials: "omit",
    referrerPolicy: "no-referrer",
  });
  if (response.ok) return response;
  if (response.status === 401 && used) {
    const next = token === undefined ? await renewed(used) : undefined;
    if (next) return ask(method, path, { headers, body, signal, token: next, keepalive });
    expire(used);
  }
  let problem = {};
  try {
    problem = await response.json();
  } catch {
    // Not JSON, for example a proxy's error page: the status is enough.
  }
  const retryAfter = Number(response.headers.get("retry-after")) || 0;
  throw new Refused(response.status, problem.code ?? problem.error ?? "", retryAfter);
}

let renewal;

/** Resolves with a newer token than `used`; undefined if the session is over. Tabs that renew at
 * once get the same refresh token. */
async function renewed(used) {
  const now = latest();
  if (now && now.token !== used) return now.token;
  if (!now?.refresh || now.expired) return undefined;
  renewal ??= renew(now).finally(() => (renewal = undefined));
  return renewal;
}

async function renew({ refresh, name }) {
  try {
    const tokens = await call("POST", "v1/sessions/renew", { body: { refresh_token: refresh }, token: "" });
    // The user may have left, or signed in again, in the meantime.
    if (latest()?.refresh === refresh) signIn(tokens, name);
    return tokens.token;
  } catch (error) {
    if (error.status === 401) return undefined;
    // It refused the renewal, not the request that needs it.
    throw new Unreachable(error.message);
  }
}
