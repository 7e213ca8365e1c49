// A page of thumbnails, filled as shards land: a hundred at a time, whatever the size of the job.

import { ask, byId, count, element, problem, say } from "./dom.js";

const PAGE = 100;
let asked = null; // the job, filter and start that the grid shows
let page = null;
let before = []; // where the filtered pages before this one start
let following = false;
let open = () => {};

/** Numbers of the page's drawn images, ascending. */
export const drawn = () => (page?.images ?? []).filter((image) => image.state === "drawn").map((image) => image.number);

export const urlOf = (job, number, what = "") => `/v1/jobs/${job}/images/${number}${what}`;

/** Starts on a job's first page, with its classes' names to choose from. */
export async function chooseJob(job) {
  byId("filter").reset();
  before = [];
  follow(false);
  asked = { job, start: 0, filter: {} };
  page = null;
  byId("images").replaceChildren();
  const fields = await ask(`/v1/jobs/${job}/takes`).catch(() => []);
  if (asked.job !== job) return;
  const classes = fields.find((field) => field.kind === "class");
  byId("class-filter").hidden = !classes;
  byId("class-names").replaceChildren(...(classes?.names ?? []).map((name) => element("option", { value: name })));
  const texts = fields.filter((field) => ["text", "boxes"].includes(field.kind) && field.column !== "prompt");
  byId("text-filters").replaceChildren(...texts.map(({ column }) =>
    element("label", {}, column.replaceAll("_", " "), element("input", { name: column, type: "search", autocomplete: "off" }))));
}

/** Asks for the page again and fills what is completed since; nothing is asked for once all of it is there. */
export async function refresh(job) {
  if (asked === null || asked.job !== job.id) return;
  if (following && isPlain()) asked.start = Math.max(0, Math.floor((job.samples - 1) / PAGE) * PAGE);
  const settled = page && page.start === asked.start && page.total && page.images.every((image) => image.state === "drawn");
  if (settled) return;
  const wanted = asked;
  const query = new URLSearchParams({ ...wanted.filter, start: wanted.start, limit: PAGE });
  try {
    const found = await ask(`/v1/jobs/${wanted.job}/images?${query}`);
    if (wanted !== asked) return;
    page = { ...found, start: wanted.start };
    problem(byId("no-images"), found.images.length ? null : found.total ? "No image fits." : "Nothing is planned yet.");
    show();
  } catch (refusal) {
    if (wanted === asked) problem(byId("no-images"), refusal.message);
  }
}

const isPlain = () => Object.keys(asked.filter).length === 0;

function show() {
  const grid = byId("images");
  const known = new Map([...grid.children].map((item) => [item.dataset.key, item]));
  const items = page.images.map((image) => {
    const key = `${asked.job} ${image.number} ${image.state}`;
    return known.get(key) ?? frame(key, image);
  });
  if (items.length !== grid.children.length || items.some((item, place) => grid.children[place] !== item)) {
    const focused = document.activeElement?.closest?.("#images li")?.dataset.key;
    grid.replaceChildren(...items);
    if (focused) items.find((item) => item.dataset.key === focused)?.firstElementChild.focus();
  }
  const last = page.images.at(-1)?.number;
  say(byId("range"), last === undefined ? "" : isPlain() ? `${count(page.start)}–${count(last)} of ${count(page.total)}` : `${count(page.images.length)} found, up to number ${count(last)}`);
  byId("first").disabled = byId("previous").disabled = asked.start === 0;
  byId("next").disabled = page.next === null;
  byId("newest").hidden = !isPlain();
}

function frame(key, { number, state }) {
  const item = element("li");
  item.dataset.key = key;
  if (state !== "drawn") {
    const what = state === "failed" ? "is a dead letter" : "is not drawn yet";
    item.append(element("span", { className: state, role: "img", "aria-label": `Image ${number} ${what}`, title: `${number} ${what}` }));
    return item;
  }
  const picture = element("img", { loading: "lazy", decoding: "async", alt: `Image ${number}`, src: urlOf(asked.job, number, "/thumbnail") });
  picture.addEventListener("load", () => picture.classList.toggle("small", picture.naturalWidth < 96));
  const button = element("button", { type: "button", title: String(number) }, picture);
  button.addEventListener("click", () => open(number));
  item.append(button);
  return item;
}

async function go(start) {
  asked = { ...asked, start };
  page = null;
  await refresh({ id: asked.job, samples: 0 });
}

function follow(on) {
  following = on;
  byId("newest").setAttribute("aria-pressed", String(on));
}

/** Moves among the drawn images of the grid as they lie on the screen. */
function move(event) {
  const buttons = [...byId("images").querySelectorAll("button")];
  const here = buttons.indexOf(document.activeElement);
  if (here < 0) return;
  const columns = getComputedStyle(byId("images")).gridTemplateColumns.split(" ").length;
  const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns, Home: -here, End: buttons.length - 1 - here };
  if (!(event.key in steps)) return;
  event.preventDefault();
  buttons[here + steps[event.key]]?.focus();
}

export function wireImages(opener) {
  open = opener;
  byId("images").addEventListener("keydown", move);
  byId("filter").addEventListener("submit", (event) => {
    event.preventDefault();
    const given = [...new FormData(event.target)].map(([name, value]) => [name, value.trim()]);
    asked = { ...asked, filter: Object.fromEntries(given.filter(([, value]) => value !== "")) };
    before = [];
    follow(false);
    go(0);
  });
  byId("filter").addEventListener("reset", () => setTimeout(() => byId("filter").requestSubmit()));
  byId("next").addEventListener("click", () => {
    follow(false);
    before.push(asked.start);
    go(page.next);
  });
  byId("previous").addEventListener("click", () => {
    follow(false);
    go(isPlain() ? Math.max(0, asked.start - PAGE) : (before.pop() ?? 0));
  });
  byId("first").addEventListener("click", () => {
    follow(false);
    before = [];
    go(0);
  });
  byId("newest").addEventListener("click", () => {
    follow(!following);
    page = null;
  });
}
