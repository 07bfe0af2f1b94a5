// Light, dark, or as the machine has it; before the page is drawn, so that it never flashes.
(() => {
  const themes = ["auto", "light", "dark"];
  const kept = () => { try { return localStorage.getItem("tf-mlm:theme"); } catch { return null; } };
  let theme = themes.includes(kept()) ? kept() : "auto";
  const show = () => {
    document.documentElement.dataset.theme = theme;
    const button = document.getElementById("theme");
    if (button) button.textContent = { auto: "Theme: auto", light: "Theme: light", dark: "Theme: dark" }[theme];
  };
  show();
  document.addEventListener("DOMContentLoaded", () => {
    show();
    document.getElementById("theme").addEventListener("click", () => {
      theme = themes[(themes.indexOf(theme) + 1) % themes.length];
      try { localStorage.setItem("tf-mlm:theme", theme); } catch { /* it lasts as long as the page */ }
      show();
    });
  });
})();
