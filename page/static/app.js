// The page's frame: signing in, the address after `#`, and one view at a time.
import * as api from "/static/api.js";
import { element } from "/static/dom.js";

const VIEWS = {
  "": () => import("/static/wall.js"),
  camera: () => import("/static/camera.js"),
  why: () => import("/static/why.js"),
  events: () => import("/static/events.js"),
  uplink: () => import("/static/uplink.js"),
  teach: () => import("/static/teach.js"),
  letters: () => import("/static/letters.js"),
};
const main = document.getElementById("main");
let leave = () => {};
let turn = 0;

async function start() {
  let known;
  try {
    known = await api.session();
  } catch (error) {
    main.replaceChildren(element("p", { class: "empty bad", role: "alert" }, error.message));
    return;
  }
  if (!known.signed_in) {
    signIn();
    return;
  }
  if (location.pathname !== "/") history.replaceState(null, "", "/");
  document.getElementById("nav").hidden = false;
  document.getElementById("site").textContent = known.site ? `· ${known.site}` : "";
  const out = document.getElementById("sign-out");
  out.hidden = !known.need_login;
  out.addEventListener("click", async () => {
    // The view asks nothing more: its session is about to end.
    turn += 1;
    leave();
    await api.post("/api/logout", {});
    location.reload();
  });
  addEventListener("hashchange", show);
  await show();

  async function show() {
    const mine = ++turn;
    leave();
    leave = () => {};
    const [name, ...rest] = location.hash.replace(/^#\/?/, "").split("/").map(decodeURIComponent);
    for (const link of document.querySelectorAll("nav a")) {
      const there = link.getAttribute("href").replace(/^#\/?/, "");
      if (there === name || (there === "" && ["camera", "why"].includes(name))) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    main.replaceChildren(element("p", { class: "empty" }, "loading"));
    try {
      const view = await (VIEWS[name] || VIEWS[""])();
      const made = await view.show(rest, known, linkState);
      if (mine !== turn) { made.leave?.(); return; }
      main.replaceChildren(...made.elements);
      document.title = made.title ? `${made.title} · Saccade` : "Saccade";
      leave = made.leave || (() => {});
      made.entered?.();
    } catch (error) {
      if (error.status === 401) { location.reload(); return; }
      main.replaceChildren(element("p", { class: "empty bad", role: "alert" }, error.message));
    }
  }
}

function linkState(isOpen) {
  const pill = document.getElementById("link-state");
  pill.hidden = isOpen;
  pill.className = "pill warn";
  pill.textContent = isOpen ? "" : "no connection to the page's server; trying again";
}

function signIn() {
  const said = element("p", { class: "error", role: "alert" });
  const form = element("form", { class: "sign-in card" },
    element("h1", {}, "Sign in"),
    element("label", {}, "Name", element("input", { name: "user", autocomplete: "username", required: true })),
    element("label", {}, "Password", element("input", { name: "password", type: "password", autocomplete: "current-password", required: true })),
    said,
    element("button", { class: "primary" }, "Sign in"));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    try {
      await api.post("/api/login", Object.fromEntries(new FormData(form)));
      location.assign("/");
    } catch (error) {
      said.textContent = error.message;
    }
  });
  main.replaceChildren(form);
  form.querySelector("input").focus();
}

start();
