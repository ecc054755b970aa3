"use strict";

// The dead letters: a dialog with what manage-dead-letters lists, and a button for each of its operations.

function letterRow(letter) {
  const cells = [
    letter.event_type ?? "no event",
    letter.status ?? "",
    letter.reason,
    short(letter.conversation_id ?? ""),
    short(letter.event_id ?? ""),
  ];
  const row = element("tr", {}, ...cells.map((text) => element("td", { textContent: text })));
  const buttons = element("td", { className: "buttons" });
  // A message that is no event has no id that it could be chosen by.
  for (const [operation, text] of letter.event_id ? [["redrive", "Redrive"], ["discard", "Discard"]] : []) {
    const label = `${text} ${letter.event_type ?? "no event"} ${letter.event_id}`;
    const button = element("button", { type: "button", textContent: text, ariaLabel: label });
    button.dataset.operation = operation;
    button.addEventListener("click", () => settleLetters({ operation, event_ids: [letter.event_id] }));
    buttons.append(button);
  }
  row.append(buttons);
  return row;
}

function letterTable(letters) {
  const heads = ["Type", "Status", "Reason", "Conversation", "Event", "Do"];
  const head = element("tr", {}, ...heads.map((text) => element("th", { textContent: text, scope: "col" })));
  return element("table", {}, element("thead", {}, head), element("tbody", {}, ...letters.map(letterRow)));
}

async function showLetters(done = "") {
  const response = await fetch("/api/dead-letters").catch(() => null);
  if (!response || !response.ok) return problem(response ? await response.text() : "The sandbox gave no response.");
  const letters = await response.json();
  byId("letters-done").textContent = done;
  byId("letters-list").replaceChildren(letters.length ? letterTable(letters) : "There are no dead letters.");
  byId("letters-redrive").disabled = byId("letters-discard").disabled = !letters.length;
  if (!byId("letters").open) byId("letters").showModal();
}

async function settleLetters(request) {
  const done = await post("/api/dead-letters", request);
  if (!done) return (byId("letters-done").textContent = byId("problem").textContent);
  const [past, letters] = done.redriven ? ["redriven", done.redriven] : ["discarded", done.discarded];
  return showLetters(`${letters.length} ${past}, ${done.kept} kept`);
}

byId("letters-open").addEventListener("click", () => showLetters());
byId("letters-close").addEventListener("click", () => byId("letters").close());
byId("letters-redrive").addEventListener("click", () => settleLetters({ operation: "redrive", all: true }));
byId("letters-discard").addEventListener("click", () => settleLetters({ operation: "discard", all: true }));
