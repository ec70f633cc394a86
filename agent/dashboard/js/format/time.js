// Days and times. English words, the reader's own zone.

const local = Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC";
let days = local;

/** The zone whose calendar days are asked for. */
export function zone() {
  return days;
}

/** Uses UTC's days from now on: the agent knows no other zones. False if it did so already. */
export function useUtc() {
  const changed = days !== "UTC";
  days = "UTC";
  return changed;
}

const clockFormat = format({ hour: "2-digit", minute: "2-digit", second: "2-digit" });
const dateFormat = format({ day: "numeric", month: "short", year: "numeric" });
const shortFormat = new Intl.DateTimeFormat("en-GB", {
  day: "numeric",
  month: "short",
  timeZone: "UTC",
});

function format(parts) {
  return new Intl.DateTimeFormat("en-GB", { ...parts, timeZone: local, hourCycle: "h23" });
}

/** `09:12:03`. */
export function clock(at) {
  return clockFormat.format(new Date(at));
}

/** `22 Nov 2026`. */
export function date(at) {
  return dateFormat.format(new Date(at));
}

/** `22 Nov 2026, 09:12:03`. */
export function dateTime(at) {
  return `${date(at)}, ${clock(at)}`;
}

/** Only the time where it was today. */
export function recent(at, now = new Date()) {
  return date(at) === date(now) ? clock(at) : `${day(isoDay(at))}, ${clock(at)}`;
}

/** `22 Nov` of a calendar day (`2026-11-22`), which is in no zone. */
export function day(period) {
  return shortFormat.format(new Date(`${period}T00:00:00Z`));
}

/** The calendar day after: `2026-11-30` gives `2026-12-01`. */
export function dayAfter(period) {
  const at = new Date(`${period}T00:00:00Z`);
  at.setUTCDate(at.getUTCDate() + 1);
  return at.toISOString().slice(0, 10);
}

/** The calendar day of an instant, in the zone whose days are asked for. */
export function isoDay(at) {
  const parts = new Intl.DateTimeFormat("en-CA", {
    year: "numeric",
    month: "2-digit",
    day: "2-digit",
    timeZone: days,
  });
  return parts.format(new Date(at));
}

/** `6h 3m`, `2d 4h`: the two widest units of a span in milliseconds. */
export function elapsed(span) {
  const seconds = Math.max(0, Math.floor(span / 1000));
  const units = [
    ["d", Math.floor(seconds / 86_400)],
    ["h", Math.floor(seconds / 3600) % 24],
    ["m", Math.floor(seconds / 60) % 60],
  ];
  const first = units.findIndex(([, amount]) => amount > 0);
  if (first < 0) {
    return `${seconds}s`;
  }
  return units
    .slice(first, first + 2)
    .map(([unit, amount]) => `${amount}${unit}`)
    .join(" ");
}

/** `in 6h 3m`, `now`. */
export function ahead(at, now = Date.now()) {
  const span = new Date(at).getTime() - now;
  return span <= 0 ? "now" : `in ${elapsed(span)}`;
}
