// Boxes with a label each: drawn on a canvas with the mouse, or written as per cent of the image with the keys.

import { element } from "./dom.js";

const SIDE = 240;
const EDGES = ["left", "top", "right", "bottom"];

export function boxesField(field, label) {
  const canvas = element("canvas", { width: SIDE, height: SIDE, className: "drawing", role: "img" });
  const list = element("ol", { className: "boxes" });
  const add = element("button", { type: "button" }, "Add a box");
  const label0 = labelInput(field);
  label0.name = "box-label";
  let boxes = []; // {label, box: [left, top, right, bottom]} from 0 to 1
  let from = null;

  const put = (box) => {
    if (field.most && boxes.length >= field.most) return;
    boxes.push({ label: label0.value, box });
    show();
  };
  const show = () => {
    list.replaceChildren(...boxes.map(item));
    draw();
  };
  const draw = (under = null) => {
    const pen = canvas.getContext("2d");
    pen.clearRect(0, 0, SIDE, SIDE);
    pen.strokeStyle = pen.fillStyle = getComputedStyle(canvas).color;
    for (const { label: text, box } of under ? [...boxes, under] : boxes) {
      const [left, top, right, bottom] = box.map((edge) => edge * SIDE);
      pen.strokeRect(left, top, right - left, bottom - top);
      pen.fillText(text, left + 3, top + 12);
    }
    canvas.setAttribute("aria-label", boxes.length ? boxes.map((one) => one.label).join(", ") : "No boxes yet");
  };
  const item = (one, number) => {
    const edges = EDGES.map((edge, place) => {
      const input = element("input", { type: "number", min: 0, max: 100, step: 1, value: String(Math.round(one.box[place] * 100)) });
      input.setAttribute("aria-label", `Box ${number + 1}, ${edge}, per cent`);
      input.addEventListener("change", () => {
        one.box[place] = Number(input.value) / 100;
        draw();
      });
      return input;
    });
    const text = labelInput(field);
    text.value = one.label;
    text.setAttribute("aria-label", `Box ${number + 1}, label`);
    text.addEventListener("change", () => {
      one.label = text.value;
      draw();
    });
    const remove = element("button", { type: "button", "aria-label": `Remove box ${number + 1}` }, "×");
    remove.addEventListener("click", () => {
      boxes = boxes.filter((other) => other !== one);
      show();
    });
    return element("li", {}, text, ...edges, remove);
  };
  const at = (event) => {
    const place = canvas.getBoundingClientRect();
    const within = (value) => Math.min(1, Math.max(0, value));
    return [within((event.clientX - place.left) / place.width), within((event.clientY - place.top) / place.height)];
  };
  const spanned = (to) => [Math.min(from[0], to[0]), Math.min(from[1], to[1]), Math.max(from[0], to[0]), Math.max(from[1], to[1])];
  canvas.addEventListener("pointerdown", (event) => {
    from = at(event);
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => from && draw({ label: label0.value, box: spanned(at(event)) }));
  canvas.addEventListener("pointerup", (event) => {
    if (!from) return;
    const box = spanned(at(event));
    from = null;
    if (box[2] - box[0] > 0.01 && box[3] - box[1] > 0.01) put(box);
    else draw();
  });
  add.addEventListener("click", () => put([0.25, 0.25, 0.75, 0.75]));
  draw();
  const node = element("fieldset", { className: "condition" }, element("legend", {}, label), element("label", {}, "Label of the next box", label0), canvas, add, list);
  const round = (edge) => Math.round(edge * 1e4) / 1e4;
  const read = () => (boxes.length || field.required ? boxes.map(({ label: text, box }) => ({ label: named(field, text), box: box.map(round) })) : undefined);
  return { node, read };
}

/** Labels that are counted and have no names are numbers. */
const numbered = (field) => !field.names.length && field.count !== null;
const named = (field, text) => (numbered(field) ? Number(text) : text);

function labelInput(field) {
  if (field.names.length) return element("select", {}, ...field.names.map((one) => element("option", { value: one }, one)));
  if (numbered(field)) return element("input", { type: "number", min: 0, max: field.count - 1, value: "0" });
  return element("input", { value: "", autocomplete: "off" });
}
