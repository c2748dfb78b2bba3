// All cameras: the newest frame and label of each. Only what is in view is fetched.
import * as api from "/static/api.js";
import { age, answerOf, element, percent, sourceOf, stateOf } from "/static/dom.js";

const PICTURE_MS = 1000;
const HURRY_MS = 150;
const HURRIES = 8;
const ONLINE_NS = 10e9;

export async function show(_, known, linkState) {
  const found = await api.get("/api/cameras");
  const offsetNs = found.now_ns - Date.now() * 1e6;
  const tiles = new Map();
  const list = element("ul", { class: "wall" });
  const count = element("p", { class: "meta", role: "status" });
  const filter = element("input", { type: "search", placeholder: "Filter cameras or labels", "aria-label": "Filter cameras or labels" });
  const empty = element("p", { class: "empty" }, "No camera has a label yet. Start one: saccade produce --camera NAME=SOURCE");
  for (const { camera, label, state } of found.cameras) add(camera, label, state);
  const inView = new Set();
  let source = null;
  let timer = 0;
  const observer = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (entry.isIntersecting) inView.add(entry.target.dataset.camera);
      else inView.delete(entry.target.dataset.camera);
    }
    clearTimeout(timer);
    timer = setTimeout(connect, source ? 300 : 0);
  }, { rootMargin: "80px" });
  const ticking = setInterval(refresh, PICTURE_MS);
  let loading = false;
  let isLeft = false;

  function add(camera, label, state) {
    const picture = element("img", { alt: "", loading: "lazy" });
    picture.hidden = true;
    const parts = {
      picture,
      none: element("span", { class: "none" }, "no picture yet"),
      dot: element("span", { class: "dot" }),
      answer: element("b", {}, "no label yet"),
      confidence: element("span", {}),
      by: element("span", { hidden: true }),
      age: element("span", {}),
    };
    const tile = element("li", { class: "tile", "data-camera": camera },
      element("a", { href: `#/camera/${encodeURIComponent(camera)}` },
        element("div", { class: "picture" }, parts.picture, parts.none),
        element("div", { class: "text" },
          element("div", { class: "name", title: camera }, parts.dot, element("span", {}, camera)),
          element("div", { class: "label" }, parts.answer, parts.confidence),
          element("div", { class: "meta" }, parts.by, parts.age))));
    tiles.set(camera, { tile, parts, label: null, state: null, shownSeq: -1 });
    list.append(tile);
    empty.hidden = true;
    if (state) tellState(camera, state);
    if (label) tell(camera, label);
  }

  function tellState(camera, state) {
    const mine = tiles.get(camera);
    if (!mine) return;
    mine.state = state;
    write(mine);
  }

  function tell(camera, label) {
    const mine = tiles.get(camera);
    if (!mine) return;
    mine.label = label;
    mine.parts.answer.textContent = answerOf(label);
    mine.parts.confidence.textContent = label.cause ? "" : percent(label.confidence);
    mine.parts.by.textContent = `${label.state} by ${sourceOf(label)}`;
    mine.parts.by.className = `by-${label.source}`;
    mine.parts.by.hidden = false;
    write(mine);
  }

  // Where no producer tells of the camera, it is online while labels come.
  function write(mine) {
    const { label, state, parts } = mine;
    if (!label && !state) return;
    const nowNs = Date.now() * 1e6 + offsetNs;
    const isOn = state ? state.online : nowNs - label.captured_ns < ONLINE_NS;
    const isBad = Boolean(state) && !isOn && state.state !== "ended";
    parts.dot.className = isOn ? "dot on" : isBad ? "dot off" : "dot";
    const name = state ? stateOf(state) : isOn ? "online" : "offline";
    const rate = isOn && state ? ` ${state.fps.toFixed(1)}/s` : "";
    const trouble = isBad && state.error ? `: ${state.error}` : "";
    parts.age.textContent = `${name}${rate}${trouble}${label ? `, ${age(label.captured_ns, nowNs)} ago` : ""}`;
    parts.age.className = isBad ? "bad" : "";
  }

  function connect() {
    source?.close();
    source = api.live([...inView], {
      site: meet,
      cameras: (states) => { for (const [camera, state] of Object.entries(states)) tellState(camera, state); },
      labels: (labels) => { for (const [camera, label] of Object.entries(labels)) tell(camera, label); },
    }, linkState);
    refresh(HURRIES);
  }

  // Cameras come and go while the page is open.
  async function meet(state) {
    if (state.num_cameras === undefined || state.num_cameras === tiles.size) return;
    const now = await api.get("/api/cameras");
    for (const { camera, label, state } of now.cameras) {
      if (tiles.has(camera)) continue;
      add(camera, label, state);
      observer.observe(tiles.get(camera).tile);
    }
    const there = new Set(now.cameras.map((each) => each.camera));
    for (const [camera, mine] of tiles) {
      if (!there.has(camera)) { mine.tile.remove(); tiles.delete(camera); inView.delete(camera); }
    }
    sift();
  }

  // The newest pictures of what is in view, all by one request; `hurries` times more at once while one has none yet.
  async function refresh(hurries = 0) {
    const shown = [...inView].map((camera) => tiles.get(camera)).filter(Boolean);
    shown.forEach(write);
    if (isLeft || loading || document.hidden) return;
    loading = true;
    try {
      const old = shown.filter((mine) => !mine.label || mine.label.seq !== mine.shownSeq);
      if (old.length) await loadPictures(old.map((mine) => mine.tile.dataset.camera));
    } catch {
      // The stream of labels tells that the server is away.
    } finally {
      loading = false;
    }
    if (hurries && shown.some((mine) => mine.shownSeq < 0)) setTimeout(() => refresh(hurries - 1), HURRY_MS);
  }

  async function loadPictures(cameras) {
    for (const [camera, { seq, jpeg }] of Object.entries(await api.get("/api/thumbnails", { camera: cameras }))) {
      const mine = tiles.get(camera);
      if (!mine || mine.shownSeq === seq) continue;
      mine.shownSeq = seq;
      const old = mine.parts.picture.src;
      mine.parts.picture.src = URL.createObjectURL(new Blob([bytesOf(jpeg)], { type: "image/jpeg" }));
      mine.parts.picture.hidden = false;
      mine.parts.none.hidden = true;
      if (old) URL.revokeObjectURL(old);
    }
  }

  function sift() {
    const wanted = filter.value.trim().toLowerCase();
    let shown = 0;
    for (const [camera, mine] of tiles) {
      const text = `${camera} ${answerOf(mine.label)}`.toLowerCase();
      mine.tile.hidden = !text.includes(wanted);
      shown += mine.tile.hidden ? 0 : 1;
    }
    count.textContent = tiles.size ? `${shown} of ${tiles.size} cameras` : "";
  }
  filter.addEventListener("input", sift);
  sift();
  return {
    title: "Cameras",
    elements: [element("div", { class: "bar" }, element("h1", {}, "Cameras"), count, filter), list, empty],
    entered: () => {
      for (const { tile } of tiles.values()) observer.observe(tile);
      if (!tiles.size) connect();
    },
    leave: () => { isLeft = true; source?.close(); observer.disconnect(); clearInterval(ticking); clearTimeout(timer); },
  };
}

function bytesOf(base64) {
  return Uint8Array.from(atob(base64), (each) => each.charCodeAt(0));
}
