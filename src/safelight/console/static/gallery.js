// The gallery: newest photographs first, found by words and tags, looked at one by one, uploaded by dropping them.

import { Refusal, ask, key } from "./api.js";
import { element, nameOf } from "./elements.js";
import { expiry, lightbox, sources } from "./lightbox.js";
import { marked } from "./marks.js";
import { justified, shownRatio } from "./rows.js";
import { placeholder } from "./thumbhash.js";
import { uploadQueue } from "./uploads.js";

const PAGE = 48;
const TAGS = 24;
const TYPING_MS = 250;
const AHEAD = "900px"; // how far below the fold the next page is asked for
const LOOK_AGAIN_MS = 2000;
const FRESH_MS = 10 * 60_000;
const TOLD_MS = 6000;

const part = Object.fromEntries([...document.querySelectorAll("[id]")].map((node) => [node.id, node]));

/** What is looked for; it is in the address, so that a reload and a bookmark find it again. */
const wanted = { q: "", tag: new Set(), type: "", year: "" };
const isNarrowed = () => Boolean(wanted.q || wanted.tag.size || wanted.type || wanted.year);

/** What is shown: `{ image, item, picture }` by id, in the order of the page. */
let shown = new Map();
let cursor = null;
let total = null; // of what is looked for; lists without words are not counted
let isTotalExact = true; // false: at least so many
let corrected = null;
let loading = null; // the AbortController of the list that is being read

// ---- reading lists

function parameters() {
  const asked = new URLSearchParams();
  if (wanted.q) asked.set("q", wanted.q);
  for (const tag of wanted.tag) asked.append("tag", tag);
  if (wanted.type) asked.set("type", wanted.type);
  if (wanted.year) asked.set("year", wanted.year);
  return asked;
}

function readAddress() {
  const given = new URLSearchParams(location.search);
  wanted.q = given.get("q") ?? "";
  wanted.tag = new Set(given.getAll("tag"));
  wanted.type = given.get("type") ?? "";
  wanted.year = given.get("year") ?? "";
  part.words.value = wanted.q;
}

/** Read the first page, or the next one. */
async function load({ more = false } = {}) {
  if (more && loading) return;
  loading?.abort();
  const mine = (loading = new AbortController());
  const asked = parameters();
  asked.set("limit", PAGE);
  if (more) asked.set("cursor", cursor);
  part.more.disabled = true;
  try {
    const answer = await ask(`${isNarrowed() ? "/images/search" : "/images"}?${asked}`, { signal: mine.signal });
    const found = answer.results ?? answer.images.map((image) => ({ image, highlights: {} }));
    if (!more) clear();
    for (const { image, highlights } of found) if (!shown.has(image.id)) append(image, highlights);
    cursor = answer.next;
    total = answer.total ?? null;
    isTotalExact = answer.is_total_exact ?? true;
    corrected = answer.corrected ?? null;
    layOut();
    tell();
    if (!more) await chips(answer.facets, mine.signal);
  } catch (error) {
    if (error.name === "AbortError") return;
    refused(error);
    if (error.status === 401) return;
    part.tally.textContent = "";
    part.more.textContent = "Try again";
  } finally {
    if (loading === mine) {
      loading = null;
      part.more.disabled = false;
      part.more.hidden = cursor === null && part.more.textContent !== "Try again";
      // The button may still be in view after a short page; the observer only tells of changes.
      watcher.unobserve(part.more);
      if (cursor !== null && part.more.textContent !== "Try again") watcher.observe(part.more);
    }
  }
}

function clear() {
  shown = new Map();
  part.photos.replaceChildren();
}

function tell() {
  part.more.textContent = "Show more";
  part.empty.hidden = shown.size > 0 || isNarrowed();
  if (!isNarrowed()) return part.tally.replaceChildren();
  const count = total === 1 ? "1 photograph" : `${total}${isTotalExact ? "" : " or more"} photographs`;
  const words = wanted.q ? ` for “${corrected ?? wanted.q}”` : "";
  part.tally.textContent = count + words + (corrected ? `; nothing has “${wanted.q}”` : "");
}

/** Tags in use, or while something is looked for the tags, types and years among what was found. */
async function chips(facets, signal) {
  const found = { tag: new Map(), type: new Map(), year: new Map() };
  if (facets) {
    for (const [name, counts] of Object.entries(facets))
      for (const [value, count] of Object.entries(counts)) found[name]?.set(value, count);
  } else for (const { tag, count } of await ask(`/tags?limit=${TAGS}`, { signal })) found.tag.set(tag, count);

  const isOn = (filter, value) => (filter === "tag" ? wanted.tag.has(value) : wanted[filter] === value);
  const rows = Object.entries(found).flatMap(([filter, counts]) => {
    const chosen = filter === "tag" ? [...wanted.tag] : [wanted[filter]].filter(Boolean);
    const others = [...counts.keys()].filter((value) => !isOn(filter, value)).slice(0, TAGS);
    // One type or year that everything has in common tells nothing.
    const isTelling = filter === "tag" || chosen.length || others.length > 1;
    return isTelling ? [...chosen, ...others].map((value) => [filter, value, counts.get(value)]) : [];
  });
  const focused = document.activeElement?.closest(".chip")?.dataset.value;
  part.chips.replaceChildren(
    ...rows.map(([filter, value, count]) =>
      element(
        "button",
        {
          class: "chip",
          type: "button",
          "data-value": `${filter}=${value}`,
          "aria-pressed": String(isOn(filter, value)),
          onclick: () => toggle(filter, value),
        },
        filter === "type" ? value.replace("image/", "") : value,
        count ? element("span", { class: "count" }, String(count)) : null,
      ),
    ),
  );
  if (focused) [...part.chips.children].find((chip) => chip.dataset.value === focused)?.focus();
}

function toggle(filter, value) {
  if (filter !== "tag") wanted[filter] = wanted[filter] === value ? "" : value;
  else if (!wanted.tag.delete(value)) wanted.tag.add(value);
  look();
}

function look() {
  const asked = parameters().toString();
  history.replaceState(null, "", location.pathname + (asked ? `?${asked}` : ""));
  return load();
}

// ---- tiles

function tile(image, highlights = {}) {
  const frame = element("button", { class: "frame", type: "button", onclick: () => open(image.id) });
  frame.style.backgroundColor = image.dominant_color;
  const blurred = placeholder(image.thumbhash);
  const entry = { image, frame, picture: null };
  if (image.status === "ready") {
    // `loading` stands before any address: a picture that is far below is not asked for.
    const picture = element("img", { loading: "lazy", decoding: "async", alt: nameOf(image) });
    picture.addEventListener("load", () => {
      frame.classList.add("loaded");
      frame.style.backgroundColor = ""; // a transparent picture lies on the page, not on its own colour
    });
    picture.addEventListener("error", () => renew(entry), { once: true });
    frame.append(...[blurred, picture].filter(Boolean));
    entry.picture = picture;
  } else {
    frame.disabled = true;
    const state = image.problem ? [image.problem.detail, " ", element("code", {}, image.problem.code)] : ["Developing…"];
    frame.append(element("span", { class: "state" }, ...state));
    if (image.status === "developing") setTimeout(() => lookAgain(entry), LOOK_AGAIN_MS);
  }
  const title = highlights.title ?? (image.title ? null : highlights.file_name);
  const others = Object.entries(highlights).filter(([name, text]) => text !== title && text.includes("<mark>") && name !== "title");
  entry.item = element(
    "li",
    { class: "photo", "data-id": image.id },
    frame,
    element("p", { class: "caption" }, ...(title ? marked(title) : [nameOf(image)])),
    ...(isNarrowed() && others.length ? [element("p", { class: "caption found" }, ...marked(others[0][1]))] : []),
  );
  return entry;
}

function append(image, highlights) {
  const entry = tile(image, highlights);
  shown.set(image.id, entry);
  part.photos.append(entry.item);
}

/** Put an entry where it belongs: newest first, or at a place of its own. */
function insert(entry, place) {
  remove(entry.image.id);
  const age = ({ image }) => image.created_at + image.id;
  const entries = [...shown.values()];
  const newest = entries.findIndex((other) => age(other) < age(entry));
  const at = place ?? (newest < 0 ? entries.length : newest);
  entries.splice(at, 0, entry);
  shown = new Map(entries.map((each) => [each.image.id, each]));
  part.photos.insertBefore(entry.item, part.photos.children[at] ?? null);
  part.empty.hidden = true;
  layOut();
}

function remove(id) {
  const entry = shown.get(id);
  if (!entry) return;
  shown.delete(id);
  entry.item.remove();
}

/** A signed address has a time to live; a page that was left open asks for a new one, once. */
async function renew(entry) {
  try {
    entry.image = await ask(`/images/${entry.image.id}`);
    Object.assign(entry.picture, sources(entry.image));
  } catch (refusal) {
    if (refusal.status === 404) {
      remove(entry.image.id);
      layOut();
    }
  }
}

async function lookAgain(entry) {
  if (shown.get(entry.image.id) !== entry) return;
  try {
    const image = await ask(`/images/${entry.image.id}`);
    const fresh = tile(image);
    entry.item.replaceWith(fresh.item);
    shown.set(image.id, fresh);
    layOut();
  } catch (refusal) {
    if (refusal.isPassing) setTimeout(() => lookAgain(entry), LOOK_AGAIN_MS);
    else refused(refusal);
  }
}

let laidOutFor = 0;

function layOut() {
  const width = Math.floor(part.photos.getBoundingClientRect().width);
  if (!width) return;
  laidOutFor = width;
  const gap = parseFloat(getComputedStyle(part.photos).columnGap);
  const target = Math.min(260, Math.max(140, width / 4.6));
  const entries = [...shown.values()];
  const sizes = justified(entries.map(({ image }) => shownRatio(image.width, image.height)), { width, target, gap });
  entries.forEach(({ image, item, frame, picture }, i) => {
    item.style.width = `${sizes[i].width}px`;
    frame.style.height = `${sizes[i].height}px`;
    if (!picture) return;
    picture.sizes = `${sizes[i].width}px`;
    if (!picture.src) Object.assign(picture, sources(image));
  });
}

new ResizeObserver(() => {
  if (Math.floor(part.photos.getBoundingClientRect().width) !== laidOutFor) layOut();
}).observe(part.photos);

const watcher = new IntersectionObserver(([entry]) => entry.isIntersecting && cursor !== null && load({ more: true }), {
  rootMargin: AHEAD,
});
part.more.addEventListener("click", () => load({ more: cursor !== null }));

// ---- one photograph

const viewer = lightbox(part.lightbox, {
  step(image, by) {
    const ids = [...shown.values()].filter((entry) => entry.picture).map((entry) => entry.image.id);
    const next = ids[ids.indexOf(image.id) + by];
    if (next) open(next);
  },
  trash,
  tag(tag) {
    viewer.close();
    wanted.tag = new Set([tag]);
    look();
  },
  failed: refused,
  closed: (id) => shown.get(id)?.frame.focus(),
});

/** The addresses that are shown there are to be copied: they should not be about to expire. */
async function open(id) {
  const entry = shown.get(id);
  try {
    if (expiry(entry.image) - Date.now() < FRESH_MS) entry.image = await ask(`/images/${id}`);
    viewer.show(entry.image);
  } catch (refusal) {
    refused(refusal);
  }
}

async function trash(image) {
  try {
    await ask(`/images/${image.id}`, { method: "DELETE" });
  } catch (refusal) {
    viewer.close();
    refused(refusal);
    return;
  }
  const entry = shown.get(image.id);
  const place = { list: parameters().toString(), at: [...shown.keys()].indexOf(image.id) };
  const neighbour = entry.item.nextElementSibling ?? entry.item.previousElementSibling;
  viewer.close();
  remove(image.id);
  if (total !== null) total--;
  layOut();
  tell();
  neighbour?.querySelector(".frame").focus();
  toast(
    `“${nameOf(image)}” is in the trash.`,
    element("button", { class: "plain", type: "button", onclick: () => restore(entry, place) }, "Undo"),
  );
}

async function restore(entry, place) {
  try {
    entry.image = await ask(`/images/${entry.image.id}/restore`, { method: "POST" });
    toast(`“${nameOf(entry.image)}” is back.`);
    if (parameters().toString() !== place.list) return; // something else is being looked at by now
    insert(entry, Math.min(place.at, shown.size));
    if (total !== null) total++;
    tell();
    entry.frame.focus();
  } catch (refusal) {
    refused(refusal);
  }
}

// ---- what is said, and who is let in

let toasting;

/** With something to do it stays until it is closed or another one comes: nobody should have to be quick to undo. */
function toast(text, ...actions) {
  clearTimeout(toasting);
  const hide = () => (part.toast.hidden = true);
  if (!actions.length) toasting = setTimeout(hide, TOLD_MS);
  part.toast.hidden = false;
  part.toast.replaceChildren(
    element("span", {}, text),
    ...actions,
    element("button", { class: "plain", type: "button", "aria-label": "Close", onclick: hide }, "×"),
  );
}

function refused(error) {
  if (error.status === 401) return door(error);
  if (!(error instanceof Refusal)) throw error;
  toast(error.message, element("code", {}, error.code));
}

function door(refusal) {
  key.drop();
  loading?.abort();
  cursor = null;
  clear();
  viewer.close();
  part.chips.replaceChildren();
  part.tally.replaceChildren();
  part.more.hidden = part.empty.hidden = true;
  part["door-problem"].textContent = refusal ? refusal.message : "";
  if (!part.door.open) part.door.showModal();
}

part["door-form"].addEventListener("submit", (event) => {
  event.preventDefault();
  key.set(part["door-key"].value);
  part["door-form"].reset();
  part.door.close();
  load();
});
part.door.addEventListener("cancel", (event) => event.preventDefault()); // there is nothing behind it without a key
part.door.addEventListener("close", () => !key.get() && part.door.showModal());
part.leave.addEventListener("click", () => {
  part.toast.hidden = true;
  door();
});

// ---- words

let typing;
const search = () => {
  clearTimeout(typing);
  const words = part.words.value.trim();
  if (words === wanted.q) return;
  wanted.q = words;
  look();
};
part.words.addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(search, TYPING_MS);
});
part.search.addEventListener("submit", (event) => {
  event.preventDefault();
  search();
});
addEventListener("keydown", (event) => {
  const isTyping = event.target instanceof Element && event.target.closest("input, textarea, dialog");
  if (event.key !== "/" || isTyping || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  part.words.focus();
});

// ---- uploads

const uploads = uploadQueue(
  { panel: part.uploads, title: part["uploads-title"], list: part["uploads-list"], close: part["uploads-close"] },
  { ready: (image) => !isNarrowed() && insert(tile(image)), unauthenticated: door },
);

for (const id of ["choose", "choose-first"]) part[id].addEventListener("click", () => part.files.click());
part.files.addEventListener("change", () => {
  uploads.add([...part.files.files]);
  part.files.value = "";
});

const bringsFiles = (event) => event.dataTransfer?.types.includes("Files") && key.get();
let depth = 0; // enter and leave come for every element on the way
addEventListener("dragenter", (event) => {
  if (!bringsFiles(event)) return;
  depth++;
  part.drop.hidden = false;
});
addEventListener("dragleave", (event) => {
  if (!bringsFiles(event)) return;
  depth = Math.max(0, depth - 1);
  part.drop.hidden = depth === 0;
});
addEventListener("dragover", (event) => bringsFiles(event) && event.preventDefault());
addEventListener("drop", (event) => {
  if (!bringsFiles(event)) return;
  event.preventDefault();
  depth = 0;
  part.drop.hidden = true;
  const items = [...event.dataTransfer.items].filter((item) => item.kind === "file");
  const folders = items.map((item) => item.webkitGetAsEntry?.()).filter((entry) => entry?.isDirectory);
  uploads.add([...event.dataTransfer.files].filter((file) => !folders.some((folder) => folder.name === file.name)));
  if (folders.length) toast(`“${folders[0].name}” is a folder; drop the photographs in it instead.`);
});

// ---- begin

function begin() {
  key.takeFromAddress();
  readAddress();
  if (!key.get()) return door();
  part.door.close();
  return load();
}

addEventListener("hashchange", () => key.takeFromAddress() && begin());
begin();
