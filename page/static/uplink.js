// The uplink over time, and the workers and servers of now.
import * as api from "/static/api.js";
import { chart, element, percent, rate, scrolling } from "/static/dom.js";

export async function show(_, known, linkState) {
  const first = await api.get("/api/uplink");
  const history = first.history;
  const charts = element("div", { class: "charts" });
  const workers = element("section", { class: "card" });
  const servers = element("section", { class: "card" });
  function draw(state) {
    const at = (name) => history.map((each) => [each.at_s, each[name]]);
    charts.replaceChildren(
      chart("Uplink, kB/s", [
        { name: "budget", color: "var(--warn)", values: thousandth(at("budget")), step: true, dash: "5 4" },
        { name: "usable", color: "var(--soft)", values: thousandth(at("usable")), step: true },
        { name: "measured", color: "var(--accent)", values: thousandth(at("measured")) },
      ]),
      chart("Operating point", [
        { name: "τ, bits", color: "var(--edge)", values: at("tau").map(([x, y]) => [x, typeof y === "number" ? y : null]), step: true },
        { name: "δ", color: "var(--server)", values: at("delta"), step: true },
      ]));
    workers.replaceChildren(element("h2", {}, "Edge workers"), ...tableOf(
      ["worker", "state", "because", "budget", "measured", "τ", "δ", "codec", "frames", "still", "asked", "expected accuracy", "servers disagree", "held back"],
      Object.entries(state.uplinks).map(([name, each]) => [
        name, each.state, each.cause, rate(each.budget_bytes_per_s), rate(each.measured_bytes_per_s),
        number(each.point?.tau), number(each.point?.delta), each.point ? `${each.point.codec}-${each.point.quality}` : "–",
        `${(each.frames_per_s ?? 0).toFixed(1)}/s`, stillShare(each), percent(each.offload_share), percent(each.expected_accuracy), disagreement(each.disagreement),
        Object.entries(each.held_back || {}).map(([cause, count]) => `${cause} ${count}`).join(", ") || "none",
      ]), "No edge worker has told of its uplink lately."));
    servers.replaceChildren(element("h2", {}, "Server workers"), ...tableOf(
      ["server", "answers/s", "expired/s", "oldest waits", "tokens/s"],
      state.servers.map((each) => [each.server, number(each.finals_per_s), number(each.expired_per_s), `${number(each.queue_age_s)} s`, each.tokens_per_s.toFixed(0)]),
      "No server worker is heard: frames keep the edge's answer."));
    if (!state.redis) servers.append(element("p", { class: "bad" }, "The site's Redis does not answer."));
  }
  draw(first);
  const source = api.live([], {
    site: async (state) => { history.push(...(await api.get("/api/uplink")).history.slice(-1)); draw(state); },
  }, linkState);
  return { title: "Uplink", elements: [element("h1", {}, "Uplink"), charts, workers, servers], leave: () => source.close() };
}

// Of all frames, those that look like the one before and were not classified again.
function stillShare({ still_per_s, frames_per_s }) {
  return frames_per_s ? percent((still_per_s || 0) / frames_per_s) : "–";
}

// How often the servers' answers name another class than the edge, beside how often they should by the calibration.
function disagreement(found) {
  if (!found) return "not known";
  return `${percent(found.observed)}, expected ${percent(found.expected)}${found.has_drifted ? ": calibrate anew" : ""}`;
}

function thousandth(values) {
  return values.map(([x, y]) => [x, y === null || y === undefined ? null : y / 1000]);
}

function number(value) {
  return typeof value === "number" ? value.toFixed(2) : value ?? "–";
}

export function tableOf(names, rows, empty) {
  if (!rows.length) return [element("p", { class: "empty" }, empty)];
  return [scrolling(names.join(", "), element("table", {},
    element("thead", {}, element("tr", {}, ...names.map((name) => element("th", { scope: "col" }, name)))),
    element("tbody", {}, ...rows.map((row) => element("tr", {}, ...row.map(cellOf))))))];
}

// A number stays on one line with its unit; a sentence need not.
function cellOf(value) {
  const text = String(value);
  return element("td", { class: text.length < 20 ? "short" : null }, text);
}
