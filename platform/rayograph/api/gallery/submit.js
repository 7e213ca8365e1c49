// The form that begins a job. What it cannot know, the app refuses in one line, shown here.

import { ask, byId, element, problem } from "./dom.js";
import { linkTo } from "./jobs.js";

let models = [];

export async function openSubmit() {
  const form = byId("submit-form");
  problem(byId("submit-error"), null);
  byId("submit").showModal();
  try {
    models = await ask("/v1/models");
    const chosen = form.model.value;
    form.model.replaceChildren(...models.map((model) => element("option", { value: model.name }, model.name)));
    if (models.some((model) => model.name === chosen)) form.model.value = chosen;
    if (!models.length) problem(byId("submit-error"), "This store holds no committed model yet: rayograph run trains one.");
    if (!byId("row-list").children.length) addRow();
  } catch (refusal) {
    problem(byId("submit-error"), refusal.message);
  }
}

function addRow() {
  const field = (label, name, more = {}) => element("label", {}, label, element("input", { name, autocomplete: "off", ...more }));
  const classes = models.find((model) => model.name === byId("submit-form").model.value)?.class_names ?? [];
  const remove = element("button", { type: "button", "aria-label": "Remove this row" }, "×");
  const row = element("li", {},
    field("Class", "row-class", { placeholder: classes[0] ?? "" }),
    field("Prompt", "row-prompt"),
    field("Count", "row-count", { type: "number", min: 1, value: "4" }),
    field("Seed", "row-seed", { inputMode: "numeric", pattern: "[0-9]*", placeholder: "as below" }),
    remove);
  remove.addEventListener("click", () => row.remove());
  byId("row-list").append(row);
}

function rowOf(item) {
  const value = (name) => item.querySelector(`[name="row-${name}"]`).value.trim();
  const row = { count: Number(value("count")) };
  if (value("class") !== "") row.class = value("class");
  if (value("prompt") !== "") row.prompt = value("prompt");
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
  form.addEventListener("change", () => {
    byId("rows").hidden = form.what.value !== "rows";
    byId("number").hidden = form.what.value !== "number";
    byId("file").hidden = form.what.value !== "file";
  });
}
