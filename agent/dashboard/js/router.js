// Addresses of pages: `#/workload/exe%3Acurl?days=7`. After the hash, because nothing of it is sent
// anywhere, and the agent serves one document.

/** What an address names: the parts of its path, decoded, and its query. */
export function parse(hash) {
  const text = hash.startsWith("#/") ? hash.slice(2) : "";
  const [path, query = ""] = text.split("?", 2);
  const parts = path.split("/").filter((part) => part !== "");
  return { parts: parts.map(decoded), query: new URLSearchParams(query) };
}

/** The address of a page. */
export function link(parts, query = {}) {
  const given = Object.entries(query).filter(([, value]) => value !== null && value !== undefined);
  const words = new URLSearchParams(given).toString();
  return `#/${parts.map(encodeURIComponent).join("/")}${words === "" ? "" : `?${words}`}`;
}

/** Shows pages by address. `pages` maps the first part of a path to `{ name, mount }`; `mount(place,
 *  route)` returns `{ update?, dispose }`, and `update(route)` takes another query of the same page. */
export class Router {
  #pages;
  #place;
  #shown = null;
  #changed;

  constructor(pages, place, changed) {
    this.#pages = pages;
    this.#place = place;
    this.#changed = changed;
  }

  /** Shows the page of the present address. */
  show() {
    if (location.hash !== "" && !location.hash.startsWith("#/")) {
      return;
    }
    const route = parse(location.hash);
    const path = route.parts.join("\n");
    const page = this.#pages.get(route.parts[0] ?? "") ?? this.#pages.get(null);
    if (this.#shown?.path === path && this.#shown.mounted.update) {
      this.#shown.mounted.update(route);
      return;
    }
    const isFirst = this.#shown === null;
    this.clear();
    this.#shown = { path, mounted: page.mount(this.#place, route) };
    this.#changed(page, route);
    if (!isFirst) {
      scrollTo(0, 0);
      // Where a new document would begin for those who do not see it.
      this.#place.querySelector("h1")?.focus({ preventScroll: true });
    }
  }

  /** Takes the page away. */
  clear() {
    this.#shown?.mounted.dispose();
    this.#shown = null;
    this.#place.replaceChildren();
  }
}

function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}
