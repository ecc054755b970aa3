"use strict";

// The panel of check-integration. byId, element and post are the page's own, in console.js.
const WRONG = ["warning", "unknown", "failed"];

function finding({ check, status, found, do: action }) {
  const name = element("th", { scope: "row", textContent: check });
  const said = element("td", { textContent: found });
  if (action) said.append(element("p", { textContent: `→ ${action}` }));
  return element("tr", { className: status }, name, element("td", { textContent: status }), said);
}

async function diagnose() {
  byId("doctor-again").disabled = true;
  byId("doctor-state").textContent = "Checking …";
  const report = await post("/api/doctor", {});
  byId("doctor-again").disabled = false;
  if (!report) {
    byId("doctor-state").textContent = byId("problem").textContent;
    return;
  }
  const wrong = report.checks.filter((row) => WRONG.includes(row.status)).length;
  byId("doctor-state").textContent = wrong ? `${wrong} of ${report.checks.length} checks need attention.` : "All is well.";
  byId("doctor-checks").replaceChildren(...report.checks.map(finding));
}

byId("doctor-open").addEventListener("click", () => {
  byId("doctor").showModal();
  diagnose();
});
byId("doctor-again").addEventListener("click", diagnose);
byId("doctor-close").addEventListener("click", () => byId("doctor").close());
