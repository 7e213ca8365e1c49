// The little that every part of the page needs: elements, requests, numbers for people.

export const byId = (id) => document.getElementById(id);

/** An element with properties and children. Text is only ever text: prompts are written by strangers. */
export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in made) made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child !== null && child !== ""));
  return made;
}

/** Sets text only where it differs, so that nothing flickers and screen readers stay calm. */
export function say(target, text) {
  if (target.textContent !== text) target.textContent = text;
}

/** Shows a line, or hides its place for none. */
export function problem(target, text) {
  target.hidden = !text;
  say(target, text ?? "");
}

export class Refusal extends Error {
  constructor(status, line) {
    super(line);
    this.status = status;
  }
}

/** A JSON answer; throws Refusal with the app's own line. Status 0 is no answer at all. */
export async function ask(path, method = "GET", body = undefined) {
  let answer;
  try {
    const headers = body === undefined ? {} : { "content-type": "application/json" };
    answer = await fetch(path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) });
  } catch {
    throw new Refusal(0, "the app does not answer");
  }
  const text = await answer.text();
  let told;
  try {
    told = text === "" ? null : JSON.parse(text);
  } catch {
    throw new Refusal(answer.status, "the app did not answer in JSON");
  }
  if (!answer.ok) throw new Refusal(answer.status, told?.error ?? `status ${answer.status}`);
  return told;
}

export const count = (number) => number.toLocaleString("en");

export function duration(seconds) {
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${String(whole % 60).padStart(2, "0")} s`;
  return `${count(Math.floor(whole / 3600))} h ${String(Math.floor((whole % 3600) / 60)).padStart(2, "0")} min`;
}

export const rate = (perSecond) => perSecond.toLocaleString("en", { maximumSignificantDigits: 3 });

export const moment = (iso) => new Date(iso).toLocaleString([], { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
