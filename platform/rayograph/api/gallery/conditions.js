// What a model takes, as fields of a form: one a column, of the kind that the app says.

import { boxesField } from "./boxes.js";
import { element } from "./dom.js";
import { paintedField, pictureField } from "./pictures.js";

const MOST_LISTED = 500;
const labels = (name) => name.replaceAll("_", " ").replace(/^./, (letter) => letter.toUpperCase());

/** A field's place in a form, and read(), what it says: undefined for nothing. */
export function conditionField(field, side) {
  const label = labels(field.column) + (field.required ? "" : " (if any)");
  switch (field.kind) {
    case "class":
      return chosen(field, label);
    case "boxes":
      return boxesField(field, label);
    case "image":
      return pictureField(field, label, side);
    case "map":
    case "mask":
      return paintedField(field, label, side);
    default:
      return written(field, label);
  }
}

function chosen(field, label) {
  const name = `row-${field.column}`;
  if (!field.names.length || field.names.length > MOST_LISTED) return written({ ...field, kind: "text", most: null }, label);
  const select = element("select", { name }, ...field.names.map((one) => element("option", { value: one }, one)));
  return { node: element("label", {}, label, select), read: () => select.value };
}

function written(field, label) {
  const input = element("input", { name: `row-${field.column}`, autocomplete: "off" });
  if (field.most) input.maxLength = field.most;
  const read = () => {
    const text = input.value.trim();
    if (text === "") return undefined;
    if (field.kind !== "json") return text;
    try {
      return JSON.parse(text);
    } catch {
      return text; // which the app refuses by the field's name
    }
  };
  return { node: element("label", { className: "wide" }, label, input), read };
}
