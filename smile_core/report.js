"use strict";

// What the reader has chosen holds for all pages, where the browser lets a file remember it
const remembered = {
  get(key) {
    try { return localStorage.getItem(`smile-${key}`); } catch { return null; }
  },
  set(key, value) {
    try { localStorage.setItem(`smile-${key}`, value); } catch { /* holds for this page */ }
  },
};
const root = document.documentElement;

function setTheme(theme) {
  root.style.colorScheme = theme;
  document.getElementById("theme").textContent = theme === "dark" ? "Light" : "Dark";
}

function setCode(hidden) {
  root.classList.toggle("without-code", hidden);
  document.getElementById("code").setAttribute("aria-pressed", !hidden);
}

// Before the first paint, so that a dark page does not flash
root.style.colorScheme = remembered.get("theme") ?? "";

document.addEventListener("DOMContentLoaded", () => {
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  setTheme(remembered.get("theme") ?? (dark ? "dark" : "light"));
  setCode(remembered.get("code") === "hidden");

  // The list of pages shows the present one; on a phone, it leaves once a link is followed
  const pages = document.getElementById("pages");
  const reveal = () => {
    const here = pages.querySelector("[aria-current]");
    pages.scrollTop = here.offsetTop - pages.clientHeight / 4;
  };
  reveal();
  pages.addEventListener("toggle", reveal);
  pages.addEventListener("click", (event) => {
    if (event.target.closest("a") && pages.matches(":popover-open")) pages.hidePopover();
  });

  document.getElementById("theme").addEventListener("click", () => {
    const theme = root.style.colorScheme === "dark" ? "light" : "dark";
    setTheme(theme);
    remembered.set("theme", theme);
  });
  document.getElementById("code").addEventListener("click", () => {
    const hidden = !root.classList.contains("without-code");
    setCode(hidden);
    remembered.set("code", hidden ? "hidden" : "shown");
  });
});
