// One camera: the newest frame, the last frame that was sent with its patches lit, doubt over time, changes.
import * as api from "/static/api.js";
import { answerOf, bitsOf, chart, clockTime, duration, element, facts, percent, sourceOf, stateOf } from "/static/dom.js";
import { EventList } from "/static/events.js";
import { FrameCanvas } from "/static/frame_canvas.js";

const MAX_POINTS = 300;
const CHANGES_SHOWN = 12;

export async function show([camera], known, linkState) {
  let points = new Map();
  const newest = new FrameCanvas("newest frame");
  const sent = new FrameCanvas("last frame that was sent");
  const sentText = element("p", { class: "meta" }, "None was sent lately.");
  const now = element("div");
  const source = element("section", { class: "card", hidden: true });
  const events = new EventList(camera);
  const changes = element("tbody");
  const doubt = element("div");
  let drawing = false;
  let reading = false;
  let sentSeq = -1;
  await readChanges();

  const stream = api.live([camera], {
    labels: (labels) => {
      if (labels[camera]) tell(labels[camera]);
    },
    cameras: (states) => {
      if (states[camera]) tellState(states[camera]);
    },
    site: (state) => {
      readChanges();
      events.follow(state);
    },
  }, linkState);

  function tell(label) {
    now.replaceChildren(facts({
      label: answerOf(label),
      confidence: label.cause ? "–" : percent(label.confidence),
      "answered by": `${sourceOf(label)} (${label.state})`,
      frame: `${label.seq}, ${clockTime(label.captured_ns)}`,
      latency: duration(label.labelled_ns - label.captured_ns),
    }));
    draw();
  }

  function tellState(state) {
    const lost = Object.entries(state.dropped).map(([cause, count]) => `${count} ${cause}`).join(", ");
    source.hidden = false;
    source.replaceChildren(element("h2", {}, "Camera"), facts({
      source: state.source,
      state: stateOf(state),
      rate: `${state.fps.toFixed(1)} frames/s`,
      "last frame": state.last_frame_ns ? clockTime(state.last_frame_ns) : "none yet",
      published: `${state.published}`,
      dropped: lost || "none",
      restarts: `${state.restarts}`,
      "last error": state.error ? `${state.error}, ${clockTime(state.error_ns)}: ${state.message}` : "none",
    }));
  }

  async function draw() {
    if (drawing) return;
    drawing = true;
    try {
      const response = await fetch(api.withValues("/api/frame", { camera }));
      if (response.ok) await newest.draw(await response.blob());
    } finally {
      drawing = false;
    }
  }

  // The server's answers come after the labels of later frames, so they are read from the changes, once a second.
  async function readChanges() {
    if (reading) return;
    reading = true;
    try {
      const count = points.size ? 60 : MAX_POINTS;
      const recent = await api.get("/api/labels", { camera, count });
      for (const label of recent.reverse()) points.set(label.seq, label);
      const ordered = [...points.values()].sort((one, other) => one.seq - other.seq).slice(-MAX_POINTS);
      points = new Map(ordered.map((label) => [label.seq, label]));
      if (!ordered.length) return;
      if (!now.firstChild) tell(ordered.at(-1));
      drawChanges(ordered);
      const told = ordered.findLast((label) => label.source === "server" || label.rests_on >= 0);
      if (told) await drawSent(told.source === "server" ? told.seq : told.rests_on);
    } catch (error) {
      if (error.status === 401) location.reload();
    } finally {
      reading = false;
    }
  }

  function drawChanges(ordered) {
    const answered = ordered.filter((each) => !each.cause);
    doubt.replaceChildren(chart("Min-entropy of the answer", [
      { name: "newest", color: "var(--edge)", values: answered.map((each) => [each.captured_ns / 1e9, bitsOf(each.confidence)]) },
    ], { unit: "bits", height: 150 }));
    if (changes.contains(document.activeElement)) return; // a person is on one of the links
    changes.replaceChildren(...ordered.slice(-CHANGES_SHOWN).reverse().map((each) => element("tr", {},
      element("td", {}, clockTime(each.captured_ns)),
      element("td", {}, element("a", { href: whyOf(each.seq) }, answerOf(each))),
      element("td", { class: "number wide" }, percent(each.confidence)),
      element("td", { class: `by-${each.source}` }, `${each.state} by ${sourceOf(each)}`))));
  }

  async function drawSent(seq) {
    if (seq === sentSeq) return;
    sentSeq = seq;
    const { frame, trace } = await api.get("/api/why", { camera, seq });
    if (!frame || !trace?.patches) return;
    const response = await fetch(api.withValues("/api/frame", { camera, seq }));
    if (!response.ok) return;
    await sent.draw(await response.blob(), { patches: trace.patches });
    sentText.replaceChildren(
      element("span", {}, `Lit: ${trace.patches.length} of 196 patches, ${trace.num_bytes} bytes; ${trace.why}.`),
      element("a", { href: whyOf(seq) }, `Why frame ${seq}`));
  }

  function whyOf(seq) {
    return `#/why/${encodeURIComponent(camera)}/${seq}`;
  }

  return {
    title: camera,
    elements: [
      element("div", { class: "bar" }, element("h1", {}, camera), element("a", { class: "button", href: "#/" }, "All cameras")),
      element("div", { class: "columns" },
        element("div", {},
          element("div", { class: "frames" },
            element("section", { class: "card", "aria-label": "Newest frame" }, element("h2", {}, "Newest frame"), newest.element),
            element("section", { class: "card", "aria-label": "Last frame that was sent" }, element("h2", {}, "Last frame sent to the server"), sent.element, sentText),
            element("section", { class: "card" }, element("h2", {}, "Now"), now),
            doubt),
          element("section", { class: "card" }, element("h2", {}, "Label changes"),
            element("table", {}, element("thead", {}, element("tr", {},
              ...["time", "label", "confidence", "state"].map((name) => element("th", { scope: "col", class: name === "confidence" ? "number wide" : null }, name)))), changes))),
        element("div", {},
          source,
          element("section", { class: "card" }, element("h2", {}, "Events"), events.element))),
    ],
    leave: () => stream.close(),
  };
}
