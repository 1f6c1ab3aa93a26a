// Keeps the page up to date: fetches it anew every other second and changes only what is different, so that focus,
// selection, scrolling and what is unfolded stay. Without it the page is the same, and is loaded anew by hand.
"use strict";

const INTERVAL_MS = 2000;
const TIMEOUT_MS = 10000;
const TYPING_MS = 250;

const main = document.getElementById("main");
const notice = document.getElementById("notice");
const ownScript = document.querySelector("script").getAttribute("src");
let timer = 0;
let asked = 0;
let shown = "";
let silentSince = null;

// Makes `old` equal to `now` with as few changes as there are.
function become(old, now) {
  if (old.isEqualNode(now)) return;
  if (old.nodeName !== now.nodeName || old.id !== now.id) {
    old.replaceWith(now);
    return;
  }
  if (old.nodeType !== Node.ELEMENT_NODE) {
    old.data = now.data;
    return;
  }
  // What somebody has unfolded or typed is theirs.
  const isTheirs = (name) =>
    (name === "open" && old.nodeName === "DETAILS") || (name === "value" && old.nodeName === "INPUT");
  for (const { name } of [...old.attributes]) {
    if (!now.hasAttribute(name) && !isTheirs(name)) old.removeAttribute(name);
  }
  for (const { name, value } of [...now.attributes]) {
    if (old.getAttribute(name) !== value && !isTheirs(name)) old.setAttribute(name, value);
  }
  becomeChildren(old, now);
}

// Children with an id are known again wherever they stand: rows of a table change places.
function becomeChildren(old, now) {
  const wanted = new Set([...now.children].map((child) => child.id).filter(Boolean));
  const known = new Map();
  for (const child of [...old.children]) {
    if (child.id && wanted.has(child.id)) known.set(child.id, child);
    else if (child.id) child.remove();
  }
  let at = old.firstChild;
  for (const child of [...now.childNodes]) {
    const same = child.id ? known.get(child.id) : null;
    if (same) {
      if (same === at) at = at.nextSibling;
      else old.insertBefore(same, at);
      become(same, child);
    } else if (at && !at.id && !child.id) {
      const next = at.nextSibling;
      become(at, child);
      at = next;
    } else {
      old.insertBefore(child, at);
    }
  }
  while (at) {
    const next = at.nextSibling;
    at.remove();
    at = next;
  }
}

function show(text) {
  if (text === shown) return;
  shown = text;
  const page = new DOMParser().parseFromString(text, "text/html");
  // Another version of the service: its page wants its own script.
  if (page.querySelector("script").getAttribute("src") !== ownScript) {
    location.reload();
    return;
  }
  const focused = document.activeElement;
  document.title = page.title;
  become(main, page.getElementById("main"));
  // An element that changes its place loses the focus.
  if (focused !== document.activeElement && focused.isConnected) focused.focus({ preventScroll: true });
}

function say(text) {
  if (notice.textContent !== text) notice.textContent = text;
}

async function refresh() {
  clearTimeout(timer);
  const question = ++asked;
  try {
    const answer = await fetch(location.href, { cache: "no-store", signal: AbortSignal.timeout(TIMEOUT_MS) });
    if (!answer.ok) throw new Error(`it says ${answer.status}`);
    const text = await answer.text();
    if (question !== asked) return;
    show(text);
    silentSince = null;
    say("");
  } catch {
    if (question !== asked) return;
    silentSince ??= new Date().toLocaleTimeString();
    say(`The service has not answered since ${silentSince}. What you see is from before; asking again.`);
  }
  if (!document.hidden) timer = setTimeout(refresh, INTERVAL_MS);
}

document.addEventListener("visibilitychange", () => {
  clearTimeout(timer);
  if (!document.hidden) refresh();
});

// What is typed into a search is found without a key.
document.addEventListener("input", (event) => {
  const form = event.target.form;
  if (!form || form.method !== "get") return;
  clearTimeout(timer);
  timer = setTimeout(() => {
    history.replaceState(null, "", `?${new URLSearchParams(new FormData(form))}`);
    refresh();
  }, TYPING_MS);
});

timer = setTimeout(refresh, INTERVAL_MS);
