// A client as programs of this network have them: `createTRPCClient` and `httpBatchLink`, polling two queries together.
// argv: URL of the API, milliseconds between polls, how many polls, headers as JSON (what a browser adds by itself, or a
// program's own bearer header). Prints what it got: {polls, requests, instances, entries} or {failed}.
import { createTRPCClient, httpBatchLink } from '@trpc/client';

const [url, everyMs, polls, headers] = process.argv.slice(2);
const requests = [];
const client = createTRPCClient({
  links: [
    httpBatchLink({
      url,
      fetch: (input, init) => {
        requests.push(`${init?.method ?? 'GET'} ${String(input)}`);
        return fetch(input, { ...init, headers: { ...init?.headers, ...JSON.parse(headers) } });
      },
    }),
  ],
});

const seen = [];
for (let poll = 0; poll < Number(polls); poll += 1) {
  const began = performance.now();
  const [instances, log] = await Promise.all([
    client.network.getInstances.query(),
    client.network.getActivityLog.query({ count: 50 }),
  ]);
  seen.push({ instances, log });
  await new Promise((done) => setTimeout(done, Math.max(0, Number(everyMs) - (performance.now() - began))));
}
console.log(JSON.stringify({ polls: seen.length, requests, last: seen.at(-1) }));
