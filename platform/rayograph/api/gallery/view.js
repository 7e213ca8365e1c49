// One image: as large as it is, what it was made from, and whether it comes out the same again.

import { ask, byId, count, element, moment, problem, say } from "./dom.js";
import { drawn, urlOf } from "./images.js";

let shown = null; // job and number
const FIRST = ["prompt", "negative_prompt", "class", "seed", "counter", "width", "height"]; // what people ask for; the rest as it comes
const DIGESTS = new Set(["model", "request", "data"]);

export async function openImage(job, number) {
  const wanted = { job, number };
  shown = wanted;
  const view = byId("view");
  say(byId("view-title"), `Image ${count(number)}`);
  byId("drawn-figure").hidden = byId("kept-caption").hidden = byId("verdict").hidden = true;
  URL.revokeObjectURL(byId("drawn").src);
  byId("drawn").removeAttribute("src");
  byId("again").disabled = false;
  const kept = byId("kept");
  kept.alt = `Image ${number}`;
  kept.src = urlOf(job, number);
  byId("download").href = urlOf(job, number);
  byId("record").replaceChildren();
  byId("lineage").replaceChildren();
  byId("given").replaceChildren();
  say(byId("command"), "");
  const numbers = drawn();
  byId("view-previous").disabled = !(number > numbers[0]);
  byId("view-next").disabled = !(number < numbers.at(-1));
  if (!view.open) view.showModal();
  try {
    const told = await ask(urlOf(job, number, "/lineage"));
    if (shown !== wanted) return;
    byId("record").replaceChildren(...ordered(told.record).flatMap(row));
    byId("given").replaceChildren(...given(wanted, told.record));
    byId("lineage").replaceChildren(...told.ancestors.map(ancestor));
    say(byId("command"), told.command);
  } catch (refusal) {
    verdict(refusal.message, true);
  }
}

function ordered(record) {
  const place = (name) => (FIRST.includes(name) ? FIRST.indexOf(name) : FIRST.length + DIGESTS.has(name));
  return Object.entries(record).sort(([one], [other]) => place(one) - place(other));
}

function row([name, value]) {
  const text = Array.isArray(value) ? value.join("\n") : typeof value === "object" ? JSON.stringify(value) : String(value);
  return [element("dt", {}, name.replaceAll("_", " ")), element("dd", { className: DIGESTS.has(name) ? "digest" : "" }, text)];
}

/** The files that the image was conditioned on: records name them by their digests. */
function given({ job, number }, record) {
  const files = Object.entries(record).filter(([, value]) => typeof value === "string" && value.startsWith("sha256:"));
  return files.map(([name]) => {
    const picture = element("img", { alt: `${name} of image ${number}`, src: urlOf(job, number, `/given/${encodeURIComponent(name)}`) });
    return element("figure", {}, picture, element("figcaption", {}, name.replaceAll("_", " ")));
  });
}

function ancestor(one) {
  const made = one.created ? `committed ${moment(one.created)}` : "not committed yet";
  const samples = one.samples ? ` · ${count(one.samples)} samples` : "";
  const parents = one.parents.length ? ` · from ${one.parents.map((parent) => parent.input).join(", ")}` : "";
  return element(
    "li",
    {},
    element("b", {}, one.stage),
    element("span", { className: "told" }, `${made}${samples}${parents} · seed ${one.seed}`),
    element("code", {}, one.uri),
    element("code", { className: "digest" }, one.digest ?? `key ${one.key}`),
  );
}

function verdict(text, different) {
  problem(byId("verdict"), text);
  byId("verdict").classList.toggle("different", different);
}

async function again() {
  const wanted = shown;
  byId("again").disabled = true;
  verdict("Drawing …", false);
  try {
    const found = await ask(urlOf(wanted.job, wanted.number, "/again"), "POST");
    if (shown !== wanted) return;
    const bytes = Uint8Array.from(atob(found.image), (letter) => letter.charCodeAt(0));
    byId("drawn").src = URL.createObjectURL(new Blob([bytes], { type: found.media_type }));
    byId("drawn").alt = `Image ${wanted.number}, drawn again`;
    byId("drawn-figure").hidden = byId("kept-caption").hidden = false;
    if (found.same_pixels) verdict(found.same_file ? "The same, byte for byte." : "The same, pixel for pixel.", false);
    else if (found.largest_difference === 1) verdict(`The same but for rounding: ${count(found.different_pixels)} pixels differ by 1 of 255.`, false);
    else verdict(`${count(found.different_pixels)} pixels differ, by ${found.largest_difference} of 255 at most.`, true);
  } catch (refusal) {
    if (shown === wanted) verdict(refusal.message, true);
  } finally {
    if (shown === wanted) byId("again").disabled = false;
  }
}

function step(by) {
  const numbers = drawn();
  const next = by < 0 ? numbers.findLast((number) => number < shown.number) : numbers.find((number) => number > shown.number);
  if (next !== undefined) openImage(shown.job, next);
}

async function copy() {
  const text = byId("command").textContent;
  try {
    await navigator.clipboard.writeText(text); // there on localhost and https only
    say(byId("copy"), "Copied");
  } catch {
    getSelection().selectAllChildren(byId("command"));
    say(byId("copy"), "Selected");
  }
  setTimeout(() => say(byId("copy"), "Copy"), 1500);
}

export function wireView() {
  const view = byId("view");
  byId("again").addEventListener("click", again);
  byId("copy").addEventListener("click", copy);
  byId("view-previous").addEventListener("click", () => step(-1));
  byId("view-next").addEventListener("click", () => step(1));
  view.addEventListener("keydown", (event) => {
    if (event.key === "ArrowLeft") step(-1);
    if (event.key === "ArrowRight") step(1);
  });
  view.addEventListener("close", () => {
    const number = shown?.number;
    shown = null;
    document.querySelector(`#images button[title="${number}"]`)?.focus();
  });
  for (const picture of [byId("kept"), byId("drawn")]) {
    picture.addEventListener("load", () => picture.classList.toggle("small", picture.naturalWidth < 256));
  }
}
