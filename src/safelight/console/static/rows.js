// Justified rows: pictures in order, each row as wide as the page, at about the same height, nothing cropped but what is extreme.

const NARROWEST = 0.45;
const WIDEST = 3.2;

/** Width by height as it is shown: a strip of film would otherwise be a thread, or a page of its own. */
export const shownRatio = (width, height) => Math.min(WIDEST, Math.max(NARROWEST, width && height ? width / height : 1));

/**
 * Sizes in whole pixels, `[{ width, height }]`, for ratios in order.
 * A row ends before or after the picture that makes it too long, whichever leaves its height nearer to `target`; the last one
 * is not stretched.
 */
export function justified(ratios, { width, target, gap }) {
  const sizes = [];
  const heightOf = (first, end) => {
    let sum = 0;
    for (let i = first; i < end; i++) sum += ratios[i];
    return (width - gap * (end - first - 1)) / sum;
  };
  const close = (first, end, height) => {
    let edge = 0;
    for (let i = first; i < end; i++) {
      const next = edge + ratios[i] * height;
      sizes.push({ width: Math.round(next) - Math.round(edge), height: Math.round(height) });
      edge = next;
    }
  };
  let first = 0;
  for (let end = 1; end <= ratios.length; end++) {
    const height = heightOf(first, end);
    if (height > target) continue;
    const before = end - first > 1 ? heightOf(first, end - 1) : Infinity;
    if (before / target < target / height) end--;
    close(first, end, heightOf(first, end));
    first = end;
  }
  if (first < ratios.length) close(first, ratios.length, Math.min(target, heightOf(first, ratios.length)));
  return sizes;
}
