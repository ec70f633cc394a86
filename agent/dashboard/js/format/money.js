// Money. The API writes dollars as decimal strings of at most nine decimals; here they are whole
// nano-dollars in BigInt, because a float cannot hold them. Floats are for lengths on a screen only.

const NANOS = 1_000_000_000n;

/** Nano-dollars of a decimal string; throws on anything else. */
export function nanos(text) {
  const parts = /^(-?)(\d+)(?:\.(\d{1,9}))?$/.exec(text);
  if (parts === null) {
    throw new TypeError(`not a decimal number of dollars: ${text}`);
  }
  const [, sign, whole, fraction = ""] = parts;
  const amount = BigInt(whole) * NANOS + BigInt(fraction.padEnd(9, "0"));
  return sign === "-" ? -amount : amount;
}

/** The decimal string of nano-dollars, as the API writes it: at least two decimals. */
export function decimal(amount) {
  const sign = amount < 0n ? "-" : "";
  const all = amount < 0n ? -amount : amount;
  const fraction = (all % NANOS)
    .toString()
    .padStart(9, "0")
    .replace(/0{1,7}$/, "");
  return `${sign}${all / NANOS}.${fraction}`;
}

/** `$18.42`; below a dollar with four decimals, and never `$0.0000` for something. */
export function usd(amount) {
  const sign = amount < 0n ? "-" : "";
  const all = amount < 0n ? -amount : amount;
  if (all === 0n) {
    return "$0.00";
  }
  if (all < 50_000n) {
    return `${sign}<$0.0001`;
  }
  if (all < NANOS) {
    const units = rounded(all, 100_000n);
    return `${sign}$${units / 10_000n}.${(units % 10_000n).toString().padStart(4, "0")}`;
  }
  const cents = rounded(all, 10_000_000n);
  return `${sign}$${grouped(cents / 100n)}.${(cents % 100n).toString().padStart(2, "0")}`;
}

/** All decimals: `$0.000145`. */
export function exact(amount) {
  const text = decimal(amount);
  return text.startsWith("-") ? `-$${text.slice(1)}` : `$${text}`;
}

/** Share of the whole from 0 to 1, for a length or a percentage. */
export function share(part, whole) {
  return whole > 0n ? Number((part * 1_000_000n) / whole) / 1_000_000 : 0;
}

/** For a place on an axis, never for a figure. */
export function float(amount) {
  return Number(amount) / 1e9;
}

/** What stands at an axis: `$0.25`, `$1.2k`. */
export function tick(dollars) {
  if (dollars >= 1000) {
    return `$${trimmed((dollars / 1000).toFixed(1))}k`;
  }
  if (dollars === 0 || dollars >= 1) {
    return `$${trimmed(dollars.toFixed(2))}`;
  }
  return `$${trimmed(dollars.toFixed(9).slice(0, 11))}`;
}

function trimmed(text) {
  return text.replace(/\.?0+$/, "");
}

function rounded(amount, unit) {
  return (amount + unit / 2n) / unit;
}

function grouped(whole) {
  return whole.toString().replace(/\B(?=(\d{3})+$)/g, ",");
}
