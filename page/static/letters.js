// Records that could not be read, why, and sending them again.
import * as api from "/static/api.js";
import { element } from "/static/dom.js";
import { tableOf } from "/static/uplink.js";

export async function show(_, known) {
  const box = element("section", { class: "card" });
  const said = element("p", { role: "status", class: "meta" });
  const again = element("button", { type: "button", disabled: known.role !== "change" }, "Send all again");
  async function read() {
    const letters = await api.get("/api/letters", { count: 200 });
    again.disabled = known.role !== "change" || !letters.some((each) => !each.stub);
    box.replaceChildren(...tableOf(["from", "reason", "what was wrong", "bytes"],
      letters.map((each) => [`${each.topic}[${each.partition}]@${each.offset}`, each.reason, each.error, each.stub ? "not kept" : each.num_bytes]),
      "No dead letters."));
  }
  again.addEventListener("click", async () => {
    again.disabled = true;
    try {
      const { replayed } = await api.post("/api/letters/replay", {});
      said.textContent = `${replayed} records sent again`;
    } catch (error) {
      said.textContent = error.message;
    }
    await read();
  });
  await read();
  return { title: "Dead letters", elements: [element("div", { class: "bar" }, element("h1", {}, "Dead letters"), said, again), box] };
}
