// Why one frame got its label: what the edge saw, what was sent, what the server said, and when.
import * as api from "/static/api.js";
import { answerOf, clockTime, element, percent } from "/static/dom.js";
import { FrameCanvas } from "/static/frame_canvas.js";

export async function show([camera, seq]) {
  const found = await api.get("/api/why", { camera, seq });
  const { label, trace } = found;
  const sent = new FrameCanvas();
  const seen = new FrameCanvas();
  const image = found.frame ? await (await fetch(api.withValues("/api/frame", { camera, seq }))).blob() : null;
  if (image) {
    await sent.draw(image, trace?.patches);
    if (trace?.attention) await seen.draw(image, null, trace.attention);
  }
  const leading = (pairs) => element("table", {}, element("tbody", {}, ...(pairs || []).map(([name, p]) =>
    element("tr", {}, element("td", {}, name), element("td", { class: "number" }, percent(p))))));
  return {
    title: `${camera} ${seq}`,
    elements: [
      element("div", { class: "bar" }, element("h1", {}, `${camera}, frame ${seq}`),
        element("a", { href: `#/camera/${encodeURIComponent(camera)}` }, "This camera")),
      element("div", { class: "columns" },
        element("div", {},
          element("section", { class: "card" }, element("h2", {}, trace?.patches?.length ? "What was sent" : "The frame"),
            image ? sent.element : element("p", { class: "empty" }, "The frame is not held any more.")),
          trace?.attention && image ? element("section", { class: "card" }, element("h2", {}, "Where the edge looked"), seen.element) : null),
        element("div", {},
          element("section", { class: "card" }, element("h2", {}, "Answer"), element("dl", { class: "facts" },
            ...fact("label", answerOf(label)),
            ...fact("confidence", label.cause ? "–" : percent(label.confidence)),
            ...fact("state", `${label.state} by ${label.source}`),
            ...fact("captured", clockTime(label.captured_ns)),
            ...fact("labelled", `${((label.labelled_ns - label.captured_ns) / 1e6).toFixed(0)} ms later`),
            ...(trace?.why ? fact("why", trace.why) : []))),
          trace?.edge ? element("section", { class: "card" }, element("h2", {}, "What the edge thought"), leading(trace.edge)) : null,
          trace?.server ? element("section", { class: "card" }, element("h2", {}, "What the server said"), leading(trace.server)) : null,
          trace?.stages ? element("section", { class: "card" }, element("h2", {}, "Stages"), element("ol", { class: "steps" },
            ...trace.stages.map(([name, ms]) => element("li", {}, element("span", { class: "at" }, `${ms.toFixed(1)} ms`), element("span", {}, name))))) : null)),
    ],
  };
}

function fact(name, value) {
  return [element("dt", {}, name), element("dd", {}, value)];
}
