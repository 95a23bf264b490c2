// The two functions against the table of README.md and its odd cases: `node check.mjs`.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import vm from 'node:vm';
import { collapsed } from './cloudflare-worker.js';

const context = vm.createContext({});
vm.runInContext(readFileSync(new URL('cloudfront-function.js', import.meta.url), 'utf8'), context);
const cases = JSON.parse(readFileSync(new URL('../../tests/unit/cdn.json', import.meta.url), 'utf8'));
for (const [accept, expected] of cases) {
  const headers = accept === '' ? {} : { accept: { value: accept } };
  const request = context.handler({ request: { uri: '/', headers } });
  assert.equal(request.headers.accept.value, expected, `CloudFront: ${accept}`);
  assert.equal(collapsed(accept), expected, `Cloudflare: ${accept}`);
}
console.log(`${cases.length} headers, both functions`);
