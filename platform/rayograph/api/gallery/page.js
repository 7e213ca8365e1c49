// What is shown when: the address says which job, and a look every two seconds says how far it is.

import { ask, byId, problem, say } from "./dom.js";
import { chooseJob, refresh, wireImages } from "./images.js";
import { showHead, showJobs, wireHead } from "./jobs.js";
import { wireSubmit } from "./submit.js";
import { openImage, wireView } from "./view.js";

const EVERY_MS = 2000;
let timer = 0;
let looking = false;

const chosen = () => decodeURIComponent(location.hash.match(/^#\/job\/(.+)$/)?.[1] ?? "");

async function look() {
  clearTimeout(timer);
  if (looking || document.visibilityState !== "visible") return;
  looking = true;
  try {
    const { jobs } = await ask("/v1/jobs");
    const id = chosen();
    showJobs(jobs, id);
    if (id) {
      const job = jobs.find((one) => one.id === id) ?? (await ask(`/v1/jobs/${encodeURIComponent(id)}`));
      if (id === chosen()) {
        showHead(job);
        await refresh(job);
      }
    }
    say(byId("trouble"), "");
  } catch (refusal) {
    if (refusal.status === 401) signIn();
    else say(byId("trouble"), refusal.message);
  } finally {
    looking = false;
    timer = setTimeout(look, EVERY_MS);
  }
}

async function route() {
  const id = chosen();
  document.body.classList.toggle("chosen", id !== "");
  byId("job").hidden = id === "";
  byId("nothing").hidden = id !== "";
  document.title = id ? `${id.split("~")[0]} · rayograph` : "Gallery · rayograph";
  if (id && byId("job").dataset.id !== id) {
    byId("job").dataset.id = id;
    await chooseJob(id);
  }
  if (!id) delete byId("job").dataset.id;
  look();
}

function signIn() {
  if (!byId("sign-in").open) byId("sign-in").showModal();
}

function wireSession() {
  byId("sign-in").addEventListener("cancel", (event) => event.preventDefault()); // there is nothing behind it
  byId("sign-in-form").addEventListener("submit", async (event) => {
    event.preventDefault();
    try {
      await ask("/v1/session", "POST", { token: event.target.token.value.trim() });
      event.target.reset();
      problem(byId("sign-in-error"), null);
      byId("sign-in").close();
      delete byId("job").dataset.id;
      route();
    } catch (refusal) {
      problem(byId("sign-in-error"), refusal.message);
    }
  });
  byId("sign-out").addEventListener("click", async () => {
    await ask("/v1/session", "DELETE");
    location.reload();
  });
}

for (const button of document.querySelectorAll("dialog .close")) {
  button.addEventListener("click", () => button.closest("dialog").close());
}
wireHead();
wireImages((number) => openImage(chosen(), number));
wireView();
wireSubmit();
wireSession();
addEventListener("hashchange", route);
document.addEventListener("visibilitychange", look);
ask("/v1/session").then(({ token_required }) => (byId("sign-out").hidden = !token_required), () => {});
route();
