// Images, maps and masks: dropped in or chosen as files; maps and masks can be painted too.

import { element, problem } from "./dom.js";
import { greyPng } from "./png.js";

const MOST_BYTES = 400_000; // of a file that is sent as it is: a submission's body is 1 MiB
const MOST_PAINTED = 256;

export function pictureField(field, label, side) {
  const file = element("input", { type: "file", accept: "image/*", name: `row-${field.column}` });
  const preview = element("img", { alt: `${label}: none yet`, className: "given", hidden: true });
  const told = element("p", { className: "told", role: "status", hidden: true });
  const node = element("fieldset", { className: "condition drop" }, element("legend", {}, label), element("label", {}, "Choose, or drop in here", file), preview, told);
  let value;
  const take = async (given) => {
    value = undefined;
    problem(told, null);
    if (!given) return;
    try {
      const kept = given.size <= MOST_BYTES ? given : await smaller(given, field.kind === "image" ? side : MOST_PAINTED);
      if (kept !== given) problem(told, "Larger than a submission holds: sent made smaller.");
      value = await dataUrl(kept);
      URL.revokeObjectURL(preview.src);
      preview.src = URL.createObjectURL(kept);
      preview.alt = `${label}: ${given.name}`;
      preview.hidden = false;
    } catch {
      problem(told, `${given.name}: no image that this browser reads.`);
      preview.hidden = true;
    }
  };
  file.addEventListener("change", () => take(file.files[0]));
  node.addEventListener("dragover", (event) => event.preventDefault());
  node.addEventListener("drop", (event) => {
    event.preventDefault();
    take(event.dataTransfer.files[0]);
  });
  return { node, read: () => value };
}

/** A picture, or what is painted: of a mask white is the hole, of a map a pixel is a label's number. */
export function paintedField(field, label, side) {
  const picture = pictureField(field, label, side);
  const size = Math.min(side, MOST_PAINTED);
  const canvas = element("canvas", { width: size, height: size, className: "drawing", tabIndex: 0, role: "img" });
  canvas.setAttribute("aria-label", `${label}, to paint: arrow keys move, space paints`);
  const names = field.kind === "mask" ? ["keep", "hole"] : field.names.length ? field.names : Array.from({ length: field.count ?? 2 }, (_, number) => String(number));
  const brush = element("select", { name: `paint-${field.column}` }, ...names.map((one, number) => element("option", { value: String(number) }, one)));
  if (field.kind === "mask") brush.value = "1";
  const width = element("input", { type: "range", min: 1, max: Math.max(2, Math.round(size / 3)), value: String(Math.max(1, Math.round(size / 10))) });
  const fill = element("button", { type: "button" }, "Fill");
  const clear = element("button", { type: "button" }, "Clear");
  const numbers = new Uint8Array(size * size);
  let painted = false;
  let url;
  let cursor = [size / 2, size / 2];
  let down = false;

  const shades = (number) => (field.kind === "mask" ? (number ? "#fff" : "#000") : `hsl(${(number * 137.5) % 360} 65% ${number ? 55 : 12}%)`);
  const show = () => {
    const pen = canvas.getContext("2d");
    for (let y = 0; y < size; y++) {
      for (let x = 0; x < size; x++) {
        pen.fillStyle = shades(numbers[y * size + x]);
        pen.fillRect(x, y, 1, 1);
      }
    }
  };
  const settle = async () => {
    painted = true;
    url = undefined;
    const values = field.kind === "mask" ? numbers.map((number) => (number ? 255 : 0)) : numbers;
    url = await dataUrl(await greyPng(values, size, size));
  };
  const dab = ([x, y]) => {
    const radius = Number(width.value) / 2;
    const pen = canvas.getContext("2d");
    pen.fillStyle = shades(Number(brush.value));
    for (let row = Math.max(0, Math.floor(y - radius)); row < Math.min(size, y + radius); row++) {
      for (let column = Math.max(0, Math.floor(x - radius)); column < Math.min(size, x + radius); column++) {
        if ((column + 0.5 - x) ** 2 + (row + 0.5 - y) ** 2 > radius ** 2) continue;
        numbers[row * size + column] = Number(brush.value);
        pen.fillRect(column, row, 1, 1);
      }
    }
  };
  const at = (event) => {
    const place = canvas.getBoundingClientRect();
    return [((event.clientX - place.left) / place.width) * size, ((event.clientY - place.top) / place.height) * size];
  };
  canvas.addEventListener("pointerdown", (event) => {
    down = true;
    canvas.setPointerCapture(event.pointerId);
    dab(at(event));
  });
  canvas.addEventListener("pointermove", (event) => down && dab(at(event)));
  canvas.addEventListener("pointerup", () => {
    down = false;
    settle();
  });
  canvas.addEventListener("keydown", (event) => {
    const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    if (event.key in steps) cursor = cursor.map((value, axis) => Math.min(size, Math.max(0, value + (steps[event.key][axis] * size) / 16)));
    else if (event.key === " ") {
      dab(cursor);
      settle();
    } else return;
    event.preventDefault();
  });
  fill.addEventListener("click", () => {
    numbers.fill(Number(brush.value));
    show();
    settle();
  });
  clear.addEventListener("click", () => {
    numbers.fill(0);
    painted = false;
    url = undefined;
    show();
  });
  show();
  picture.node.append(element("label", {}, "Or paint", brush), canvas, element("label", {}, "Brush", width), element("p", { className: "actions" }, fill, clear));
  return { node: picture.node, read: () => (painted ? url : picture.read()) };
}

async function smaller(file, side) {
  const bitmap = await createImageBitmap(file);
  const scale = Math.min(1, side / Math.max(bitmap.width, bitmap.height));
  const canvas = element("canvas", { width: Math.max(1, Math.round(bitmap.width * scale)), height: Math.max(1, Math.round(bitmap.height * scale)) });
  canvas.getContext("2d").drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
}

function dataUrl(blob) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.addEventListener("load", () => resolve(reader.result));
    reader.addEventListener("error", () => reject(reader.error));
    reader.readAsDataURL(blob);
  });
}
