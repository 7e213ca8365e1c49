// The list of jobs, and one job's head: how far it is, what it cost, what went wrong.

import { ask, byId, count, duration, element, moment, problem, rate, say } from "./dom.js";

export const linkTo = (id) => `#/job/${encodeURIComponent(id)}`;

export function showJobs(jobs, chosen) {
  const list = byId("jobs");
  const known = new Map([...list.children].map((item) => [item.dataset.id, item]));
  jobs.forEach((job, place) => {
    const item = known.get(job.id) ?? newItem(job);
    known.delete(job.id);
    const link = item.firstElementChild;
    if (job.id === chosen) link.setAttribute("aria-current", "true");
    else link.removeAttribute("aria-current");
    const [, phase, bar, told] = link.children;
    say(phase, word(job));
    phase.className = `phase ${job.silent_since ? "silent" : job.phase}`;
    bar.value = share(job);
    say(told, inShort(job));
    if (list.children[place] !== item) list.insertBefore(item, list.children[place] ?? null);
  });
  known.forEach((item) => item.remove());
  byId("no-jobs").hidden = jobs.length > 0;
}

function newItem(job) {
  const link = element("a", { href: linkTo(job.id) });
  link.append(
    element("span", { className: "name" }, job.job),
    element("span", { className: "phase" }),
    element("progress", { max: 1, "aria-hidden": "true" }),
    element("span", { className: "told" }),
  );
  const item = element("li", {}, link);
  item.dataset.id = job.id;
  return item;
}

let shown = "";

export function showHead(job) {
  say(byId("job-title"), job.job);
  say(byId("job-where"), job.uri);
  byId("job-progress").value = share(job);
  const silent = job.silent_since && `Silent since ${moment(job.silent_since)}: nothing was heard of it for over a minute. Its coordinator, or the cluster, has gone.`;
  problem(byId("job-error"), job.error ?? silent);
  const stands = ["failed", "interrupted"].includes(job.phase) || Boolean(job.silent_since);
  byId("pause").hidden = job.committed || job.wanted !== "running" || stands;
  byId("resume").hidden = job.committed || (job.wanted === "running" && !stands);
  byId("cancel").hidden = job.committed || job.wanted === "cancelled";
  const told = figures(job);
  const text = JSON.stringify(told);
  if (text === shown) return; // what somebody has just marked with the mouse stays marked
  shown = text;
  byId("figures").replaceChildren(...told.map(figure));
}

const control = (what) => async () => {
  const id = byId("job").dataset.id;
  try {
    showHead(await ask(`/v1/jobs/${id}/${what}`, "POST"));
  } catch (refusal) {
    problem(byId("job-error"), refusal.message);
  }
};

export function wireHead() {
  for (const what of ["pause", "resume", "cancel"]) byId(what).addEventListener("click", control(what));
}

function figures(job) {
  const going = job.phase === "running" && !job.silent_since;
  const found = [
    ["Drawn", count(job.samples), `of ${job.total_samples ? count(job.total_samples) : "…"} · ${word(job)}`],
    ["Images a second", going && job.images_per_second !== null ? rate(job.images_per_second) : "–", `${count(job.replicas)} ${job.replicas === 1 ? "replica" : "replicas"} · priority ${job.priority}`],
    ["Time left", going && job.seconds_left !== null ? duration(job.seconds_left) : "–", job.started ? `since ${moment(job.started)}` : ""],
    ["Cost", job.money === null ? duration(job.device_seconds) : rate(job.money), job.money === null ? "of device time" : `${duration(job.device_seconds)} of device time`],
    ["Failures", count(job.dead.length), `${job.dead.length === 1 ? "dead letter" : "dead letters"} · ${count(job.lost)} sent again`, job.dead.length > 0],
    ["Sampler", `${job.num_inference_steps} steps`, `${job.scheduler} · guidance ${job.guidance_scale} · seed ${job.seed}`],
  ];
  return found;
}

function figure([label, value, beside, bad = false]) {
  return element("div", { className: bad ? "bad" : "" }, element("dt", {}, label), element("dd", {}, value, element("small", {}, beside)));
}

function word(job) {
  if (job.silent_since) return "silent";
  if (!job.committed && job.wanted === "paused" && job.phase === "running") return "pausing";
  if (!job.committed && job.wanted === "cancelled" && job.phase !== "cancelled") return "cancelling";
  return job.phase;
}

function inShort(job) {
  const parts = [job.total_samples ? `${count(job.samples)} of ${count(job.total_samples)}` : "not planned yet"];
  if (job.silent_since) parts.push(`silent since ${moment(job.silent_since)}`);
  else if (job.phase === "running") {
    if (job.images_per_second !== null) parts.push(`${rate(job.images_per_second)}/s`);
    if (job.seconds_left !== null) parts.push(`${duration(job.seconds_left)} left`);
  }
  else if (job.updated) parts.push(moment(job.updated));
  if (job.dead.length) parts.push(`${count(job.dead.length)} failed`);
  return parts.join(" · ");
}

const share = (job) => (job.total_samples ? job.samples / job.total_samples : 0);
