// Light and dark: what the system prefers until someone chooses, then what was chosen.
import { icon } from "./components/icon.js";

const KEY = "weir-theme";
const preference = matchMedia("(prefers-color-scheme: dark)");

/** Tells that colours are others now: what is drawn on a canvas has to be drawn anew. */
export const CHANGED = "weir-theme-changed";

/** The value of a colour now. */
export function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

/** Makes `button` switch the theme. */
export function attach(button) {
  const show = (theme) => {
    document.documentElement.dataset.theme = theme;
    const other = theme === "dark" ? "light" : "dark";
    button.replaceChildren(icon(other === "dark" ? "moon" : "sun"));
    button.setAttribute("aria-label", `Switch to ${other} colours`);
    button.title = `Switch to ${other} colours`;
    document.dispatchEvent(new CustomEvent(CHANGED));
  };
  button.addEventListener("click", () => {
    const theme = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
    keep(theme);
    show(theme);
  });
  preference.addEventListener("change", () => {
    if (kept() === null) {
      show(preference.matches ? "dark" : "light");
    }
  });
  show(document.documentElement.dataset.theme);
}

function kept() {
  try {
    return localStorage.getItem(KEY);
  } catch {
    return null;
  }
}

function keep(theme) {
  try {
    localStorage.setItem(KEY, theme);
  } catch {
    // Chosen for this page only, then.
  }
}
