// Making elements. Text is always a text node here, so that nothing a file or a person is called can become markup.

/** An element with properties, `class`, `data-*`, `aria-*` and other attributes, and its children (nodes or text). */
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value === true) made.setAttribute(key, "");
    else if (value !== false && value != null) made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child != null && child !== ""));
  return made;
}

/** "4.2 MB": decimal units, as disks and phones count. */
export function bytes(count) {
  const units = ["B", "kB", "MB", "GB"];
  const unit = Math.min(units.length - 1, Math.floor(Math.log10(Math.max(1, count)) / 3));
  const amount = count / 1000 ** unit;
  return `${unit && amount < 10 ? amount.toFixed(1) : Math.round(amount)} ${units[unit]}`;
}

/** The clock of the camera, which seldom knew its zone; so it is shown as it was written down. */
export const cameraTime = (iso) =>
  new Date(iso).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short", timeZone: "UTC" });

/** A moment on our own clock, in the reader's zone. */
export const localTime = (iso) => new Date(iso).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });

/** What to call an image: its title, else its file's name. */
export const nameOf = (image) => image.title || image.file_name || "Untitled";
