// Tables. On a narrow screen the columns marked `extra` are left out, so that none scrolls the page.
import { h } from "../dom.js";

/** `columns` are `{ title, cell(row), number?, extra?, wide?, hidden? }`; `caption` says what the rows
 *  are, `row(entry)` may add to a row's element. */
export function table(caption, columns, rows, row = null) {
  const shown = columns.filter((column) => !column.hidden);
  const kind = (column) =>
    [column.number ? "number" : "", column.extra ? "extra" : "", column.wide ? "wide" : ""].join(
      " ",
    );
  return h(
    "div",
    { class: "table-frame" },
    h(
      "table",
      null,
      h("caption", { class: "unseen" }, caption),
      h(
        "thead",
        null,
        h(
          "tr",
          null,
          shown.map((column) => h("th", { scope: "col", class: kind(column) }, column.title)),
        ),
      ),
      h(
        "tbody",
        null,
        rows.map((entry) => line(shown, entry, row, kind)),
      ),
    ),
  );
}

function line(columns, entry, row, kind) {
  const cells = columns.map((column, at) => {
    const tag = at === 0 ? "th" : "td";
    return h(tag, { scope: at === 0 ? "row" : null, class: kind(column) }, column.cell(entry));
  });
  return h("tr", row?.(entry) ?? null, cells);
}

/** Terms and what they are. Entries that are null are left out. */
export function facts(entries) {
  const given = entries.filter((entry) => entry !== null);
  return h(
    "dl",
    { class: "facts" },
    given.map(([term, ...value]) => h("div", null, h("dt", null, term), h("dd", null, value))),
  );
}
