// The page: takes a photo, asks the service, shows before and after. Styles change by classes and CSS variables alone,
// so that the page needs no inline style.

import { Problem, blobOf, capabilities, enhance, key } from "./service.js";
import { showFindings } from "./findings.js";
import { megabytes, remedy } from "./words.js";
import { whole } from "./zoom.js";

const at = (id) => document.getElementById(id);
const UNSEEN = /[\s\u200b-\u200d\u2060\ufeff]/g; // what comes along when a key is pasted from a letter
const SHOWN_AS_SENT = new Set(["image/jpeg", "image/png", "image/webp"]);

let about = null; // the service's capabilities, once known
let photo = null; // the file at hand
let running = null; // AbortController of the request under way
let countdown = 0; // timer of the wait before a retry
let urls = []; // object URLs on show
let digest = ""; // of the model whose answer is on show
let note = ""; // what else there is to say about the photo at hand
let row = []; // the photos that came together, each {file, answer}
let place = 0; // of the photo at hand among them

const show = (...ids) => {
  for (const id of ["start", "problem", "key-form", "result"]) at(id).hidden = !ids.includes(id);
  at("otherwise").hidden = ids.includes("start") || ids.includes("result"); // they have a main heading of their own
};
const say = (words) => { at("status").textContent = words; };

function urlOf(blob) {
  const url = URL.createObjectURL(blob);
  urls.push(url);
  return url;
}

function reset() {
  running?.abort();
  clearInterval(countdown);
  urls.forEach((url) => URL.revokeObjectURL(url));
  urls = [];
  for (const id of ["before", "after", "map"]) at(id).removeAttribute("src");
  for (const id of ["map", "place", "legend"]) at(id).hidden = true;
  for (const id of ["show-map", "show-place"]) at(id).checked = false;
  at("map-problem").textContent = "";
  at("note").textContent = "";
  at("after-tag").textContent = "After";
  whole();
}

function startOver() {
  reset();
  photo = null;
  row = [];
  say("");
  show("start");
  at("choose").focus();
}

async function learn() {
  about = await capabilities();
  const types = about.formats.input.map((type) => type.replace("image/", "").toUpperCase()).join(", ");
  at("limits").textContent = `${types}, up to ${megabytes(about.limits.max_body_bytes)}`;
  const model = about.models.find((one) => one.default);
  at("model").textContent = model ? `Model ${model.name} ${model.version}` : "";
}

/** Throws what the service would answer, without the upload. */
function checkSize(file) {
  const limit = about?.limits.max_body_bytes;
  if (limit && file.size > limit) {
    const detail = `The file has ${megabytes(file.size)}; the limit is ${megabytes(limit)}.`;
    throw new Problem({ code: "body-too-large", title: "The photo is too large", detail });
  }
}

/** Whether this browser can show `file`; if so it is on show as the photo before. */
async function showBefore(file) {
  const image = at("before");
  const url = urlOf(file);
  image.src = url;
  try {
    await image.decode();
    shape(image.naturalWidth, image.naturalHeight);
    return true;
  } catch {
    if (image.src === url) image.removeAttribute("src"); // else another photo is on show by now
    return false;
  }
}

/** Throws for what is no file, or is there no more: its upload would fail as if the service were out of reach. */
async function checkReadable(file) {
  try {
    await file.slice(0, 1).arrayBuffer();
  } catch {
    throw new Problem({ code: "unreadable", title: "This file cannot be read", detail: `${file.name} is a folder, or was moved or deleted.` });
  }
}

const shape = (width, height) => at("stage").style.setProperty("--ratio", String(width / height));
const query = (file) => ({ format: SHOWN_AS_SENT.has(file.type) ? "same" : "png" });

const uploading = (share) => { at("busy-words").textContent = share < 1 ? `Sending … ${Math.floor(100 * share)} %` : "Enhancing …"; };

async function take(file, words = "") {
  if (!file) return;
  reset();
  if (row[place]?.file !== file) { row = [{ file }]; place = 0; }
  photo = file;
  note = words;
  const one = row[place];
  at("busy-words").textContent = "Enhancing …";
  show("result");
  at("stage").classList.add("busy-now");
  at("findings").hidden = true;
  say("Enhancing the photo.");
  const own = new AbortController();
  running = own;
  try {
    checkSize(file);
    await checkReadable(file);
    if (running !== own) return;
    const visible = await showBefore(file);
    if (!about) await learn();
    one.answer = (!words && one.answer) || (await enhance(file, query(file), own.signal, uploading));
    await present(one.answer, visible, own);
  } catch (error) {
    if (running === own) fail(error);
  }
}

async function present(facts, visible, own) {
  const blob = blobOf(facts.image);
  at("after").src = urlOf(blob);
  await at("after").decode();
  if (!about.models.some((one) => one.digest === facts.model.digest)) await learn(); // another model serves since
  if (running !== own) return;
  running = null;
  digest = facts.model.digest;
  // A browser that does not turn a photo upright, or shows another of its pictures, would compare two things.
  const before = at("before");
  visible &&= before.naturalWidth === facts.image.width && before.naturalHeight === facts.image.height;
  shape(facts.image.width, facts.image.height);
  at("stage").classList.toggle("alone", !visible);
  divide(50);
  say([showFindings(facts, about, visible), note].filter(Boolean).join(" "));
  at("note").textContent = note;
  at("download").href = at("after").src;
  at("download").download = nameFor(facts.image.media_type);
  tellRow();
  at("findings").hidden = false;
  at("stage").classList.remove("busy-now");
  at("split").focus({ preventScroll: true });
}

function tellRow() {
  at("row").hidden = row.length < 2;
  at("row-words").textContent = `Photo ${place + 1} of ${row.length}: ${photo.name}`;
  at("previous").disabled = place === 0;
  at("next").disabled = place === row.length - 1;
}

/** Shows the photo `by` places on in the row. */
function step(by) {
  const next = row[place + by];
  if (!next) return;
  place += by;
  take(next.file);
}

const nameFor = (type) => `${photo.name.replace(/\.[^.]*$/, "") || "photo"}.enhanced.${type.replace("image/", "").replace("jpeg", "jpg")}`;

function divide(share) {
  at("split").value = share;
  at("stage").style.setProperty("--split", `${share}%`);
  at("split").setAttribute("aria-valuetext", `${share} % of the width shows the photo as sent`);
}

async function showMap(wanted) {
  at("map-problem").textContent = "";
  if (wanted && !at("map").hasAttribute("src")) {
    const own = new AbortController();
    running = own;
    say("Drawing the heat map.");
    const focused = document.activeElement === at("show-map");
    at("show-map").disabled = true;
    try {
      const facts = await enhance(photo, { ...query(photo), map: "true" }, own.signal);
      if (running !== own) return;
      if (facts.model.digest !== digest) {
        take(photo, "Another model serves since, so the photo was enhanced again.");
        return;
      }
      at("map").src = urlOf(blobOf(facts.map));
      await at("map").decode();
      say("The heat map is on show.");
    } catch (error) {
      if (running !== own) return;
      at("show-map").checked = false;
      at("map-problem").textContent = `No heat map this time: ${error.message}. ${error.detail ?? ""}`;
    } finally {
      at("show-map").disabled = false;
      if (focused && document.activeElement === document.body) at("show-map").focus();
    }
  }
  const on = at("show-map").checked;
  at("map").hidden = !on;
  at("legend").hidden = !on;
  at("after-tag").textContent = on ? "Heat map" : "After";
}

function fail(error) {
  running = null;
  if (error.name === "AbortError") return;
  if (error.code === "unauthorized") { askKey(); return; }
  const problem = error instanceof Problem ? error
    : new Problem({ title: "This page could not show the answer", detail: "Your browser may be too old, or short of memory." });
  const { hint, again, wait } = remedy(problem);
  at("problem-title").textContent = problem.title;
  at("problem-detail").textContent = problem.detail;
  at("problem-hint").textContent = hint;
  at("problem-id").textContent = problem.request_id ? `Request ${problem.request_id}` : "";
  at("again").hidden = !again;
  show("problem");
  say("");
  if (again) countDown(wait);
}

function countDown(seconds) {
  clearInterval(countdown);
  const button = at("again");
  const tell = () => {
    button.disabled = seconds > 0;
    button.textContent = seconds > 0 ? `Try again in ${seconds} s` : "Try again";
    if (seconds-- <= 0) clearInterval(countdown);
  };
  tell();
  countdown = setInterval(tell, 1000);
}

function askKey() {
  at("key-words").textContent = key.get()
    ? "That key is not valid here, or no longer. Enter another one."
    : "Enter the key that its operator gave you. It stays in this browser tab.";
  key.forget();
  at("forget").hidden = true;
  show("key-form");
  at("key").focus();
}

function useKey(event) {
  event.preventDefault();
  const given = at("key").value.replace(UNSEEN, "");
  if (!/^[\x21-\x7e]+$/.test(given)) {
    at("key-words").textContent = "That is no key: keys have letters, digits and signs of ASCII alone.";
    return;
  }
  key.set(given);
  at("key").value = "";
  at("forget").hidden = false;
  if (photo) { take(photo); return; }
  show("start");
  begin();
}

function forgetKey() {
  key.forget();
  at("forget").hidden = true;
  startOver();
  begin();
}

async function sample() {
  reset();
  const own = new AbortController();
  running = own;
  try {
    const response = await fetch(new URL("sample.jpg", import.meta.url), { signal: own.signal });
    if (!response.ok) throw new Problem({ title: "The sample is not there", detail: `The service answered ${response.status}.` });
    const file = new File([await response.blob()], "sample.jpg", { type: "image/jpeg" });
    if (running === own) take(file);
  } catch (error) {
    if (running !== own) return;
    fail(error instanceof Problem ? error : new Problem({ code: "unreachable", title: "The service cannot be reached", detail: "No answer came." }));
  }
}

async function begin() {
  try {
    await learn();
  } catch (error) {
    if (error.code === "unauthorized") askKey();
    else at("limits").textContent = "";
  }
}

/** Takes the photos of several files as a row, the first at once; what is called something else than an image is left. */
function takeFrom(list) {
  const files = [...(list ?? [])];
  const images = files.filter((one) => one.type.startsWith("image/") || !one.type);
  row = (images.length ? images : files).map((file) => ({ file }));
  place = 0;
  take(row[0]?.file);
}

for (const id of ["choose", "camera"]) {
  at(id).addEventListener("change", (event) => { takeFrom(event.target.files); event.target.value = ""; });
}
at("previous").addEventListener("click", () => step(-1));
at("next").addEventListener("click", () => step(1));
document.addEventListener("paste", (event) => takeFrom(event.clipboardData?.files));
document.addEventListener("dragover", (event) => { event.preventDefault(); document.body.classList.add("dragging"); });
document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) document.body.classList.remove("dragging"); });
document.addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("dragging");
  takeFrom(event.dataTransfer?.files);
});
document.querySelectorAll(".new-photo").forEach((button) => button.addEventListener("click", startOver));
at("cancel").addEventListener("click", startOver);
at("sample").addEventListener("click", sample);
at("again").addEventListener("click", () => { if (photo) take(photo); else sample(); });
at("split").addEventListener("input", (event) => divide(Number(event.target.value)));
at("show-place").addEventListener("change", (event) => { at("place").hidden = !event.target.checked; });
at("show-map").addEventListener("change", (event) => showMap(event.target.checked));
at("large").hidden = !document.fullscreenEnabled;
at("large").addEventListener("click", () => { if (document.fullscreenElement) document.exitFullscreen(); else at("view").requestFullscreen(); });
document.addEventListener("fullscreenchange", () => { at("large").textContent = document.fullscreenElement ? "Leave full screen" : "Full screen"; });
at("key-form").addEventListener("submit", useKey);
at("forget").addEventListener("click", forgetKey);
at("forget").hidden = !key.get();
begin();
