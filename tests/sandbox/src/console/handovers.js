"use strict";

// The state of each hand-over, as converse responds to the bot. byId, element, short, problem and known are the page's own, in console.js.
const NEWEST = 20;

const WORDS = {
  unknown: "no event of it has been recorded",
  created: "waits for an agent",
  queued: "waits for an agent",
  active: "with an agent",
  transferring: "is being transferred",
  ended: "ended",
};

function wait(seconds) {
  return seconds === undefined ? "" : seconds < 60 ? `${seconds.toFixed(1)} s` : `${Math.round(seconds / 60)} min`;
}

function handoverRow(id, { state, queue_id, agent_id, time_to_agent_s, end_reason }) {
  const says = state === "ended" ? `ended: ${end_reason ?? "no reason"}` : WORDS[state];
  const row = element("tr", {}, element("th", { scope: "row", textContent: short(id), title: id }));
  const cells = [says, queue_id ?? "", agent_id ?? "", wait(time_to_agent_s)];
  row.append(...cells.map((textContent) => element("td", { textContent })));
  return row;
}

async function handoverOf(id) {
  const response = await fetch(`/api/conversations/${encodeURIComponent(id)}/handover`);
  if (response.status === 404) return handoverRow(id, { state: "unknown" });
  const body = await response.json();
  if (!response.ok) throw new Error(body.message ?? `converse responded ${response.status}`);
  return handoverRow(id, body);
}

async function showHandovers() {
  try {
    const rows = await Promise.all([...known].slice(-NEWEST).reverse().map(handoverOf));
    byId("handovers-list").replaceChildren(...rows);
    byId("handovers-none").hidden = rows.length > 0;
    if (!byId("handovers").open) byId("handovers").showModal();
  } catch (error) {
    problem(error.message || "The sandbox gave no response.");
  }
}

byId("handovers-open").addEventListener("click", showHandovers);
byId("handovers-again").addEventListener("click", showHandovers);
byId("handovers-close").addEventListener("click", () => byId("handovers").close());
