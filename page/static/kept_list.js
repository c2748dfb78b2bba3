// A grid of kept frames, of which one is the current one and several may be picked.
import * as api from "/static/api.js";
import { clockTime, element, percent } from "/static/dom.js";

const WHY = { unsure: "nobody was sure", disagree: "the server corrected the edge", marked: "a person marked it" };

export class KeptList {
  // `act(what, key)` is told of keys that mean a label: "agree", "leave out", "undo" or "name".
  constructor(act) {
    this.act = act;
    this.frames = [];
    this.items = [];
    this.picked = new Set();
    this.current = 0;
    this.anchor = 0;
    this.element = element("ul", { class: "kept", role: "listbox", "aria-multiselectable": "true", "aria-label": "Frames" });
    this.preview = element("aside", { class: "card wide", "aria-label": "Current frame" });
    this.element.addEventListener("keydown", (event) => this.pressed(event));
    this.element.addEventListener("click", (event) => this.clicked(event));
  }

  draw(frames) {
    this.frames = frames;
    this.picked.clear();
    this.items = frames.map(itemOf);
    this.element.replaceChildren(...this.items);
    this.element.hidden = this.preview.hidden = !frames.length;
    this.goTo(Math.min(this.current, frames.length - 1), false);
  }

  // What a label is meant for: the picked frames, or the current one.
  chosen() {
    return this.frames.filter((frame, index) => (this.picked.size ? this.picked.has(frame.id) : index === this.current));
  }

  focus() {
    this.items[this.current]?.focus();
  }

  // The first of these frames that is shown is the current one.
  moveTo(ids) {
    const index = this.frames.findIndex((frame) => ids.includes(frame.id));
    if (index >= 0) this.goTo(index);
  }

  goTo(index, focus = true) {
    this.items[this.current]?.setAttribute("tabindex", "-1");
    this.current = Math.max(0, Math.min(index, this.items.length - 1));
    const item = this.items[this.current];
    if (!item) return;
    item.setAttribute("tabindex", "0");
    if (focus) item.focus();
    this.drawPreview(this.frames[this.current]);
  }

  pick(from, to, isPicked = true) {
    for (let index = Math.min(from, to); index <= Math.max(from, to); index++) {
      const { id } = this.frames[index];
      if (isPicked) this.picked.add(id);
      else this.picked.delete(id);
      this.items[index].setAttribute("aria-selected", String(isPicked));
    }
  }

  toggle(index) {
    this.anchor = index;
    this.pick(index, index, !this.picked.has(this.frames[index].id));
  }

  clicked(event) {
    const index = this.items.indexOf(event.target.closest("[role=option]"));
    if (index < 0) return;
    if (event.shiftKey) this.pick(this.anchor, index);
    else this.toggle(index);
    this.goTo(index);
  }

  pressed(event) {
    const { key, shiftKey } = event;
    const command = event.ctrlKey || event.metaKey;
    const to = command || event.altKey ? undefined : this.targetOf(key);
    const last = this.frames.length - 1;
    if (to !== undefined) {
      if (shiftKey) this.pick(this.anchor, Math.max(0, Math.min(to, last)));
      else this.anchor = Math.max(0, Math.min(to, last));
      this.goTo(to);
    } else if (command && key === "z") this.act("undo");
    else if (command && key === "a") this.pick(0, last);
    else if (command || event.altKey) return;
    else if (key === " ") this.toggle(this.current);
    else if (key === "Escape") this.pick(0, last, false);
    else if (key === "Enter") this.act("agree");
    else if (key === "Delete" || key === "Backspace") this.act("leave out");
    else if (key.length === 1) this.act("name", key);
    else return;
    event.preventDefault();
  }

  // Where an arrow leads; undefined for any other key.
  targetOf(key) {
    const top = this.items[0]?.offsetTop;
    const after = this.items.findIndex((item) => item.offsetTop > top);
    const columns = after < 0 ? this.items.length : after;
    const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns, Home: -this.current, End: this.items.length };
    return key in steps ? this.current + steps[key] : undefined;
  }

  drawPreview(frame) {
    if (this.shown === frame.id) return;
    this.shown = frame.id;
    this.preview.replaceChildren(
      element("img", { src: api.withValues("/api/kept/image", { id: frame.id }), alt: `${frame.camera}, frame ${frame.seq}` }),
      element("p", { class: "meta" }, element("span", {}, `${frame.camera}, frame ${frame.seq}, ${clockTime(frame.captured_ns)}`),
        element("span", {}, WHY[frame.reason])),
      element("p", { class: "meta" }, element("span", { class: "by-edge" }, `edge: ${frame.edge || "not known"}`),
        element("span", { class: "by-server" }, `server: ${frame.server || "not asked, or no answer"}`)));
  }
}

function itemOf(frame) {
  const label = frame.label === null ? null : element("span", { class: "given" }, frame.label ? `✓ ${frame.label}` : "left out");
  return element("li", { role: "option", "aria-selected": "false", tabindex: -1, "data-id": frame.id },
    element("img", { src: api.withValues("/api/kept/thumbnail", { id: frame.id }), alt: "", loading: "lazy" }),
    element("b", {}, frame.answer), label,
    element("span", { class: "meta" }, element("span", {}, frame.camera), element("span", {}, percent(frame.confidence)),
      element("span", { class: `reason ${frame.reason}` }, frame.reason)));
}
