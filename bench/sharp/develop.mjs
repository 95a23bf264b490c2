// The yardstick: what `develop` makes of a photograph, made by sharp without a service around it.
//
//   $ npm ci
//   $ node develop.mjs --mode best --workers 2 --rounds 3 PHOTO.jpg ...     (or '-': paths on standard input, one a line)
//
// Per photograph: each preset as WebP q80 effort 2 and as progressive JPEG q80, and a 2048 px JPEG master q90; inside
// the square box, never enlarged, upright, sRGB, no metadata. ../libvips_loop.py makes the same and reports the same fields.
//
// `per-size` is sharp as its manual uses it: one input, a clone per output, each of which decodes the file again.
// `best` is the most that sharp's interface lets one save: one decode to 2048 px raw, everything else from those pixels.
//
// One JSON object on standard output. CPU seconds are the process's, all threads, user and system. With --out the files
// are written too (OUT/<photo>/<preset>.<ext>); take figures from a run without it.

import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { basename, extname, join } from 'node:path';
import { parseArgs } from 'node:util';
import sharp from 'sharp';

const PRESETS = { thumb_150: 150, thumb_300: 300, thumb_400: 400, thumb_600: 600, medium: 1200, large: 2048 };
const MASTER_SIDE = 2048;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    mode: { type: 'string', default: 'per-size' },
    workers: { type: 'string', default: '2' },
    rounds: { type: 'string', default: '1' },
    'master-chroma': { type: 'string', default: '4:2:0' },
    out: { type: 'string' },
  },
});
const workers = wholeNumber('workers');
const rounds = wholeNumber('rounds');
const chroma = values['master-chroma'];

sharp.cache(false);
sharp.concurrency(1);

const inside = (side) => ({ width: side, height: side, fit: 'inside', withoutEnlargement: true });
const webp = (image) => image.webp({ quality: 80, effort: 2 }).toBuffer();
const jpeg = (image) => image.jpeg({ quality: 80, progressive: true }).toBuffer();
const master = (image) => image.jpeg({ quality: 90, chromaSubsampling: chroma, optimiseCoding: false }).toBuffer();
const LESSER = { medium: '4:2:0', thumb_600: '4:4:4' };
const lesser = (image, preset) => image.jpeg({ quality: 92, chromaSubsampling: LESSER[preset], optimiseCoding: false }).toBuffer();

const MODES = {
  'per-size': async (path) => {
    const photo = sharp(path, { failOn: 'error' }).autoOrient();
    const files = {};
    for (const [preset, side] of Object.entries(PRESETS)) {
      files[`${preset}.webp`] = await webp(photo.clone().resize(inside(side)));
      files[`${preset}.jpg`] = await jpeg(photo.clone().resize(inside(side)));
      if (preset in LESSER) files[`master_${side}.jpg`] = await lesser(photo.clone().resize(inside(side)), preset);
    }
    files['master.jpg'] = await master(photo.clone().resize(inside(MASTER_SIDE)));
    return files;
  },

  best: async (path) => {
    const largest = await pixels(sharp(path, { failOn: 'error' }).autoOrient().resize(inside(MASTER_SIDE)));
    const files = {};
    for (const [preset, side] of Object.entries(PRESETS)) {
      const scaled = side === MASTER_SIDE ? largest : await pixels(image(largest).resize(inside(side)));
      files[`${preset}.webp`] = await webp(image(scaled));
      files[`${preset}.jpg`] = await jpeg(image(scaled));
      if (preset in LESSER) files[`master_${side}.jpg`] = await lesser(image(scaled), preset);
    }
    files['master.jpg'] = await master(image(largest));
    return files;
  },
};

const develop = MODES[values.mode] ?? fail(`expected one of ${Object.keys(MODES).join(', ')} for --mode but received ${values.mode}`);
const poolSize = Number(process.env.UV_THREADPOOL_SIZE ?? 4);
if (workers > poolSize) {
  fail(`${workers} workers need UV_THREADPOOL_SIZE=${workers} in the environment: sharp runs on libuv's pool, now ${poolSize}`);
}

const photos = positionals[0] === '-' ? (await readFile('/dev/stdin', 'utf8')).split('\n').filter(Boolean) : positionals;
if (photos.length === 0) fail('no photographs given');
await develop(photos[0]); // the first use of each codec also initialises it

const queue = Array.from({ length: rounds }, () => photos).flat();
const bytes = {};
let next = 0;
const cpuBefore = process.cpuUsage();
const wallBefore = process.hrtime.bigint();
await Promise.all(
  Array.from({ length: workers }, async () => {
    while (next < queue.length) {
      const path = queue[next++];
      const files = await develop(path);
      for (const [name, data] of Object.entries(files)) bytes[name] = (bytes[name] ?? 0) + data.length;
      if (values.out) await write(path, files);
    }
  }),
);
const wall = Number(process.hrtime.bigint() - wallBefore) / 1e9;
const { user, system } = process.cpuUsage(cpuBefore);
const images = queue.length;
const perImage = Object.fromEntries(Object.entries(bytes).map(([name, sum]) => [name, Math.round(sum / images)]));

console.log(
  JSON.stringify({
    engine: `sharp ${sharp.versions.sharp} (libvips ${sharp.versions.vips})`,
    mode: values.mode,
    workers,
    images,
    wall_s: rounded(wall),
    images_per_s: rounded(images / wall),
    cpu_s_per_image: rounded((user + system) / 1e6 / images),
    kb_per_image: rounded(Object.values(perImage).reduce((sum, size) => sum + size, 0) / 1000),
    bytes_per_image: perImage,
    peak_rss_mb: Math.round(process.resourceUsage().maxRSS / 1024),
  }),
);

/** Raw pixels with what is needed to read them again; rows of `width` * `channels` bytes, sRGB. */
async function pixels(pipeline) {
  const { data, info } = await pipeline.raw().toBuffer({ resolveWithObject: true });
  return { data, raw: { width: info.width, height: info.height, channels: info.channels } };
}

function image({ data, raw }) {
  return sharp(data, { raw });
}

async function write(path, files) {
  const folder = join(values.out, basename(path, extname(path)));
  await mkdir(folder, { recursive: true });
  for (const [name, data] of Object.entries(files)) await writeFile(join(folder, name), data);
}

function wholeNumber(option) {
  const number = Number(values[option]);
  return Number.isInteger(number) && number > 0
    ? number
    : fail(`expected a positive whole number for --${option} but received ${values[option]}`);
}

function rounded(number) {
  return Math.round(number * 1e4) / 1e4;
}

function fail(message) {
  console.error(message);
  process.exit(2);
}
