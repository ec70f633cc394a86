// A line without axes: which way something goes.
import { svg } from "../dom.js";

const WIDTH = 100;
const HEIGHT = 28;

/** Values from old to new, null where nothing is known; `label` says it to those who do not see it. */
export function sparkline(values, label) {
  const known = values.filter((value) => value !== null);
  const high = Math.max(0, ...known);
  const low = Math.min(0, ...known);
  const step = values.length > 1 ? WIDTH / (values.length - 1) : 0;
  const y = (value) => HEIGHT - 2 - ((value - low) / (high - low || 1)) * (HEIGHT - 4);
  const runs = [];
  let run = [];
  values.forEach((value, at) => {
    if (value === null) {
      run = [];
      return;
    }
    if (run.length === 0) {
      runs.push(run);
    }
    run.push([at * step, y(value)]);
  });
  const point = ([x, height]) => `${x.toFixed(2)} ${height.toFixed(2)}`;
  const lines = runs.map((points) => {
    // One point alone is a short line: dots would be stretched with the picture.
    const [[x, height]] = points;
    const ends =
      points.length > 1
        ? points
        : [
            [Math.max(0, x - 1.5), height],
            [Math.min(WIDTH, x + 1.5), height],
          ];
    return ends;
  });
  const path = (points) => `M${points.map(point).join("L")}`;
  const area = (points) =>
    `${path(points)}L${points.at(-1)[0].toFixed(2)} ${HEIGHT}L${points[0][0].toFixed(2)} ${HEIGHT}Z`;
  return svg(
    "svg",
    {
      class: "sparkline",
      viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
      preserveAspectRatio: "none",
      role: "img",
      "aria-label": label,
    },
    lines.map((points) => svg("path", { class: "sparkline-area", d: area(points) })),
    lines.map((points) => svg("path", { class: "sparkline-line", d: path(points) })),
  );
}
