// Elements from values. Text only ever becomes text nodes and attributes: nothing is parsed as HTML.
import { clean } from "./format/text.js";

const SVG = "http://www.w3.org/2000/svg";
const READ = new Set(["title", "aria-label"]);

/** An element. `on` are listeners, `data` is its dataset, `vars` its custom properties; children are
 *  nodes, texts and lists of them, and nothing where they are null or false. */
export function h(tag, props, ...children) {
  return filled(document.createElement(tag), props, children);
}

/** The same in SVG. */
export function svg(tag, props, ...children) {
  return filled(document.createElementNS(SVG, tag), props, children);
}

/** Puts these children in the place of those that are there. */
export function replace(node, ...children) {
  node.replaceChildren();
  return filled(node, null, children);
}

function filled(node, props, children) {
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === null || value === undefined || value === false) {
      continue;
    }
    if (name === "on") {
      for (const [event, heard] of Object.entries(value)) {
        node.addEventListener(event, heard);
      }
    } else if (name === "data") {
      for (const [key, entry] of Object.entries(value)) {
        if (entry !== null && entry !== undefined) {
          node.dataset[key] = entry;
        }
      }
    } else if (name === "vars") {
      for (const [key, entry] of Object.entries(value)) {
        node.style.setProperty(key, entry);
      }
    } else {
      const text = value === true ? "" : String(value);
      node.setAttribute(name, READ.has(name) ? clean(text) : text);
    }
  }
  for (const child of children.flat(Infinity)) {
    if (child !== null && child !== undefined && child !== false) {
      node.append(child instanceof Node ? child : clean(String(child)));
    }
  }
  return node;
}

let last = 0;

/** An id that nothing else on the page has. */
export function unique(stem) {
  last += 1;
  return `${stem}-${last}`;
}
