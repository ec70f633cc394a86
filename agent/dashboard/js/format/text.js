// Names and messages as they may be shown: they come from command lines and servers, and could hide
// characters or reverse the direction of writing.

// Control characters (C0 without tab and newline, DEL, C1), and the invisible ones that change what
// stands beside them; the same set as the command line's.
const HARMFUL =
  /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\u{e0000}-\u{e007f}]/gu;

/** Text with what is harmful written out. */
export function clean(text) {
  return text.replace(HARMFUL, (sign) => `\\u{${sign.codePointAt(0).toString(16)}}`);
}

/** A word of the API as people write it: `rate_limited` becomes `rate limited`. */
export function words(word) {
  return word.replaceAll("_", " ");
}

/** The first letter as a capital. */
export function sentence(text) {
  return text === "" ? text : text[0].toUpperCase() + text.slice(1);
}
