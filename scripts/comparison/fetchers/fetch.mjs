// Fetch over HTTP with Node, as it comes: node fetch.mjs http|fetch once URL | many N URL | loop SECONDS URL ...
import http from "node:http";

const byHttp = (url) => new Promise((resolve, reject) => {
  http.get(url, (reply) => { reply.resume(); reply.on("end", () => resolve(reply.statusCode)); }).on("error", reject);
});
const byFetch = async (url) => { const reply = await fetch(url); await reply.text(); return reply.status; };

const [way, mode, ...rest] = process.argv.slice(2);
const get = way === "http" ? byHttp : byFetch;
let status = 200;
if (mode === "once") {
  status = await get(rest[0]).catch((error) => { console.error(String(error.cause ?? error)); return 0; });
} else if (mode === "many") {
  for (let turn = 0; turn < Number(rest[0]); turn++) await get(rest[1]);
} else {
  const end = Date.now() + 1000 * Number(rest[0]);
  while (Date.now() < end) {
    for (const url of rest.slice(1)) await get(url).catch(() => 0);
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
}
process.exit(status === 200 ? 0 : 1);
