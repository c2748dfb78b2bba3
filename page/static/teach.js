// Frames kept for teaching: looked through, picked and labelled, by keyboard or by hand, with undo.
import * as api from "/static/api.js";
import { KeptList } from "/static/kept_list.js";
import { element } from "/static/dom.js";

const COUNT = 200;
const CLASS_KEYS = 9;
const SHOWN = { open: "to label", labelled: "labelled", left_out: "left out", kept: "all" };
const LEFT_OUT = "";

export async function show(_, known, linkState) {
  if (!known.keeps) {
    return {
      title: "Teach",
      elements: [element("h1", {}, "Teach"), element("p", { class: "empty" }, "No frames are kept here. Start the page with --harvest FILE, and frames that nobody was sure of wait here for a label.")],
    };
  }
  const mayLabel = known.role === "change";
  const said = element("p", { class: "meta", role: "status" });
  const totals = element("p", { class: "meta" });
  const which = element("select", { "aria-label": "Which frames" },
    ...Object.entries(SHOWN).map(([value, name]) => element("option", { value }, name)));
  const list = new KeptList(act);
  const name = element("input", { list: "classes", placeholder: "Class", "aria-label": "Class", autocomplete: "off", maxlength: 256 });
  const names = element("datalist", { id: "classes" });
  const keys = element("div", { class: "keys", role: "group", "aria-label": "Classes with a key" });
  const empty = element("p", { class: "empty", hidden: true, tabindex: -1 });
  const past = [];
  let classes = [];
  let keyed = [];
  let added = "";
  let steps = Promise.resolve();

  const tools = element("div", { class: "tools card" },
    name, names, button("Label", () => labelByName(), "primary"),
    button("Answer is right", () => act("agree")), button("Leave out", () => act("leave out")), button("Undo", undo), keys);
  which.addEventListener("change", () => attempt(read));
  name.addEventListener("keydown", (event) => {
    if (event.key === "Escape") focus();
    if (event.key !== "Enter") return;
    event.preventDefault();
    labelByName();
  });

  empty.addEventListener("keydown", (event) => {
    if ((event.ctrlKey || event.metaKey) && event.key === "z") act("undo");
  });

  function button(text, pressed, kind = "") {
    const made = element("button", { type: "button", class: kind, disabled: !mayLabel }, text);
    made.addEventListener("click", pressed);
    return made;
  }

  // Whoever labels by keyboard stays where frames are, or will be again.
  function focus() {
    if (empty.hidden) list.focus();
    else empty.focus();
  }

  // What a key or a button asks for; `key` is what was typed for a class.
  function act(what, key = "") {
    if (!mayLabel) return;
    if (what === "undo") undo();
    else if (what === "agree") label((frame) => frame.answer, "labelled as answered");
    else if (what === "leave out") label(() => LEFT_OUT, "left out");
    else if (/[1-9]/.test(key)) { if (keyed[key - 1]) labelAs(keyed[key - 1]); }
    else { name.value = key; name.focus(); }
  }

  function labelAs(value) {
    label(() => value, `labelled “${value}”`);
  }

  // A class by its name or by its first letters; a new one is asked for twice, as it may be a slip.
  function labelByName() {
    const text = name.value.trim();
    if (!text) { name.focus(); return; }
    const starting = classes.filter((each) => each.toLowerCase().startsWith(text.toLowerCase()));
    const found = classes.find((each) => each === text) || (starting.length === 1 ? starting[0] : "");
    if (!found && starting.length) {
      said.textContent = `“${text}” may be ${starting.slice(0, 5).join(", ")}: type more of it`;
    } else if (!found && added !== text) {
      added = text;
      said.textContent = `“${text}” is a new class: press Enter once more to add it`;
    } else {
      name.value = "";
      labelAs(found || text);
    }
  }

  async function label(labelOf, told) {
    await attempt(async () => {
      const chosen = list.chosen();
      if (!chosen.length) return;
      const labels = Object.fromEntries(chosen.map((frame) => [frame.id, labelOf(frame)]));
      past.push((await api.post("/api/kept/label", { labels })).labels);
      await read();
      said.textContent = `${chosen.length} ${chosen.length === 1 ? "frame" : "frames"} ${told}; Ctrl+Z takes it back`;
    });
    focus();
  }

  async function undo() {
    await attempt(async () => {
      const labels = past.at(-1);
      if (!labels) { said.textContent = "nothing to take back"; return; }
      await api.post("/api/kept/label", { labels });
      past.pop();
      await read();
      said.textContent = `taken back for ${Object.keys(labels).length}`;
      list.moveTo(Object.keys(labels).map(Number));
    });
    focus();
  }

  // One step after the other, so that each key that is pressed meets the list as the one before left it.
  function attempt(step) {
    steps = steps.then(step).catch((error) => {
      if (error.status === 401) location.reload();
      said.textContent = error.message;
    });
    return steps;
  }

  async function read() {
    const found = await api.get("/api/kept", { show: which.value, count: COUNT });
    const waited = document.activeElement === empty;
    list.draw(found.frames);
    classes = found.classes;
    names.replaceChildren(...classes.map((each) => element("option", { value: each })));
    drawKeys(found.frames);
    const sum = (field) => found.cameras.reduce((total, each) => total + each[field], 0);
    const lost = Object.entries(found.left_out).map(([cause, count]) => `${count} ${cause.replace("_", " ")}`).join(", ");
    totals.textContent = `${sum("open")} to label, ${sum("labelled")} labelled, ${sum("left_out")} left out; `
      + `${(sum("num_bytes") / 1e6).toFixed(1)} of ${(found.max_bytes / 1e6).toFixed(0)} MB${lost ? `; not kept: ${lost}` : ""}`;
    empty.hidden = found.frames.length > 0;
    empty.textContent = which.value === "open" ? "Nothing to label. Frames that nobody is sure of appear here." : "None.";
    tools.hidden = !found.frames.length && !past.length;
    if (waited) focus();
  }

  // A class keeps its key as long as the view is open.
  function drawKeys(frames) {
    const counts = new Map();
    for (const frame of frames) for (const each of new Set([frame.answer, frame.edge, frame.server])) counts.set(each, (counts.get(each) || 0) + 1);
    const frequent = [...counts].sort(([, one], [, other]) => other - one).map(([each]) => each);
    keyed = [...new Set([...keyed, ...frequent.filter(Boolean)])].slice(0, CLASS_KEYS);
    keys.replaceChildren(...keyed.map((each, index) => {
      const made = button("", () => labelAs(each), "small");
      made.append(element("kbd", {}, `${index + 1}`), ` ${each}`);
      return made;
    }));
  }

  await read();
  const source = api.live([], { site: () => { if (!list.frames.length) attempt(read); } }, linkState);
  return {
    title: "Teach",
    elements: [
      element("div", { class: "bar" }, element("h1", {}, "Teach"), said, which),
      mayLabel ? element("p", { class: "meta help" }, "Arrows move, space and shift pick several. Enter: the answer is right. 1 to 9, or first letters: another class. Delete: teaches nothing. Ctrl+Z: undo.")
        : element("p", { class: "meta" }, "You may look. Labels are given by who may change things."),
      tools, totals, empty, element("div", { class: "teach" }, list.element, list.preview),
    ],
    entered: focus,
    leave: () => source.close(),
  };
}
