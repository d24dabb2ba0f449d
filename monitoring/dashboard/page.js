// Keeps the page new: asks for its live part every few seconds and replaces what changed. Without it, reload.
"use strict";
(() => {
  const EVERY_MS = 5000;
  const clock = document.getElementById("clock");
  const pause = document.getElementById("pause");
  const shown = new Map();
  let tag = null;
  let paused = false;
  let timer = 0;
  let last = new Date();

  const time = (at) => at.toISOString().slice(11, 19) + " UTC";

  const parse = (html) => new DOMParser().parseFromString(html, "text/html").querySelectorAll("[data-part]");

  const replace = (part) => {
    const old = document.getElementById(part.id);
    if (!old || shown.get(part.id) === part.outerHTML) return;
    const first = !shown.has(part.id);
    shown.set(part.id, part.outerHTML);
    if (first && old.outerHTML === part.outerHTML) return;
    const open = [...old.querySelectorAll("details[open]")].map((one) => one.id);
    const focused = old.contains(document.activeElement) ? place(old, document.activeElement) : null;
    old.className = part.className;
    old.replaceChildren(...part.childNodes);
    for (const id of open) document.getElementById(id)?.setAttribute("open", "");
    if (focused) [...old.querySelectorAll(focused.name)][focused.at]?.focus({ preventScroll: true });
    old.classList.add("changed");
  };

  // Where the focus is, in words that hold after its part was replaced.
  const place = (part, element) => {
    const name = element.localName;
    return { name, at: [...part.querySelectorAll(name)].indexOf(element) };
  };

  const look = async () => {
    try {
      const headers = tag ? { "If-None-Match": tag } : {};
      const answer = await fetch(document.body.dataset.live, { headers, cache: "no-store" });
      if (answer.status !== 304) {
        if (!answer.ok) throw new Error(String(answer.status));
        const text = await answer.text();
        const before = document.getElementById("headline").textContent;
        for (const part of parse(text)) replace(part);
        const headline = document.getElementById("headline").textContent;
        if (headline !== before) {
          document.title = document.title.replace(before, () => headline);
          document.getElementById("said").textContent = headline;
        }
        tag = answer.headers.get("ETag");
      }
      last = new Date();
      clock.textContent = "Live, last looked at " + time(last);
    } catch {
      clock.textContent = "No answer from the monitor since " + time(last);
    }
    wait();
  };

  const wait = () => {
    clearTimeout(timer);
    if (!paused && !document.hidden) timer = setTimeout(look, EVERY_MS);
  };

  pause.hidden = false;
  pause.addEventListener("click", () => {
    paused = !paused;
    pause.setAttribute("aria-pressed", String(paused));
    if (paused) {
      clearTimeout(timer);
      clock.textContent = "Paused at " + time(last);
    } else {
      look();
    }
  });
  document.addEventListener("visibilitychange", () => (document.hidden || paused ? clearTimeout(timer) : look()));
  look();
})();
