// The yardstick for delivery: sharp behind Node's own HTTP server, as its manual shows, and nothing else.
//
//   $ UV_THREADPOOL_SIZE=2 node serve.mjs --port 9001 --root PHOTOS
//
// GET /{side}/{format}/{quality}/{file}: the file of the root, upright, inside a square box, never enlarged, in sRGB, no metadata.
// Effort is what sharp does unless told otherwise. No signature, no cache, no limit.

import { createServer } from 'node:http';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import sharp from 'sharp';

const { values } = parseArgs({ options: { port: { type: 'string' }, root: { type: 'string' } } });
const PATH = /^\/(\d+)\/(jpeg|webp|avif|png)\/(\d+)\/([\w.-]+)$/;

sharp.cache(false);
sharp.concurrency(1); // as many pictures as cores at a time, each on one: the most throughput

createServer(async (request, response) => {
  const [, side, format, quality, file] = PATH.exec(request.url) ?? [];
  if (!file) return response.writeHead(404).end();
  try {
    const options = format === 'png' ? {} : { quality: Number(quality) };
    const body = await sharp(join(values.root, file), { failOn: 'error' })
      .autoOrient()
      .resize(Number(side), Number(side), { fit: 'inside', withoutEnlargement: true })
      .toFormat(format, options)
      .toBuffer();
    response.writeHead(200, { 'content-type': `image/${format}`, 'content-length': body.length }).end(body);
  } catch (error) {
    response.writeHead(500).end(String(error));
  }
}).listen(Number(values.port), '127.0.0.1');
