"use strict";

// Text of others is only ever set as text, never as markup.
const byId = (id) => document.getElementById(id);
const KEPT = 4000;
const SHOWN = 400;
const SAMPLE = "A sample file from the console.\n";

let hops = [];
let conversation = "";
let filter = "";
let before = [];
let lastOpened = null;
let run = "";
let isTyping = false;
const known = new Set();

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

const short = (id) => (id.length > 8 ? id.slice(0, 7) + "…" : id);

/* ---- requests ---- */

async function post(path, body) {
  try {
    const response = await fetch(path, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(body),
    });
    if (!response.ok) throw new Error(await response.text());
    problem("");
    return response.status === 204 ? {} : await response.json();
  } catch (error) {
    problem(error.message || "The sandbox gave no response.");
    return null;
  }
}

function problem(text) {
  byId("problem").textContent = text;
  byId("problem").hidden = !text;
}

/* ---- hops ---- */

const isBad = (hop) => /^[45]\d\d|: [45]\d\d|^no response|^connection dropped/.test(hop.outcome);

const duration = (ms) => (ms < 1000 ? `${ms.toFixed(1)} ms` : `${(ms / 1000).toFixed(2)} s`);

function sentence({ kind, outcome }) {
  if (kind === "kill") return `${outcome} is killed`;
  if (kind !== "fault") return outcome;
  // As the command line writes it: bot-500=3, bot-500=20%, bot-500=5s.
  const [fault, when] = outcome.split("=");
  return /^0s?$/.test(when) ? `${fault} is switched off` : `${fault} is switched on: ${when}`;
}

function row(hop) {
  if (!hop.from) return element("li", { className: "note", textContent: sentence(hop) });
  const cell = (name, text, title = "") => element("span", { className: name, textContent: text, title });
  const took = hop.took_ms === null ? "" : duration(hop.took_ms);
  const button = element(
    "button",
    { type: "button", className: isBad(hop) ? "bad" : /^2\d\d|stored/.test(hop.outcome) ? "good" : "", tabIndex: -1 },
    cell("time", (hop.at_ms / 1000).toFixed(2)),
    cell("way", `${hop.from} → ${hop.to}`),
    cell("kind", hop.kind),
    cell("id", short(hop.event_id || hop.conversation_id), hop.event_id || hop.conversation_id),
    cell("outcome", hop.outcome),
    cell("took", took),
    cell("retries", hop.retries ? `${hop.retries} ↻` : "", "how often this event has passed here before"),
  );
  button.dataset.number = hop.number;
  button.setAttribute(
    "aria-label",
    `${hop.from} to ${hop.to}, ${hop.kind}, ${hop.outcome}, at ${(hop.at_ms / 1000).toFixed(2)} s` +
      (hop.retries ? `, retry ${hop.retries}` : ""),
  );
  return element("li", {}, button);
}

const isShown = (hop) => !filter || hop.conversation_id === filter;

function append(list, rows) {
  const isAtEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 40;
  list.append(...rows);
  while (list.children.length > SHOWN) list.firstChild.remove();
  if (!list.querySelector('[tabindex="0"]')) rove(list.querySelector("button"));
  if (isAtEnd) list.scrollTop = list.scrollHeight;
}

function rove(button, isFocused = false) {
  if (!button) return;
  for (const other of byId("hops").querySelectorAll('button[tabindex="0"]')) other.tabIndex = -1;
  button.tabIndex = 0;
  if (isFocused) button.focus();
}

function redraw() {
  byId("hops").replaceChildren();
  append(byId("hops"), hops.filter(isShown).slice(-SHOWN).map(row));
  byId("hops").scrollTop = byId("hops").scrollHeight;
}

function learn(id) {
  if (!id || known.has(id)) return;
  known.add(id);
  byId("filter").append(element("option", { value: id, textContent: short(id), title: id }));
  // A page that is opened during a conversation shows it.
  if (!conversation && !before.length) select(id);
}

function select(id) {
  conversation = id;
  isTyping = false;
  refresh();
}

function arrived(fresh) {
  hops = hops.concat(fresh).slice(-KEPT);
  for (const hop of fresh) learn(hop.conversation_id);
  append(byId("hops"), fresh.filter(isShown).map(row));
  if (fresh.some((hop) => hop.conversation_id === conversation)) refresh();
}

/* ---- both sides ---- */

const NAMES = { user: "Customer", bot: "Bot", agent: "Agent" };

function bubble(line) {
  const item = element("li", { className: line.author });
  if (line.author !== "note") item.append(element("b", { textContent: NAMES[line.author] || line.author }));
  item.append(line.text);
  const path = `/api/conversations/${encodeURIComponent(conversation)}/attachments/`;
  for (const { id, name } of line.files || []) {
    const href = path + encodeURIComponent(id);
    item.append(element("a", { className: "file", href, download: name, textContent: name || "a file without a name" }));
  }
  if (line.card && !line.card.id) {
    const option = (text) => element("li", { textContent: text });
    item.append(element("ul", { className: "options" }, ...line.card.options.map(option)));
  } else if (line.card) {
    const choose = (option) => {
      const button = element("button", { type: "button", textContent: option });
      button.addEventListener("click", () => customer({ action: "choose", card: line.card.id, text: option }));
      return button;
    };
    item.append(element("div", { className: "buttons" }, ...line.card.options.map(choose)));
  }
  return item;
}

function talk(list, lines) {
  const text = JSON.stringify(lines);
  if (list.dataset.lines === text) return;
  list.dataset.lines = text;
  list.replaceChildren(...lines.map(bubble));
  list.scrollTop = list.scrollHeight;
}

let isRefreshing = false;
let isStale = false;

// One look at a time; what changes meanwhile is seen with the next one.
async function refresh() {
  if (isRefreshing) {
    isStale = true;
    return;
  }
  isRefreshing = true;
  do {
    isStale = false;
    const looked = conversation;
    if (!looked) {
      talk(byId("chat"), before);
      talk(byId("desk"), []);
      byId("desk-state").textContent = "No conversation yet.";
    } else {
      const response = await fetch(`/api/conversations/${encodeURIComponent(looked)}`).catch(() => null);
      if (response && response.ok && looked === conversation) show(await response.json());
    }
  } while (isStale);
  isRefreshing = false;
  enable();
}

function show({ customer, agent }) {
  talk(byId("chat"), customer);
  if (!agent) {
    byId("desk-state").textContent = "This conversation lies at another contact center.";
    return;
  }
  const { history, lines } = agent;
  talk(byId("desk"), history.length ? [...history, { author: "note", text: "so far with the bot" }, ...lines] : lines);
  const assignment = agent.assignment ? `, assigned to ${agent.assignment.type} ${agent.assignment.id}` : "";
  byId("desk-state").textContent = `Conversation ${short(conversation)}: ${agent.state}${assignment}.`;
}

function enable() {
  const hasOne = Boolean(conversation);
  for (const button of document.querySelectorAll("[data-agent], #agent-write, #customer-end")) button.disabled = !hasOne;
  byId("ask").disabled = hasOne;
  document.querySelector('[data-agent="type"]').setAttribute("aria-pressed", String(isTyping));
}

async function customer(action) {
  const done = await post(`/api/conversations/${encodeURIComponent(conversation)}/customer`, action);
  refresh();
  return done;
}

async function agent(action, more = {}) {
  const path = `/api/conversations/${encodeURIComponent(conversation)}/agent`;
  const done = await post(path, { action, agent: byId("agent-name").value, ...more });
  if (done && action === "type") isTyping = true;
  if (done && action === "stop") isTyping = false;
  refresh();
  return done;
}

byId("customer-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const text = byId("customer-text").value;
  byId("customer-text").value = "";
  if (conversation) {
    await customer({ action: "say", text });
  } else {
    before.push({ author: "user", text });
    before.push({ author: "bot", text: "I can answer simple questions, or get you a person." });
    refresh();
  }
});

byId("ask").addEventListener("click", async () => {
  byId("ask").disabled = true;
  const messages = before.map((line) => ({ authorType: line.author, text: line.text }));
  const opened = await post("/api/conversations", { messages });
  if (!opened) return enable();
  before = [];
  learn(opened.conversation_id);
  select(opened.conversation_id);
});

byId("customer-end").addEventListener("click", () => customer({ action: "end" }));

byId("new-visitor").addEventListener("click", () => {
  before = [{ author: "bot", text: "Hello, I am the bot. How can I help?" }];
  byId("filter").value = filter = "";
  redraw();
  select("");
  byId("customer-text").focus();
});

byId("agent-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const text = byId("agent-text").value;
  byId("agent-text").value = "";
  if (isTyping) await agent("stop");
  await agent("write", { text });
});

async function file() {
  const chosen = byId("agent-file").files[0];
  const bytes = chosen ? new Uint8Array(await chosen.arrayBuffer()) : new TextEncoder().encode(SAMPLE);
  let binary = "";
  for (const byte of bytes) binary += String.fromCharCode(byte);
  byId("agent-file").value = "";
  return { text: chosen ? chosen.name : "sample.txt", content: btoa(binary) };
}

for (const button of document.querySelectorAll("[data-agent]")) {
  button.addEventListener("click", async () => {
    const action = button.dataset.agent;
    if (action === "type" && isTyping) return agent("stop");
    return agent(action, action === "file" ? await file() : {});
  });
}

/* ---- what goes wrong ---- */

for (const button of document.querySelectorAll("[data-fault]")) {
  button.addEventListener("click", () => {
    const on = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", String(on));
    post("/api/faults", { name: button.dataset.fault, on });
  });
}

byId("kill").addEventListener("click", () => post("/api/kill", { function: byId("function").value }));

/* ---- what waits ---- */

// Two samples a second, as the sandbox takes them; half a minute at least, so that a start does not fill the chart.
const spans = (samples) => Math.max(60, samples.length - 1);

function polyline(id, samples, value) {
  const most = Math.max(1, ...samples.map(value));
  const step = 720 / spans(samples);
  const points = samples.map((sample, index) => {
    const x = 720 - (samples.length - 1 - index) * step;
    return `${x.toFixed(1)},${(88 - (value(sample) / most) * 84).toFixed(1)}`;
  });
  byId(id).setAttribute("points", points.join(" "));
  return most;
}

function state(now) {
  const count = (id, value) => (byId(id).textContent = value);
  count("count-sent", now.sent);
  count("count-received", now.received);
  count("count-waiting", now.queued + now.unanswered);
  count("count-repeats", now.repeats);
  count("count-dead", now.dead_letters);
  count("count-violations", now.violations.length);
  byId("count-violations").title = now.violations.join("\n");
  for (const button of document.querySelectorAll("[data-fault]")) {
    button.setAttribute("aria-pressed", String(now.faults[button.dataset.fault]));
  }
  if (!byId("function").children.length) {
    byId("function").append(...now.functions.map((name) => element("option", { textContent: name })));
  }
  const last = now.samples.at(-1) || { waiting: 0, oldest_ms: 0 };
  const waiting = polyline("chart-waiting", now.samples, (sample) => sample.waiting);
  const age = polyline("chart-age", now.samples, (sample) => sample.oldest_ms / 1000);
  const shown = Math.round(spans(now.samples) / 2);
  count("legend-span", `Last ${shown} s:`);
  const seconds = (last.oldest_ms / 1000).toFixed(1);
  count("legend-waiting", `${last.waiting} ${last.waiting === 1 ? "event waits" : "events wait"} (top: ${waiting})`);
  count("legend-age", `the oldest for ${seconds} s (top: ${age.toFixed(1)} s)`);
  byId("chart").setAttribute(
    "aria-label",
    `In the last ${shown} s at most ${waiting} events waited, the oldest for ${age.toFixed(1)} s. ` +
      `Now ${last.waiting} wait, the oldest for ${seconds} s.`,
  );
}

/* ---- one hop ---- */

function exchange(title, request) {
  const headers = (pairs) => pairs.map(([name, value]) => `${name}: ${value}`).join("\n");
  const body = (text) => {
    try {
      return JSON.stringify(JSON.parse(text), null, 2);
    } catch {
      return text;
    }
  };
  const part = (start, pairs, text) => element("pre", { textContent: [start, headers(pairs), "", body(text)].join("\n").trim() });
  const parts = [element("h3", { textContent: title }), part(`${request.method} ${request.path}`, request.headers, request.body)];
  if (request.response) {
    const { status, headers, body } = request.response;
    parts.push(part(`Response: ${status}`, headers, body));
  }
  return parts;
}

async function openHop(number) {
  const response = await fetch(`/api/hops/${number}`).catch(() => null);
  if (!response || !response.ok) return problem("This hop is not kept any more.");
  const { hop, event, logs } = await response.json();
  lastOpened = number;
  byId("detail-title").textContent = `${hop.kind}: ${hop.from} → ${hop.to}, ${hop.outcome}`;
  byId("detail-send").hidden = !hop.event_id;
  byId("detail-sent").textContent = "";
  const parts = [];
  const facts = [`time          ${new Date(hop.time).toISOString()}`];
  if (hop.event_id) facts.push(`event         ${hop.event_id}`);
  if (hop.conversation_id) facts.push(`conversation  ${hop.conversation_id}`);
  parts.push(element("pre", { textContent: facts.join("\n") }));
  const others = event.length ? event : [hop];
  if (hop.request) parts.push(...exchange("Request", hop.request));
  for (const other of others.filter((other) => other.request && other.number !== hop.number)) {
    parts.push(...exchange(`Request ${other.from} → ${other.to} at ${(other.at_ms / 1000).toFixed(2)} s: ${other.outcome}`, other.request));
  }
  if (event.length) {
    const line = (other) =>
      `${(other.at_ms / 1000).toFixed(3).padStart(9)} s  ${other.from} → ${other.to}  ${other.outcome}` +
      (other.number === hop.number ? "  ← this one" : "");
    parts.push(element("h3", { textContent: "All hops of this event" }), element("pre", { textContent: event.map(line).join("\n") }));
  }
  const lines = logs.map((log) => `${log.function}  ${log.line}`).join("\n");
  parts.push(element("h3", { textContent: "Log lines" }), element("pre", { id: "detail-logs", textContent: lines || "none" }));
  byId("detail-body").replaceChildren(...parts);
  if (!byId("detail").open) byId("detail").showModal();
}

byId("hops").addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  rove(button);
  openHop(button.dataset.number);
});

byId("hops").addEventListener("keydown", (event) => {
  const buttons = [...byId("hops").querySelectorAll("button")];
  const index = buttons.indexOf(document.activeElement);
  const to = { ArrowDown: index + 1, ArrowUp: index - 1, Home: 0, End: buttons.length - 1 }[event.key];
  if (to === undefined || index < 0) return;
  event.preventDefault();
  rove(buttons[Math.min(Math.max(to, 0), buttons.length - 1)], true);
});

byId("detail-close").addEventListener("click", () => byId("detail").close());

for (const button of document.querySelectorAll("[data-send]")) {
  button.addEventListener("click", async () => {
    const sent = await post(`/api/hops/${lastOpened}/send`, { how: button.dataset.send });
    byId("detail-sent").textContent = sent ? `Response: ${sent.status ?? "none"}` : byId("problem").textContent;
    if (sent) openHop(lastOpened).then(() => (byId("detail-sent").textContent = `Response: ${sent.status ?? "none"}`));
  });
}

byId("filter").addEventListener("change", () => {
  filter = byId("filter").value;
  redraw();
  if (filter) select(filter);
});

/* ---- the stream ---- */

const stream = new EventSource("/api/stream");
stream.addEventListener("hello", (event) => {
  const hello = JSON.parse(event.data);
  // Another run: nothing here is of it.
  if (run && run !== hello.run) location.reload();
  run = hello.run;
  byId("connection").textContent = "connected";
});
stream.addEventListener("hops", (event) => arrived(JSON.parse(event.data)));
stream.addEventListener("state", (event) => state(JSON.parse(event.data)));
stream.addEventListener("error", () => (byId("connection").textContent = "no connection to the sandbox"));
enable();
