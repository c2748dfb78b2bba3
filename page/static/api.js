// Talks to the page's own server. Every function throws an Error whose message a person can read.

let csrf = "";

export async function session() {
  const found = await get("/api/session");
  csrf = found.csrf || "";
  return found;
}

export async function get(path, values = {}) {
  return read(await fetch(withValues(path, values), { credentials: "same-origin" }));
}

export async function post(path, body) {
  return read(await fetch(path, {
    method: "POST",
    credentials: "same-origin",
    headers: { "content-type": "application/json", "x-csrf-token": csrf },
    body: JSON.stringify(body),
  }));
}

export function withValues(path, values) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(values)) {
    for (const each of Array.isArray(value) ? value : [value]) query.append(name, each);
  }
  const text = query.toString();
  return text ? `${path}?${text}` : path;
}

// Live events of the given cameras; `close()` ends them. Reconnects by itself.
export function live(cameras, handlers, onState) {
  const source = new EventSource(withValues("/api/live", { camera: cameras }));
  for (const [kind, handler] of Object.entries(handlers)) {
    source.addEventListener(kind, (event) => handler(JSON.parse(event.data)));
  }
  source.onopen = () => onState?.(true);
  source.onerror = () => onState?.(false);
  return source;
}

async function read(response) {
  let body;
  try {
    body = await response.json();
  } catch {
    body = {};
  }
  if (!response.ok) {
    const error = new Error(body.error || `the server answered ${response.status}`);
    error.status = response.status;
    throw error;
  }
  return body;
}
