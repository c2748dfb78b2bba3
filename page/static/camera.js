// One camera: the live frame with the kept patches lit, confidence over time, the last label changes.
import * as api from "/static/api.js";
import { age, answerOf, bitsOf, chart, clockTime, element, percent } from "/static/dom.js";
import { FrameCanvas } from "/static/frame_canvas.js";

const MAX_POINTS = 300;

export async function show([camera], known, linkState) {
  const recent = await api.get("/api/labels", { camera, count: MAX_POINTS });
  const points = new Map(recent.map((label) => [label.seq, label]));
  const canvas = new FrameCanvas();
  const now = element("dl", { class: "facts" });
  const changes = element("tbody");
  const charts = element("div");
  let loading = false;
  let drawnAt = 0;

  const source = api.live([camera], {
    labels: (labels) => {
      const label = labels[camera];
      if (!label) return;
      points.set(label.seq, label);
      while (points.size > MAX_POINTS) points.delete(Math.min(...points.keys()));
      draw(label);
      picture(label);
    },
  }, linkState);

  function draw(label) {
    now.replaceChildren(
      ...fact("label", answerOf(label)),
      ...fact("confidence", label.cause ? "–" : percent(label.confidence)),
      ...fact("answered by", `${label.source} (${label.state})`),
      ...fact("frame", `${label.seq}, ${clockTime(label.captured_ns)}`),
      ...fact("latency", age(label.captured_ns, label.labelled_ns)));
    if (performance.now() - drawnAt < 500) return;
    drawnAt = performance.now();
    const ordered = [...points.values()].filter((each) => !each.cause).sort((one, other) => one.seq - other.seq);
    charts.replaceChildren(chart("Min-entropy of the answer", [
      { name: "bits", color: "var(--edge)", values: ordered.map((each) => [each.captured_ns / 1e9, bitsOf(each.confidence)]) },
    ], { unit: "bits", height: 150 }));
    changes.replaceChildren(...ordered.slice(-12).reverse().map((each) => element("tr", {},
      element("td", {}, clockTime(each.captured_ns)),
      element("td", {}, element("a", { href: `#/why/${encodeURIComponent(camera)}/${each.seq}` }, answerOf(each))),
      element("td", { class: "number" }, percent(each.confidence)),
      element("td", { class: `by-${each.source}` }, `${each.state} by ${each.source}`))));
  }

  async function picture(label) {
    if (loading) return;
    loading = true;
    try {
      const response = await fetch(api.withValues("/api/frame", { camera, seq: label.seq }));
      if (response.ok) await canvas.draw(await response.blob(), label.patches);
    } finally {
      loading = false;
    }
  }

  if (recent.length) {
    draw(recent[0]);
    picture(recent[0]);
  }
  return {
    title: camera,
    elements: [
      element("div", { class: "bar" }, element("h1", {}, camera), element("a", { href: "#/" }, "All cameras")),
      element("div", { class: "columns" },
        element("div", {}, element("section", { class: "card", "aria-label": "Newest frame" }, canvas.element,
          element("p", { class: "meta" }, "Lit: the patches that were sent to the server. Dimmed: what stayed here."))),
        element("div", {},
          element("section", { class: "card" }, element("h2", {}, "Now"), now),
          charts,
          element("section", { class: "card" }, element("h2", {}, "Label changes"),
            element("table", {}, element("thead", {}, element("tr", {},
              ...["time", "label", "confidence", "state"].map((name) => element("th", { scope: "col" }, name)))), changes)))),
    ],
    leave: () => source.close(),
  };
}

function fact(name, value) {
  return [element("dt", {}, name), element("dd", {}, value)];
}
