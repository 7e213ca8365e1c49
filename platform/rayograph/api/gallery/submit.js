// The form that begins a job. What it cannot know, the app refuses in one line, shown here.

import { conditionField } from "./conditions.js";
import { ask, byId, element, problem } from "./dom.js";
import { linkTo } from "./jobs.js";

let takes = null; // of the chosen model: what it takes
const controls = new WeakMap(); // of each row, by column

export async function openSubmit() {
  const place = byId("submit-form");
  problem(byId("submit-error"), null);
  byId("submit").showModal();
  try {
    const models = await ask("/v1/models");
    const chosen = place.model.value;
    place.model.replaceChildren(...models.map((model) => element("option", { value: model.name }, model.name)));
    if (models.some((model) => model.name === chosen)) place.model.value = chosen;
    if (!models.length) problem(byId("submit-error"), "This store holds no committed model yet: rayograph run trains one.");
    else if (takes?.model !== place.model.value) await chooseModel();
  } catch (refusal) {
    problem(byId("submit-error"), refusal.message);
  }
}

/** Rows are of what the model takes, so another model begins with a new one. */
async function chooseModel() {
  const model = byId("submit-form").model.value;
  byId("row-list").replaceChildren();
  const found = await ask(`/v1/models/${encodeURI(model)}`);
  if (model !== byId("submit-form").model.value) return;
  takes = { ...found, model };
  addRow();
}

function addRow() {
  if (takes === null) return;
  const input = (label, name, more) => element("label", {}, label, element("input", { name, autocomplete: "off", ...more }));
  const remove = element("button", { type: "button", "aria-label": "Remove this row" }, "×");
  const fields = takes.takes.map((field) => [field.column, conditionField(field, takes.side)]);
  const row = element("li", {},
    ...fields.map(([, { node }]) => node),
    input("Count", "row-count", { type: "number", min: 1, value: "4" }),
    input("Seed", "row-seed", { inputMode: "numeric", pattern: "[0-9]*", placeholder: "as below" }),
    remove);
  controls.set(row, fields);
  remove.addEventListener("click", () => row.remove());
  byId("row-list").append(row);
}

function rowOf(item) {
  const value = (name) => item.querySelector(`[name="row-${name}"]`).value.trim();
  const row = { count: Number(value("count")) };
  for (const [column, { read }] of controls.get(item)) {
    const said = read();
    if (said !== undefined) row[column] = said;
  }
  if (value("seed") !== "") row.seed = value("seed"); // text: a seed may have more digits than a number here keeps
  return row;
}

async function send(event) {
  event.preventDefault();
  const form = event.target;
  const body = {
    model: form.model.value,
    name: form.name.value,
    seed: form.seed.value,
    priority: Number(form.priority.value),
    sampler: {
      scheduler: form.scheduler.value,
      num_inference_steps: Number(form.num_inference_steps.value),
      guidance_scale: Number(form.guidance_scale.value),
    },
    image: { kind: form.kind.value },
  };
  if (form.what.value === "rows") body.rows = [...byId("row-list").children].map(rowOf);
  if (form.what.value === "number") body.num_samples = Number(form.num_samples.value);
  if (form.what.value === "file") body.request_uri = form.request_uri.value;
  try {
    const { job } = await ask("/v1/jobs", "POST", body);
    byId("submit").close();
    location.hash = linkTo(job.id);
  } catch (refusal) {
    problem(byId("submit-error"), refusal.message);
  }
}

export function wireSubmit() {
  const form = byId("submit-form");
  byId("new-job").addEventListener("click", openSubmit);
  byId("add-row").addEventListener("click", addRow);
  form.addEventListener("submit", send);
  form.model.addEventListener("change", () => chooseModel().catch((refusal) => problem(byId("submit-error"), refusal.message)));
  form.addEventListener("change", () => {
    byId("rows").hidden = form.what.value !== "rows";
    byId("number").hidden = form.what.value !== "number";
    byId("file").hidden = form.what.value !== "file";
  });
}
