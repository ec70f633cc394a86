// What the dashboard computes by itself, without a browser.
import assert from "node:assert/strict";
import { test } from "node:test";

import {
  decimal,
  exact,
  nanos,
  share,
  tick,
  usd,
} from "../../../agent/dashboard/js/format/money.js";
import {
  bytes,
  count,
  fine,
  milliseconds,
  percent,
  short,
} from "../../../agent/dashboard/js/format/numbers.js";
import { clean } from "../../../agent/dashboard/js/format/text.js";
import { dayAfter, elapsed } from "../../../agent/dashboard/js/format/time.js";
import { link, parse } from "../../../agent/dashboard/js/router.js";
import { tokenIn } from "../../../agent/dashboard/js/session.js";
import { Frames } from "../../../agent/dashboard/js/stream.js";

test("dollars come back as they went, however many digits they have", () => {
  for (const text of [
    "0.00",
    "0.0145",
    "0.000000001",
    "-3.00",
    "9223372036.854775807",
    "1234.50",
  ]) {
    assert.equal(decimal(nanos(text)), text);
  }
  // 0.1 + 0.2 as floats is another amount.
  assert.equal(decimal(nanos("0.1") + nanos("0.2")), "0.30");
  assert.equal(exact(nanos("-0.000000001")), "-$0.000000001");
  for (const text of ["", "-", ".5", "1e3", "1.0000000001", "+1", "1.-5", "1,5", "$1"]) {
    assert.throws(() => nanos(text), TypeError, text);
  }
});

test("amounts are rounded as the command line rounds them", () => {
  for (const [amount, shown] of [
    [0n, "$0.00"],
    [1n, "<$0.0001"],
    [49_999n, "<$0.0001"],
    [14_500_000n, "$0.0145"],
    [999_999_999n, "$1.0000"],
    [18_424_999_999n, "$18.42"],
    [1_234_567_890_000_000n, "$1,234,567.89"],
    [-2_000_000_000n, "-$2.00"],
  ]) {
    assert.equal(usd(amount), shown);
  }
  assert.equal(share(1n, 4n), 0.25);
  assert.equal(share(1n, 0n), 0);
  assert.deepEqual([0, 0.0005, 0.25, 1.5, 20, 1500].map(tick), [
    "$0",
    "$0.0005",
    "$0.25",
    "$1.5",
    "$20",
    "$1.5k",
  ]);
});

test("numbers are written as the command line writes them", () => {
  assert.deepEqual([0, 999, 1_234_567].map(count), ["0", "999", "1,234,567"]);
  assert.deepEqual([830, 12_345, 999_960, 9_100_000].map(short), ["830", "12.3k", "1.0M", "9.1M"]);
  assert.deepEqual([830, 12_595].map(bytes), ["830 B", "12.3 KiB"]);
  assert.deepEqual([null, 0, 0.999, 1, 0.29].map(percent), ["–", "0%", "99%", "100%", "29%"]);
  assert.deepEqual([null, 0, 0.0001, 0.9999, 0.02, 1].map(fine), [
    "–",
    "0%",
    "<0.1%",
    "99.9%",
    "2%",
    "100%",
  ]);
  assert.deepEqual([null, 0.2, 830, 12_400, 200_000].map(milliseconds), [
    "–",
    "0.2 ms",
    "830 ms",
    "12.4 s",
    "3 m 20 s",
  ]);
  assert.equal(elapsed(2 * 86_400_000 + 4 * 3_600_000 + 59_000), "2d 4h");
  assert.deepEqual(["2026-11-30", "2026-12-31", "2028-02-28"].map(dayAfter), [
    "2026-12-01",
    "2027-01-01",
    "2028-02-29",
  ]);
});

test("what hides or turns text around is written out", () => {
  assert.equal(clean("exe:python3:агент.py"), "exe:python3:агент.py");
  assert.equal(clean("a\u202eb\u200bc\u{e0041}"), "a\\u{202e}b\\u{200b}c\\u{e0041}");
});

test("names of any kind come through an address", () => {
  for (const name of ["exe:curl", "a/b", "100%", "ä ö?#&"]) {
    const { parts, query } = parse(link(["workload", name], { days: 7, by: null }));
    assert.deepEqual([parts, query.get("days"), query.get("by")], [["workload", name], "7", null]);
  }
  assert.deepEqual(parse("#/workload/%zz").parts, ["workload", "%zz"]);
  assert.deepEqual(parse("").parts, []);
});

test("a token is found in what people paste", () => {
  const token = "abcdefghijklmnop_-0123456789ABCDEF";
  assert.equal(tokenIn(` ${token}\n`), token);
  assert.equal(tokenIn(`http://127.0.0.1:4181/#session=${token}`), token);
  for (const text of [
    "",
    "weir dashboard",
    "http://127.0.0.1:4181/",
    "short",
    `${token}<script>`,
  ]) {
    assert.equal(tokenIn(text), null);
  }
});

test("frames of a stream are the same wherever it is cut", () => {
  const text =
    ': hello\n\nid: 7\nevent: call\ndata: {"a":\ndata:  1}\n\nretry: 5\r\nid:8\r\nevent: missed\r\ndata: {}\r\n\r\ndata: x\n\n: bye\n\n';
  const expected = [
    { id: "7", kind: "call", data: '{"a":\n 1}' },
    { id: "8", kind: "missed", data: "{}" },
    { id: "8", kind: "message", data: "x" },
  ];
  for (let at = 0; at <= text.length; at += 1) {
    const frames = new Frames();
    assert.deepEqual(
      [...frames.push(text.slice(0, at)), ...frames.push(text.slice(at))],
      expected,
      String(at),
    );
  }
  const frames = new Frames();
  assert.deepEqual(
    [...text].flatMap((sign) => frames.push(sign)),
    expected,
  );
});
