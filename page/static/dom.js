// Elements, and texts for numbers. Text never becomes markup: names and labels come from outside.

export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "class") made.className = value;
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

export function percent(share) {
  return share === null || share === undefined ? "–" : `${(100 * share).toFixed(share > 0.995 ? 0 : 1)} %`;
}

export function rate(bytesPerS) {
  if (bytesPerS === null || bytesPerS === undefined) return "no limit";
  return `${(bytesPerS / 1000).toFixed(bytesPerS < 10000 ? 2 : 1)} kB/s`;
}

export function age(ns, nowNs) {
  const s = Math.max(0, (nowNs - ns) / 1e9);
  if (s < 90) return `${s.toFixed(s < 10 ? 1 : 0)} s`;
  if (s < 5400) return `${Math.round(s / 60)} min`;
  return `${Math.round(s / 3600)} h`;
}

export function answerOf(label) {
  if (!label) return "no label yet";
  return label.cause ? `${label.state}: ${label.cause}` : label.name;
}

export function duration(ns) {
  const ms = ns / 1e6;
  return ms < 1000 ? `${ms.toFixed(0)} ms` : `${(ms / 1000).toFixed(1)} s`;
}

// Who answered; a belief is the edge's, resting on what the server said before.
export function sourceOf(label) {
  return label.source === "belief" ? "the camera's belief" : label.source;
}

// What a camera's producer tells, or that it tells nothing any more.
export function stateOf(state) {
  return state.fresh || ["ended", "failed"].includes(state.state) ? state.state : "offline";
}

// Names with values, as a list of terms; empty values are left out.
export function facts(values) {
  const known = Object.entries(values).filter(([, value]) => value !== undefined && value !== null && value !== "");
  return element("dl", { class: "facts" }, ...known.flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)]));
}

// What may be wider than the screen scrolls within itself, also by keyboard.
export function scrolling(name, ...children) {
  return element("div", { class: "scroll", role: "region", tabindex: 0, "aria-label": name }, ...children);
}

export function bitsOf(confidence) {
  return confidence > 0 ? -Math.log2(confidence) : null;
}

export function clockTime(ns) {
  return new Date(ns / 1e6).toLocaleTimeString(undefined, { hour12: false });
}

// One SVG line chart from 0 up. `series`: [{name, color, values: [[x, y|null]…], step, dash}].
export function chart(title, series, { unit = "", height = 180 } = {}) {
  const ns = "http://www.w3.org/2000/svg";
  const width = 720;
  const all = series.flatMap((each) => each.values).filter(([, y]) => y !== null && Number.isFinite(y));
  const figure = element("figure", { class: "card" }, element("h2", {}, title));
  if (all.length < 2) {
    figure.append(element("p", { class: "empty" }, "not enough yet"));
    return figure;
  }
  const [x0, x1] = [Math.min(...all.map(([x]) => x)), Math.max(...all.map(([x]) => x))];
  const y1 = Math.max(...all.map(([, y]) => y), 1e-9);
  const px = (x) => 44 + ((x - x0) / Math.max(x1 - x0, 1e-9)) * (width - 54);
  const py = (y) => height - 22 - (y / y1) * (height - 34);
  const svg = document.createElementNS(ns, "svg");
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.setAttribute("class", "chart");
  svg.setAttribute("role", "img");
  const newest = series.map((each) => `${each.name} ${format(each.values.at(-1)?.[1], unit)}`).join(", ");
  svg.setAttribute("aria-label", `${title}: ${newest}`);
  const add = (tag, attributes, text) => {
    const made = document.createElementNS(ns, tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    if (text) made.textContent = text;
    svg.append(made);
  };
  for (const y of [0, y1 / 2, y1]) {
    add("line", { x1: 44, x2: width - 10, y1: py(y), y2: py(y), stroke: "var(--line)" });
    add("text", { x: 40, y: py(y) + 4, "text-anchor": "end", "font-size": 11, fill: "var(--soft)" }, short(y));
  }
  for (const each of series) {
    let path = "";
    let last = null;
    for (const [x, y] of each.values) {
      if (y === null || !Number.isFinite(y)) { last = null; continue; }
      path += last === null ? `M${px(x)},${py(y)}` : each.step ? `H${px(x)}V${py(y)}` : `L${px(x)},${py(y)}`;
      last = y;
    }
    add("path", { d: path, fill: "none", stroke: each.color, "stroke-width": 1.8, "stroke-dasharray": each.dash || "" });
  }
  figure.append(svg, element("p", { class: "meta" }, ...series.map((each) => {
    const name = element("span", {}, `${each.name}: ${format(each.values.at(-1)?.[1], unit)}`);
    name.style.color = each.color;
    return name;
  })));
  return figure;
}

function format(value, unit) {
  return value === null || value === undefined ? "–" : `${short(value)}${unit ? ` ${unit}` : ""}`;
}

function short(value) {
  return Math.abs(value) >= 100 ? value.toFixed(0) : Math.abs(value) >= 10 ? value.toFixed(1) : value.toFixed(2);
}
