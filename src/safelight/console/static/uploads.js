// The upload queue: a few files at a time, a bar for each, and for what is refused the server's own words.

import { Refusal, ask, upload } from "./api.js";
import { bytes, element } from "./elements.js";

const AT_ONCE = 3;
const SHOWN_AFTER_MS = 4000; // a finished row stays that long
const LOOK_AGAIN_MS = 1000;

/**
 * @param parts elements: panel, title, list, close
 * @param told `ready(image)` when an image can be shown, `unauthenticated(refusal)` when the key is not taken any more
 * @returns `add(files)`
 */
export function uploadQueue({ panel, title, list, close }, told) {
  const waiting = [];
  const counts = { added: 0, done: 0, refused: 0, running: 0 };

  const count = () => {
    const ended = counts.done + counts.refused;
    const outcome = [counts.done && `${counts.done} uploaded`, counts.refused && `${counts.refused} refused`].filter(Boolean);
    title.textContent = ended < counts.added ? `Uploading ${ended + 1} of ${counts.added}` : outcome.join(", ");
    panel.hidden = !list.children.length;
    if (panel.hidden) Object.assign(counts, { added: 0, done: 0, refused: 0 });
  };

  const remove = (row) => {
    const hadFocus = row.contains(document.activeElement);
    row.remove();
    count();
    if (hadFocus) (list.querySelector("button") ?? close).focus();
  };

  function rowFor(file) {
    const state = element("span", { class: "state" }, "Waiting");
    const bar = element("progress", { max: 1, value: 0, "aria-label": `Upload of ${file.name}` });
    const row = element(
      "li",
      { class: "upload" },
      element("span", { class: "name", title: file.name }, file.name),
      element("span", { class: "size" }, bytes(file.size)),
      bar,
      state,
    );
    list.append(row);
    return {
      row,
      say: (text) => (state.textContent = text),
      progress(done) {
        bar.value = done;
        state.textContent = done < 1 ? `${Math.floor(done * 100)} %` : "Developing…";
        if (done === 1) bar.removeAttribute("value"); // nobody knows how long: a bar without an end
      },
      refuse(refusal) {
        row.classList.add("refused");
        bar.remove();
        list.prepend(row); // what needs somebody's eye comes before what went well
        state.replaceChildren(refusal.message, " ", element("code", {}, refusal.code));
        const again = refusal.isPassing && element("button", { class: "plain", type: "button", onclick: () => retry() }, "Try again");
        const dismiss = element("button", { class: "plain", type: "button", onclick: () => remove(row) }, "Dismiss");
        const retry = () => {
          counts.refused--;
          counts.added--;
          row.remove();
          add([file]);
        };
        row.append(element("span", { class: "actions" }, again || null, dismiss));
      },
      finish(text) {
        row.classList.add("done");
        bar.remove();
        state.textContent = text;
        setTimeout(() => remove(row), SHOWN_AFTER_MS);
      },
    };
  }

  async function settled(image) {
    while (image.status === "developing") {
      await new Promise((resolve) => setTimeout(resolve, LOOK_AGAIN_MS));
      image = await ask(`/images/${image.id}`);
    }
    if (image.problem) throw new Refusal(422, image.problem.code, image.problem.detail);
    return image;
  }

  async function send({ file, shown }) {
    counts.running++;
    try {
      const accepted = await upload(file, shown.progress);
      const image = await settled(accepted);
      counts.done++;
      shown.finish(accepted.duplicate_of ? "Done. You already had this one." : "Done");
      told.ready(image);
    } catch (error) {
      const refusal = error instanceof Refusal ? error : new Refusal(0, "unexpected", String(error));
      counts.refused++;
      shown.refuse(refusal);
      if (refusal.status === 401) told.unauthenticated(refusal);
    } finally {
      counts.running--;
      count();
      pump();
    }
  }

  function pump() {
    while (counts.running < AT_ONCE && waiting.length) {
      const job = waiting.shift();
      job.shown.say("0 %");
      send(job);
    }
  }

  function add(files) {
    for (const file of files) {
      waiting.push({ file, shown: rowFor(file) });
      counts.added++;
    }
    count();
    pump();
  }

  close.addEventListener("click", () => {
    for (const row of list.querySelectorAll(".done, .refused")) row.remove();
    count();
  });
  addEventListener("beforeunload", (event) => {
    if (counts.running || waiting.length) event.preventDefault();
  });
  return { add };
}
