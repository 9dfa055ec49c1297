// What the service found, as elements of the page.

import { measureRows, qualityRows, verdictWords } from "./words.js";

const at = (id) => document.getElementById(id);

/** Shows verdict, measures and details; answers one sentence for those who listen. */
export function showFindings(facts, about, visible) {
  const model = about.models.find((one) => one.digest === facts.model.digest);
  const floors = model?.floors;
  const judged = Object.values(floors ?? {}).some((limit) => limit != null);
  const told = verdictWords(facts, judged, about.policy.default !== "annotate");
  at("verdict").className = `card verdict ${told.tone}`;
  at("verdict-title").textContent = told.title;
  at("verdict-words").textContent = told.words + (visible ? "" : " This browser cannot show the file as sent, so only the result is on show.");
  at("measures").replaceChildren(...measureRows(facts, floors).map(measureRow));
  showQuality(facts.quality);
  showDetails(facts);
  markPlace(facts.worst.box, facts.image);
  return `Done. ${told.title}. Structure score ${facts.lassim.toFixed(3)}.`;
}

function showQuality(quality) {
  at("quality").hidden = !quality;
  if (!quality) return;
  at("quality-words").textContent = quality.after.advice;
  at("quality-rows").replaceChildren(...qualityRows(quality).map(({ label, before, after, change }) => {
    const sign = { 1: "better", 0: "as before", "-1": "worse" }[change];
    const cells = [element("td", "", before), element("td", "", after), element("td", "fine", sign)];
    const head = element("th", "", label);
    head.scope = "row";
    return element("tr", "", head, ...cells);
  }));
}

function measureRow({ label, value, share, limit, note }) {
  const row = document.createElement("li");
  const head = element("div", "measure-head", element("span", "", label), element("b", "", value));
  row.append(head);
  if (share !== undefined) {
    const fill = element("div", "meter-fill");
    fill.style.setProperty("--share", `${100 * Math.max(0, share)}%`);
    const meter = element("div", "meter", fill);
    if (limit != null) {
      const tick = element("div", "meter-limit");
      tick.style.setProperty("--limit", `${100 * Math.max(0, limit)}%`);
      meter.append(tick);
    }
    row.append(meter);
  }
  row.append(element("div", "fine", note));
  return row;
}

function element(tag, name, ...children) {
  const made = document.createElement(tag);
  made.className = name;
  made.append(...children);
  return made;
}

function showDetails(facts) {
  const total = Object.values(facts.timing_ms).reduce((sum, part) => sum + part, 0);
  const rows = {
    Model: `${facts.model.name} ${facts.model.version}`,
    Digest: facts.model.digest,
    Size: `${facts.image.width} × ${facts.image.height} px`,
    "Time in the service": `${Math.round(total)} ms`,
    Request: facts.request_id,
  };
  at("details").replaceChildren(...Object.entries(rows).flatMap(([name, value]) => [element("dt", "", name), element("dd", "", value)]));
}

function markPlace(box, { width, height }) {
  const place = at("place").style;
  place.setProperty("--left", `${(100 * box.left) / width}%`);
  place.setProperty("--top", `${(100 * box.top) / height}%`);
  place.setProperty("--width", `${(100 * (box.right - box.left)) / width}%`);
  place.setProperty("--height", `${(100 * (box.bottom - box.top)) / height}%`);
}
