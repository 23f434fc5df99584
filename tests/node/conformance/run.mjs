// Runs checks against servers. Reads a job from stdin: {"servers": [{"name", "url", "token", "checks": [names] | null,
// "patience": how many times as long as usual its answers are waited for}]};
// writes one JSON line for each outcome: {"server", "check", "error": null | text, "ms"}. `--list` prints every check.
import { readdir } from 'node:fs/promises';
import { text } from 'node:stream/consumers';

import { allChecks, runCheck } from './suite.mjs';

const AT_ONCE = 20; // mostly waiting for what broken servers never send; with many more, quick checks miss their time on two processors

// What a check that failed left behind must not end the others.
process.on('unhandledRejection', () => {}).on('uncaughtException', (cause) => console.error(cause));

for (const file of (await readdir(new URL('./checks/', import.meta.url))).sort()) {
  await import(new URL(`./checks/${file}`, import.meta.url));
}

if (process.argv.includes('--list')) {
  console.log(JSON.stringify(allChecks().map(({ body, ...facts }) => facts)));
} else {
  await run(JSON.parse(await text(process.stdin)).servers);
  process.exit(0);
}

async function run(servers) {
  const wanted = servers.flatMap((server) =>
    allChecks()
      .filter(({ name }) => !server.checks || server.checks.includes(name))
      .map((check) => ({ server, check })),
  );
  // Long checks mostly wait, so all of them may at once.
  const long = wanted.filter(({ check }) => !check.alone && check.ms > 5000);
  const short = wanted.filter(({ check }) => !check.alone && check.ms <= 5000);
  await Promise.all([...long.map((job) => work([job])), ...Array.from({ length: AT_ONCE }, () => work(short))]);
  const byServer = Map.groupBy(wanted.filter(({ check }) => check.alone), ({ server }) => server.name);
  await Promise.all([...byServer.values()].map(work));
}

async function work(queue) {
  for (let job = queue.shift(); job; job = queue.shift()) {
    const outcome = await runCheck(job.check, job.server);
    console.log(JSON.stringify({ server: job.server.name, check: job.check.name, ...outcome }));
  }
}
