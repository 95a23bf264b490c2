// Cloudflare Worker: collapses Accept to what Safelight tells apart, and keeps one cached answer for each.
const REFUSED = /;\s*q=0(\.0{0,3})?\s*(;|$)/;

export function collapsed(accept) {
  const named = accept
    .toLowerCase()
    .split(',')
    .map((item) => item.trim())
    .filter((item) => !REFUSED.test(item))
    .map((item) => item.split(';')[0].trim());
  return ['image/avif', 'image/webp'].filter((type) => named.includes(type)).join(',') || '*/*';
}

export default {
  async fetch(request, env, context) {
    if (request.method !== 'GET') return fetch(request);
    const accept = collapsed(request.headers.get('accept') ?? '');
    // Cloudflare's cache does not follow Vary: the form is part of the key instead.
    const key = new Request(`${request.url}#${accept}`.replace('#', request.url.includes('?') ? '&accept=' : '?accept='), {
      headers: request.headers,
    });
    const cached = await caches.default.match(key);
    if (cached) return cached;
    const headers = new Headers(request.headers);
    headers.set('accept', accept);
    const answer = await fetch(new Request(request, { headers }));
    if (answer.status === 200 && (answer.headers.get('cache-control') ?? '').includes('public')) {
      context.waitUntil(caches.default.put(key, answer.clone()));
    }
    return answer;
  },
};
