// A word on what was just done, gone after a while; read out where a screen reader listens.
import { h } from "../dom.js";

const STAYS = 6000;

/** Says it. */
export function toast(text) {
  const place = document.getElementById("toasts");
  const node = h("p", { class: "toast" }, text);
  place.append(node);
  setTimeout(() => node.remove(), STAYS);
}
