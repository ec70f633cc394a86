// Runs before anything is drawn, so that no page flashes in the other theme. A classic script: modules
// wait for the document.
(() => {
  let kept = null;
  try {
    kept = localStorage.getItem("weir-theme");
  } catch {
    // A browser that keeps nothing still has a preference.
  }
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  const theme = kept === "light" || kept === "dark" ? kept : dark ? "dark" : "light";
  document.documentElement.dataset.theme = theme;
})();
