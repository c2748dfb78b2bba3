// Why one frame got its label: what the edge saw, what was sent, what the server said, and when.
import * as api from "/static/api.js";
import { answerOf, clockTime, duration, element, facts, percent, sourceOf } from "/static/dom.js";
import { FrameCanvas } from "/static/frame_canvas.js";

// What Redis did with the server's label.
const WRITTEN = {
  WRITTEN: "written",
  UNCHANGED: "was there already",
  ALREADY_FINAL: "not written: a final label stood",
  STALE: "not written: the server was asked",
  LATE: "refused: it came after the deadline",
};

export async function show([camera, seq], known) {
  const { label, frame, trace } = await api.get("/api/why", { camera, seq });
  const image = frame ? await (await fetch(api.withValues("/api/frame", { camera, seq }))).blob() : null;
  return {
    title: `${camera} ${seq}`,
    elements: [
      element("div", { class: "bar" }, element("h1", {}, `${camera}, frame ${seq}`),
        element("a", { class: "button", href: whyOf(camera, Math.max(0, Number(seq) - 1)) }, "Frame before"),
        element("a", { class: "button", href: whyOf(camera, Number(seq) + 1) }, "Next frame"),
        element("a", { class: "button", href: `#/camera/${encodeURIComponent(camera)}` }, "This camera"),
        ...(frame && known.keeps && known.role === "change" ? marking(camera, seq) : [])),
      element("div", { class: "columns" },
        element("div", {}, await picture(image, trace), trace?.stages.length ? stages(trace.stages) : null),
        element("div", {}, answer(camera, label, trace),
          trace ? null : element("p", { class: "empty" }, "No trace of this frame: it is older than ten minutes, or the workers run without redis.traces."),
          trace?.edge ? edge(trace) : null,
          trace?.codec ? record(trace) : null,
          trace?.server ? server(trace) : null)),
    ],
  };
}

function marking(camera, seq) {
  const said = element("span", { class: "meta", role: "status" });
  const mark = element("button", { type: "button" }, "Keep for teaching");
  mark.addEventListener("click", async () => {
    mark.disabled = true;
    try {
      await api.post("/api/kept/mark", { camera, seq: Number(seq) });
      said.replaceChildren("kept; ", element("a", { href: "#/teach" }, "label it"));
    } catch (error) {
      mark.disabled = false;
      said.textContent = error.message;
    }
  });
  return [mark, said];
}

function whyOf(camera, seq) {
  return `#/why/${encodeURIComponent(camera)}/${seq}`;
}

async function picture(image, trace) {
  if (!image) {
    return element("section", { class: "card" }, element("h2", {}, "The frame"), element("p", { class: "empty" }, "The frame is not held any more."));
  }
  const sent = new FrameCanvas();
  await sent.draw(image, { patches: trace?.patches });
  const cards = [element("section", { class: "card" },
    element("h2", {}, trace?.patches ? "What the server saw" : "The frame"), sent.element,
    element("p", { class: "meta" }, trace?.patches
      ? `Lit: the ${trace.patches.length} of 196 patches that the server got. Dimmed: what stayed here.`
      : "Nothing of this frame was sent."))];
  if (trace?.attention) {
    const seen = new FrameCanvas();
    await seen.draw(image, { attention: trace.attention });
    cards.push(element("section", { class: "card" }, element("h2", {}, "Where the edge looked"), seen.element));
  }
  return element("div", {}, ...cards);
}

function answer(camera, label, trace) {
  const list = facts({
    label: answerOf(label),
    confidence: label.cause ? "–" : percent(label.confidence),
    state: `${label.state} by ${sourceOf(label)}`,
    why: trace?.why,
    captured: clockTime(label.captured_ns),
    labelled: `${duration(label.labelled_ns - label.captured_ns)} later`,
  });
  const rests = Number.isInteger(label.rests_on) && label.rests_on !== label.seq && label.rests_on >= 0
    ? element("p", {}, "Rests on the server's answer about ", element("a", { href: whyOf(camera, label.rests_on) }, `frame ${label.rests_on}`), ".")
    : null;
  return element("section", { class: "card" }, element("h2", {}, "Answer"), list, rests);
}

function edge(trace) {
  const bits = (value) => `${value.toFixed(2)} bits`;
  return element("section", { class: "card" }, element("h2", {}, "What the edge thought"), leading(trace.edge, "by-edge"),
    facts({
      doubt: typeof trace.score === "number" ? bits(trace.score) : "–",
      "asks from": typeof trace.tau === "number" ? `τ = ${bits(trace.tau)}` : "never",
      verdict: trace.asks ? "asked the server" : "kept its answer",
      worker: trace.edge_worker,
    }));
}

function record(trace) {
  return element("section", { class: "card" }, element("h2", {}, "The record"), facts({
    patches: `${trace.patches.length} of 196 (δ = ${trace.delta.toFixed(2)})`,
    codec: `${trace.codec}, quality ${trace.quality}`,
    record: `${trace.num_bytes} bytes`,
    result: trace.result,
  }));
}

function server(trace) {
  return element("section", { class: "card" }, element("h2", {}, "What the server said"), leading(trace.server, "by-server"),
    facts({
      verdict: trace.agrees ? "agreed with the edge" : "corrected the edge",
      "its label": WRITTEN[trace.written] || trace.written,
      batch: `${trace.batch_sets} frames, ${trace.batch_tokens} tokens`,
      worker: trace.server_worker,
    }));
}

function leading(pairs, kind) {
  return element("table", { class: "leading" }, element("tbody", {}, ...pairs.map(([name, p]) => {
    const bar = element("span", { class: `share ${kind}` });
    bar.style.width = `${100 * p}%`;
    return element("tr", {}, element("th", { scope: "row" }, name), element("td", { class: "number" }, percent(p)), element("td", { class: "bar-cell" }, bar));
  })));
}

// Each stage as a bar on one line of time.
function stages(rows) {
  const first = rows[0][1];
  const span = Math.max(...rows.map(([, , ended]) => ended)) - first || 1;
  return element("section", { class: "card" }, element("h2", {}, "Stages"), element("table", { class: "stages" },
    element("thead", {}, element("tr", {}, element("th", { scope: "col" }, "stage"),
      element("th", { scope: "col", class: "number" }, "after capture"), element("th", { scope: "col", class: "number" }, "took"),
      element("th", { scope: "col" }, "when"))),
    element("tbody", {}, ...rows.map(([name, began, ended]) => {
      const bar = element("span", { class: "span" });
      bar.style.marginLeft = `${(96 * (began - first)) / span}%`;
      bar.style.width = `${Math.max(0.8, (96 * (ended - began)) / span)}%`;
      return element("tr", {}, element("td", {}, name), element("td", { class: "number" }, `${began.toFixed(1)} ms`),
        element("td", { class: "number" }, `${(ended - began).toFixed(1)} ms`), element("td", { class: "bar-cell" }, bar));
    }))));
}
