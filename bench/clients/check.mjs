// What the SDK for JavaScript makes of the unit tests' key, and imgproxy's own client of theirs: `npm install && node check.mjs`
// writes both into tests/unit/signing; `node check.mjs --check` compares with what is there.
import { readFileSync, writeFileSync } from "node:fs";
import { getSignedCookies, getSignedUrl } from "@aws-sdk/cloudfront-signer";
import { generateImageUrl } from "@imgproxy/imgproxy-node";

const folder = new URL("../../tests/unit/signing/", import.meta.url);
const privateKey = readFileSync(new URL("throwaway-rsa.pem", folder), "utf8");
const keyPairId = "K2JCJMDEHXQW5F";
const url = "https://d111111abcdef8.cloudfront.net/tenant/image/1/thumb_300.webp";
const exp = 1900000000;
const policy = JSON.stringify({
  Statement: [
    {
      Resource: url.slice(0, url.lastIndexOf("/")) + "/*",
      Condition: { DateLessThan: { "AWS:EpochTime": exp }, DateGreaterThan: { "AWS:EpochTime": 1800000000 } },
    },
  ],
});

const cloudfront = {};
for (const algorithm of ["SHA1", "SHA256"]) {
  const canned = { url, keyPairId, privateKey, algorithm, dateLessThan: new Date(exp * 1000).toISOString() };
  const custom = { url, keyPairId, privateKey, algorithm, policy };
  for (const [name, asked] of Object.entries({ canned, custom })) {
    const { url: _, ...cookie } = asked;
    cloudfront[`${name}-${algorithm.toLowerCase()}`] = {
      url: getSignedUrl(asked),
      cookies: getSignedCookies(name === "canned" ? asked : cookie),
    };
  }
}

const id = "01j00000000000000000000000";
const salted = { endpoint: "https://images.example/imgproxy", key: "6b".repeat(32), salt: "73".repeat(32) };
const imgproxy = [
  [{ resizing_type: "fill", width: 300, height: 200, gravity: { type: "sm" } }, "plain"],
  [{ width: 300, format: "webp", quality: 60 }, "base64"],
  [{ size: { width: 300, height: 300, extend: { extend: 1 } }, background: "ff0000", padding: { top: 10 } }, "plain"],
  [{ crop: { width: 200, height: 100, gravity: { type: "nowe" } }, rotate: 90, blur: 2, sharpen: 0.7, pixelate: 4 }, "base64"],
].map(([options, type]) => generateImageUrl({ ...salted, url: { value: `safelight://${id}`, displayAs: type }, options }));

for (const [name, made] of Object.entries({ cloudfront, imgproxy })) {
  const text = JSON.stringify(made, null, 2) + "\n";
  const file = new URL(`${name}.json`, folder);
  if (!process.argv.includes("--check")) writeFileSync(file, text);
  else if (readFileSync(file, "utf8") !== text) throw new Error(`${name}.json is not what the clients make`);
}
