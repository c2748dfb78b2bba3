// Labels that began, changed or ended, newest first, with the frames that they rest on.
import * as api from "/static/api.js";
import { clockTime, element, percent } from "/static/dom.js";

const SITE_COUNT = 200;
const CAMERA_COUNT = 8;

// The events of one camera, or of all, kept up to date by `follow`.
export class EventList {
  constructor(camera = "") {
    this.camera = camera;
    this.element = element("div", {}, element("p", { class: "empty" }, "loading"));
    this.wanted = "";
    this.position = null;
    this.events = [];
  }

  // `state` is the site's: it says whether there are new events.
  async follow(state) {
    if (state.newest_event === undefined || state.newest_event === this.position) return;
    this.position = state.newest_event;
    try {
      this.events = await api.get("/api/events", this.camera ? { camera: this.camera, count: 1000 } : { count: SITE_COUNT });
    } catch (error) {
      this.position = null; // tried again with the next state
      if (error.status === 401) location.reload();
      return;
    }
    this.draw();
  }

  sift(wanted) {
    this.wanted = wanted.trim().toLowerCase();
    this.draw();
  }

  draw() {
    if (this.element.contains(document.activeElement)) return; // a person is on one of the links
    const shown = this.events.filter((each) => `${each.camera} ${each.label} ${each.kind}`.toLowerCase().includes(this.wanted));
    if (!shown.length) {
      this.element.replaceChildren(element("p", { class: "empty" }, "No event yet: a label must stand for a while before it is one."));
      return;
    }
    const names = ["time", ...(this.camera ? [] : ["camera"]), "event", "confidence", "frames"];
    const head = (name) => element("th", { scope: "col", class: name === "confidence" ? "number wide" : "" }, name);
    this.element.replaceChildren(element("table", {},
      element("thead", {}, element("tr", {}, ...names.map(head))),
      element("tbody", {}, ...shown.slice(0, this.camera ? CAMERA_COUNT : SITE_COUNT).map((each) => this.row(each)))));
  }

  row(event) {
    return element("tr", {},
      element("td", {}, clockTime(event.at_ns)),
      this.camera ? null : element("td", {}, element("a", { href: `#/camera/${encodeURIComponent(event.camera)}` }, event.camera)),
      element("td", {}, element("b", {}, event.label), ` ${event.kind}`, event.before ? `, was ${event.before}` : ""),
      element("td", { class: "number wide" }, percent(event.confidence)),
      element("td", { class: "short" }, ...frames(event)));
  }
}

// Links to the first, the surest and the last frame, each once.
function frames(event) {
  const named = [["first", event.first_seq], ["surest", event.best_seq], ["last", event.last_seq]];
  const once = named.filter(([, seq], index) => named.findIndex(([, other]) => other === seq) === index);
  return once.flatMap(([name, seq], index) => [
    index ? ", " : "",
    element("a", { href: `#/why/${encodeURIComponent(event.camera)}/${seq}`, "aria-label": `${name} frame, ${seq}` }, name),
  ]);
}

export async function show(_, known, linkState) {
  const list = new EventList();
  const filter = element("input", { type: "search", placeholder: "Filter events", "aria-label": "Filter events" });
  filter.addEventListener("input", () => list.sift(filter.value));
  const source = api.live([], { site: (state) => list.follow(state) }, linkState);
  return {
    title: "Events",
    elements: [element("div", { class: "bar" }, element("h1", {}, "Events"), filter), element("section", { class: "card" }, list.element)],
    leave: () => source.close(),
  };
}
