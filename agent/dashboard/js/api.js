// Questions to the agent's API, with the session's token.
import * as session from "./session.js";
import { useUtc, zone } from "./format/time.js";

/** Told to the document when the agent refuses to answer: the session may have ended. */
export const DENIED = "weir-denied";

/** Why a question was not answered: a problem in the sense of RFC 9457, or none reached the agent. */
export class Problem extends Error {
  constructor(status, message, fix = null) {
    super(message);
    this.name = "Problem";
    this.status = status;
    this.fix = fix;
  }

  /** Whether the session is to blame. */
  get isDenied() {
    return this.status === 401 || this.status === 403;
  }
}

/** Reads; `params` that are null are left out. */
export async function get(path, params = {}, signal = undefined) {
  const response = await send(address(path, params), { signal });
  return response.json();
}

/** Reads by calendar days: of the reader's zone, or of UTC where the agent knows no zones. */
export async function byDay(path, params, signal) {
  try {
    return await get(path, { ...params, zone: zone() }, signal);
  } catch (problem) {
    if (problem.status === 400 && useUtc()) {
      return get(path, { ...params, zone: zone() }, signal);
    }
    throw problem;
  }
}

/** Changes something. */
export async function put(path, body) {
  const headers = { "Content-Type": "application/json" };
  const response = await send(path, { method: "PUT", headers, body: JSON.stringify(body) });
  return response.json();
}

/** Ends the session. */
export async function end() {
  await send("/api/session", { method: "DELETE" });
}

/** Opens the stream of events; the caller reads the body. */
export function stream(after, signal) {
  const headers = { Accept: "text/event-stream" };
  return send(address("/api/events/stream", { after }), { headers, signal });
}

function address(path, params) {
  const given = Object.entries(params).filter(([, value]) => value !== null && value !== undefined);
  const query = new URLSearchParams(given).toString();
  return query === "" ? path : `${path}?${query}`;
}

async function send(url, { headers = {}, ...options }) {
  const token = session.current();
  const all = token === null ? headers : { ...headers, Authorization: `Bearer ${token}` };
  let response;
  try {
    response = await fetch(url, {
      ...options,
      headers: all,
      cache: "no-store",
      credentials: "omit",
      redirect: "error",
    });
  } catch (fault) {
    if (fault.name === "AbortError") {
      throw fault;
    }
    throw new Problem(0, "The agent does not answer.", "weir status");
  }
  if (!response.ok) {
    const problem = await problemOf(response);
    if (problem.isDenied) {
      document.dispatchEvent(new CustomEvent(DENIED));
    }
    throw problem;
  }
  return response;
}

async function problemOf(response) {
  let body = null;
  try {
    body = await response.json();
  } catch {
    // Something other than the agent answered, or it was cut.
  }
  const message = body?.detail ?? body?.title ?? `The agent answered ${response.status}.`;
  return new Problem(response.status, message, body?.fix ?? null);
}
