// One photograph, large, with what is known of it and the addresses of its renditions.

import { here, original } from "./api.js";
import { bytes, cameraTime, element, localTime, nameOf } from "./elements.js";
import { placeholder } from "./thumbhash.js";

/** WebP renditions as a `srcset`, each width once; and the address for browsers that take none. */
export function sources(image) {
  // Sizes of a recipe's own may show a part, or another shape.
  const whole = image.renditions.filter(
    ({ width, height }) => Math.abs(width * image.height - height * image.width) <= Math.max(image.width, image.height),
  );
  const webp = whole.filter((rendition) => rendition.format === "webp");
  const byWidth = new Map((webp.length ? webp : whole).map((rendition) => [rendition.width, rendition]));
  const jpeg = image.renditions.find((rendition) => rendition.preset === "medium" && rendition.format === "jpeg");
  return {
    srcset: [...byWidth].map(([width, rendition]) => `${here(rendition.url)} ${width}w`).join(", "),
    src: here((jpeg ?? [...byWidth.values()].at(-1))?.url ?? ""),
  };
}

/** When the addresses of a private image stop working, in milliseconds since 1970; never for others. */
export function expiry(image) {
  const seconds = new URLSearchParams(image.renditions[0]?.url.split("?")[1]).get("exp");
  return seconds ? Number(seconds) * 1000 : Infinity;
}

async function copied(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  // Over plain HTTP, but for localhost, browsers hide the clipboard; the old way still works inside the open dialog.
  const field = element("textarea", { readonly: true, class: "offstage" });
  field.value = text;
  document.querySelector("dialog[open]").append(field);
  field.select();
  const isDone = document.execCommand("copy");
  field.remove();
  if (!isDone) throw new Error("no clipboard");
}

function copyButton(rendition) {
  const { preset, format } = rendition;
  const button = element(
    "button",
    { class: "copy", type: "button", title: bytes(rendition.bytes), "aria-label": `Copy URL of ${preset}, ${format}` },
    format,
  );
  button.addEventListener("click", async () => {
    try {
      await copied(rendition.url);
      button.textContent = "copied";
    } catch {
      button.textContent = "failed";
    }
    setTimeout(() => (button.textContent = format), 1500);
  });
  return button;
}

function addresses(image) {
  const presets = new Map();
  for (const rendition of image.renditions) {
    if (!presets.has(rendition.preset)) presets.set(rendition.preset, []);
    presets.get(rendition.preset).push(rendition);
  }
  const rows = [...presets].map(([preset, renditions]) =>
    element(
      "tr",
      {},
      element("th", { scope: "row" }, preset),
      element("td", {}, `${renditions[0].width} × ${renditions[0].height}`),
      element("td", {}, ...renditions.map(copyButton)),
    ),
  );
  const isPrivate = Number.isFinite(expiry(image));
  const until = isPrivate && new Date(expiry(image)).toLocaleTimeString(undefined, { timeStyle: "short" });
  return [
    element("h2", {}, "Copy a URL"),
    element("table", { class: "renditions" }, element("tbody", {}, ...rows)),
    until ? element("p", { class: "note" }, `This photograph is private: these URLs are signed and work until ${until}.`) : null,
  ];
}

/** `show(image)` fills and opens the dialog. `told`: `trash(image)`, `step(image, ±1)`, `tag(tag)`, `failed(refusal)`, `closed(id)`. */
export function lightbox(dialog, told) {
  let shown = null;

  const fact = (name, ...value) => (value.some(Boolean) ? [element("dt", {}, name), element("dd", {}, ...value)] : []);

  async function download() {
    const image = shown;
    try {
      const address = URL.createObjectURL(await original(image.id));
      element("a", { href: address, download: image.file_name || image.id }).click();
      setTimeout(() => URL.revokeObjectURL(address), 60_000);
    } catch (refusal) {
      told.failed(refusal);
    }
  }

  function stage(image) {
    const frame = element("div", { class: "large" });
    frame.style.setProperty("--ratio", image.width / image.height);
    frame.style.setProperty("--full", `${image.width}px`);
    frame.style.backgroundColor = image.dominant_color;
    const picture = element("img", { alt: nameOf(image), sizes: "(min-width: 860px) calc(100vw - 22rem), 100vw" });
    const blurred = placeholder(image.thumbhash);
    picture.addEventListener("load", () => {
      frame.style.backgroundColor = "";
      blurred?.remove();
    });
    picture.addEventListener("error", () => frame.classList.add("lost"));
    Object.assign(picture, sources(image));
    frame.append(...[blurred, picture].filter(Boolean));
    return element("div", { class: "stage" }, frame);
  }

  function fill(image) {
    const button = (label, text, action, className = "round") =>
      element("button", { class: className, type: "button", "aria-label": label, title: label, onclick: action }, text);
    dialog.replaceChildren(
      stage(image),
      element(
        "div",
        { class: "controls" },
        button("Previous photograph", "‹", () => told.step(shown, -1), "round previous"),
        button("Next photograph", "›", () => told.step(shown, +1), "round next"),
        button("Close", "×", () => dialog.close(), "round close"),
      ),
      element(
        "div",
        { class: "about" },
        element("h1", { id: "lightbox-title" }, nameOf(image)),
        element("p", { class: "description" }, image.description),
        element(
          "dl",
          {},
          ...fact("Taken", image.taken_at && element("time", { datetime: image.taken_at }, cameraTime(image.taken_at))),
          ...fact("Camera", image.camera),
          ...fact("Place", image.place),
          ...fact("Size", `${image.width} × ${image.height}, ${bytes(image.bytes)}, ${image.type.replace("image/", "")}`),
          ...fact("File", image.title && image.file_name),
          ...fact("Added", element("time", { datetime: image.created_at }, localTime(image.created_at))),
        ),
        element(
          "div",
          { class: "chips" },
          ...image.tags.map((tag) => element("button", { class: "chip", type: "button", onclick: () => told.tag(tag) }, tag)),
        ),
        ...addresses(image).filter(Boolean),
        element(
          "div",
          { class: "actions" },
          element("button", { type: "button", onclick: download }, "Download original"),
          element("button", { type: "button", class: "danger", onclick: () => told.trash(shown) }, "Move to trash"),
        ),
      ),
    );
  }

  dialog.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: +1 }[event.key];
    if (step && !event.altKey && !event.ctrlKey && !event.metaKey) told.step(shown, step);
  });
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog || event.target.classList.contains("stage")) dialog.close();
  });
  dialog.addEventListener("close", () => {
    const { id } = shown;
    shown = null;
    dialog.replaceChildren();
    told.closed(id);
  });

  return {
    show(image) {
      const focused = ["previous", "next"].find((name) => document.activeElement?.classList.contains(name));
      shown = image;
      fill(image);
      if (!dialog.open) dialog.showModal();
      dialog.querySelector(focused ? `.${focused}` : ".close").focus();
    },
    close: () => dialog.open && dialog.close(),
  };
}
