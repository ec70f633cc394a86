// Stacked bars over days. uPlot draws; what it draws is money as floats, good for lengths alone: every
// figure shown as text comes from the exact amounts.
import uPlot from "/assets/vendor/uPlot.esm.js";

import { h, replace } from "../dom.js";
import { float, tick, usd } from "../format/money.js";
import { day } from "../format/time.js";
import { CHANGED, colour } from "../theme.js";

const HEIGHT = 300;
/** Room that a day's name takes at the axis. */
const NAME_WIDTH = 62;
const FONT = "12px system-ui, sans-serif";

/** `groups` are `{ name, colour, amounts }` from the bottom up, each with an amount for every period. */
export function stackedBars({ label, periods, groups }) {
  const tip = h("div", { class: "chart-tip", hidden: true, "aria-hidden": "true" });
  const place = h("div", { class: "chart-place" });
  const node = h("div", { class: "chart", role: "img", "aria-label": label }, place, tip);
  const at = periods.map((_, index) => index);
  // Each group is drawn as high as it and all below it; the lower ones then cover their part of it.
  const sums = [];
  groups.forEach((group, index) => {
    const below = sums[index - 1] ?? [];
    sums.push(group.amounts.map((amount, period) => amount + (below[period] ?? 0n)));
  });
  // Nothing is no bar: one of no height would leave a line.
  const height = (amount) => (amount === 0n ? null : float(amount));
  const data = [at, ...sums.map((sum) => sum.map(height)).reverse()];
  const drawn = [...groups].reverse();
  let plot = null;

  const draw = () => {
    plot?.destroy();
    const width = Math.floor(place.clientWidth);
    plot = width > 0 ? new uPlot(options(width), data, place) : null;
  };
  const options = (width) => ({
    width,
    height: HEIGHT,
    padding: [12, 20, 0, 0],
    legend: { show: false },
    select: { show: false },
    cursor: { y: false, points: { show: false }, drag: { x: false, y: false, setScale: false } },
    scales: {
      x: { time: false, range: [-0.6, periods.length - 0.4] },
      y: { range: (_, __, high) => [0, high > 0 ? high * 1.06 : 1] },
    },
    axes: [
      {
        stroke: colour("--muted"),
        font: FONT,
        size: 28,
        gap: 8,
        grid: { show: false },
        ticks: { show: false },
        splits: (self) => named(periods.length, self.bbox.width / devicePixelRatio),
        values: (_, splits) => splits.map((index) => day(periods[index])),
      },
      {
        stroke: colour("--muted"),
        font: FONT,
        gap: 8,
        size: (_, values) => 16 + 7 * Math.max(3, ...(values ?? []).map((value) => value.length)),
        grid: { stroke: colour("--line"), width: 1 },
        ticks: { show: false },
        values: (_, splits) => splits.map(tick),
      },
    ],
    series: [
      {},
      ...drawn.map((group) => ({
        label: group.name,
        fill: colour(group.colour),
        // A seam between neighbours tells them apart where their colours do not.
        stroke: colour("--surface"),
        width: 1,
        paths: uPlot.paths.bars({ size: [0.72, 44] }),
        points: { show: false },
      })),
    ],
    hooks: { setCursor: [point] },
  });
  const point = (self) => {
    const index = self.cursor.idx;
    tip.hidden = index === null || index === undefined || self.cursor.left < 0;
    if (tip.hidden) {
      return;
    }
    const rows = drawn.filter((group) => group.amounts[index] > 0n);
    const whole = sums.at(-1)?.[index] ?? 0n;
    replace(
      tip,
      h(
        "div",
        { class: "chart-tip-head" },
        h("span", null, day(periods[index])),
        h("b", null, usd(whole)),
      ),
      rows.map((group) =>
        h(
          "div",
          { class: "chart-tip-row" },
          h("span", { class: "swatch", vars: { "--colour": `var(${group.colour})` } }),
          h("span", { class: "chart-tip-name" }, group.name),
          h("span", null, usd(group.amounts[index])),
        ),
      ),
    );
    const middle = self.bbox.left / devicePixelRatio + self.valToPos(index, "x");
    const right = middle + 16 + tip.offsetWidth > node.clientWidth;
    const left = right ? middle - 16 - tip.offsetWidth : middle + 16;
    tip.style.transform = `translate(${Math.max(0, Math.round(left))}px, 12px)`;
  };

  const watch = new ResizeObserver(() => {
    const width = Math.floor(place.clientWidth);
    if (plot === null) {
      draw();
    } else if (width > 0 && width !== plot.width) {
      plot.setSize({ width, height: HEIGHT });
    }
  });
  watch.observe(place);
  document.addEventListener(CHANGED, draw);
  return {
    node,
    dispose() {
      watch.disconnect();
      document.removeEventListener(CHANGED, draw);
      plot?.destroy();
    },
  };
}

/** The periods that are named: as many as there is room for, the newest among them. */
function named(count, width) {
  const step = Math.max(1, Math.ceil(count / Math.max(1, Math.floor(width / NAME_WIDTH))));
  const chosen = [];
  for (let index = count - 1; index >= 0; index -= step) {
    chosen.unshift(index);
  }
  return chosen;
}
