// ThumbHash (Evan Wallace, 2023): about 25 bytes that draw a blurred stand-in for a picture. The decoder; the server encodes.

const LONG_SIDE = 32;

/** Terms of one channel, in the order of the encoder: the triangle of lowest frequencies without the mean. */
function terms(across, down, scale, next) {
  const found = [];
  for (let y = 0; y < down; y++)
    for (let x = y ? 0 : 1; x * down < across * (down - y); x++) found.push({ x, y, value: (next() / 7.5 - 1) * scale });
  return found;
}

/** Base 64 to `{ width, height, rgba }`, rgba being a Uint8ClampedArray, not premultiplied; null for what is not a ThumbHash. */
export function decode(base64) {
  let data;
  try {
    data = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
  } catch {
    return null;
  }
  if (data.length < 5) return null;
  const head = data[0] | (data[1] << 8) | (data[2] << 16);
  const tail = data[3] | (data[4] << 8);
  const hasAlpha = Boolean(head >> 23);
  const isLandscape = Boolean(tail >> 15);
  const most = hasAlpha ? 5 : 7;
  const across = Math.max(3, isLandscape ? most : tail & 7);
  const down = Math.max(3, isLandscape ? tail & 7 : most);

  let at = (hasAlpha ? 6 : 5) * 2; // in nibbles, the low one of a byte first
  const next = () => {
    const byte = data[at >> 1] ?? 0;
    return at++ & 1 ? byte >> 4 : byte & 15;
  };
  // The reference raises colour by a quarter, to make up for what the coarse steps take away.
  const channels = [
    { mean: (head & 63) / 63, terms: terms(across, down, ((head >> 18) & 31) / 31, next) },
    { mean: ((head >> 6) & 63) / 31.5 - 1, terms: terms(3, 3, (((tail >> 3) & 63) / 63) * 1.25, next) },
    { mean: ((head >> 12) & 63) / 31.5 - 1, terms: terms(3, 3, (((tail >> 9) & 63) / 63) * 1.25, next) },
  ];
  if (hasAlpha) channels.push({ mean: (data[5] & 15) / 15, terms: terms(5, 5, (data[5] >> 4) / 15, next) });

  const ratio = across / down;
  const width = Math.round(ratio > 1 ? LONG_SIDE : LONG_SIDE * ratio);
  const height = Math.round(ratio > 1 ? LONG_SIDE / ratio : LONG_SIDE);
  const waves = (size) =>
    Array.from({ length: 7 }, (_, wave) => Array.from({ length: size }, (_, i) => Math.cos((Math.PI / size) * (i + 0.5) * wave)));
  const [wavesAcross, wavesDown] = [waves(width), waves(height)];

  const rgba = new Uint8ClampedArray(width * height * 4);
  for (let y = 0, i = 0; y < height; y++)
    for (let x = 0; x < width; x++, i += 4) {
      const [light, yellow, rouge, alpha = 1] = channels.map((channel) =>
        channel.terms.reduce((sum, term) => sum + 2 * term.value * wavesAcross[term.x][x] * wavesDown[term.y][y], channel.mean),
      );
      const blue = light - (2 / 3) * yellow;
      const red = (3 * light - blue + rouge) / 2;
      rgba.set([255 * red, 255 * (red - rouge), 255 * blue, 255 * alpha], i);
    }
  return { width, height, rgba };
}

/** A canvas with the stand-in painted on it; null where the hash is missing or no ThumbHash. */
export function placeholder(hash) {
  const picture = hash ? decode(hash) : null;
  if (!picture) return null;
  const canvas = document.createElement("canvas");
  canvas.width = picture.width;
  canvas.height = picture.height;
  canvas.className = "placeholder";
  canvas.setAttribute("aria-hidden", "true");
  canvas.getContext("2d").putImageData(new ImageData(picture.rgba, picture.width, picture.height), 0, 0);
  return canvas;
}
