// Counts, shares and spans of time, as the command line writes them.

/** `1,234,567`. */
export function count(number) {
  return String(number).replace(/\B(?=(\d{3})+$)/g, ",");
}

/** `1 call`, `2 calls`. */
export function counted(number, one, many = `${one}s`) {
  return `${count(number)} ${number === 1 ? one : many}`;
}

/** `830`, `12.3k`, `9.1M`. */
export function short(number) {
  return scaled(number, 1000, ["", "k", "M", "G", "T"]);
}

/** `830 B`, `12.3 KiB`. */
export function bytes(number) {
  return scaled(number, 1024, [" B", " KiB", " MiB", " GiB", " TiB"]);
}

function scaled(number, base, units) {
  let unit = 0;
  let value = number;
  // In tenths, so that 999,960 becomes 1.0M and not 1000.0k.
  while (unit + 1 < units.length && Math.round(value * 10) >= base * 10) {
    value /= base;
    unit += 1;
  }
  if (unit === 0) {
    return `${number}${units[0]}`;
  }
  return `${Math.round(value * 10) < 1000 ? value.toFixed(1) : Math.round(value)}${units[unit]}`;
}

/** `94%`, rounded down: only everything is 100%. */
export function percent(ratio) {
  return ratio === null || ratio === undefined ? "–" : `${Math.floor(ratio * 100 + 1e-9)}%`;
}

/** `99.4%`: rounded down too, and never 0% for something. */
export function fine(ratio) {
  if (ratio === null || ratio === undefined) {
    return "–";
  }
  const tenths = Math.floor(ratio * 1000 + 1e-9);
  if (tenths === 0 && ratio > 0) {
    return "<0.1%";
  }
  return tenths % 10 === 0 ? `${tenths / 10}%` : `${(tenths / 10).toFixed(1)}%`;
}

/** `830ms`, `12.4s`, `3m20s`; what is not known is `–`. */
export function milliseconds(span) {
  if (span === null || span === undefined) {
    return "–";
  }
  if (span < 9.95) {
    return `${span.toFixed(1)} ms`;
  }
  if (span < 999.5) {
    return `${span.toFixed(0)} ms`;
  }
  if (span < 59_950) {
    return `${(span / 1000).toFixed(1)} s`;
  }
  const seconds = Math.floor(span / 1000);
  return `${Math.floor(seconds / 60)} m ${String(seconds % 60).padStart(2, "0")} s`;
}

/** As `milliseconds`, in microseconds where it is less: what the agent itself takes. */
export function shortest(span) {
  return span !== null && span !== undefined && span < 0.9995
    ? `${Math.max(0, span * 1000).toFixed(0)} µs`
    : milliseconds(span);
}
