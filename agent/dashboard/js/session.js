// The session's token: from the address `weir dashboard` prints, into this tab's memory, and out of
// the address, so that it is in no history, bookmark or screenshot.

const KEY = "weir-session";
const MARK = "#session=";
const TOKEN = /^[A-Za-z0-9_-]{16,256}$/;

let token = read();

/** The token, if there is one. */
export function current() {
  return token;
}

/** Takes the token out of the address, if it is there. */
export function takeFromAddress() {
  if (!location.hash.startsWith(MARK)) {
    return false;
  }
  const found = tokenIn(location.hash);
  history.replaceState(null, "", `${location.pathname}#/`);
  return found !== null && keep(found);
}

/** The token in what someone pasted: the token itself or the whole address; null where there is none. */
export function tokenIn(text) {
  const at = text.indexOf(MARK);
  const word = (at < 0 ? text : text.slice(at + MARK.length)).trim();
  return TOKEN.test(word) ? word : null;
}

/** Uses this token from now on, in this tab. */
export function keep(found) {
  token = found;
  try {
    sessionStorage.setItem(KEY, found);
  } catch {
    // Until the page is left, then.
  }
  return true;
}

/** Forgets it. */
export function forget() {
  token = null;
  try {
    sessionStorage.removeItem(KEY);
  } catch {
    // It was never kept.
  }
}

function read() {
  try {
    return sessionStorage.getItem(KEY);
  } catch {
    return null;
  }
}
