// Requests to the service. The token travels in a header, never in a URL.

import { expire, session } from "./session.js";

const SECONDS = 20;

/** The service answered, and the answer is no. */
export class Refused extends Error {
  constructor(status, code, retryAfter = 0) {
    super(`${status} ${code}`);
    this.status = status;
    this.code = code;
    this.retryAfter = retryAfter; // seconds
  }

  /** Whether the same request may succeed later. */
  get passing() {
    return this.status >= 500 || this.status === 408 || this.status === 429;
  }
}

/** No answer came. What was asked for has happened, or has not. */
export class Unreachable extends Error {}

/** The answer's JSON, if it has any. Raises Refused, Unreachable. */
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

/** The response, if it is a success. Raises Refused, and what `fetch` raises. */
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
  if (response.status === 401 && used) expire(used);
  let problem = {};
  try {
    problem = await response.json();
  } catch {
    // A proxy's page, perhaps; the status says enough.
  }
  const retryAfter = Number(response.headers.get("retry-after")) || 0;
  throw new Refused(response.status, problem.code ?? problem.error ?? "", retryAfter);
}
