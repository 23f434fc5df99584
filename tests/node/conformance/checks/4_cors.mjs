// A page of another origin: what its browser asks, and what it must find on every answer.
import { openEvents, openRequest, pathOf, request } from '../raw.mjs';
import { assert, check } from '../suite.mjs';

const origin = 'http://ui.example';
const words = (value) => (value ?? '').toLowerCase().split(/\s*,\s*/);

const preflight = (target, from) =>
  request(target, '/demo.list', {
    method: 'OPTIONS',
    headers: { origin: from, 'access-control-request-method': 'POST', 'access-control-request-headers': 'content-type,trpc-accept' },
  });

check('cors: a preflight is answered', { section: '3' }, async (target) => {
  const answer = await preflight(target, origin);
  assert.ok(answer.status >= 200 && answer.status < 300, `status ${answer.status}`);
  assert.equal(answer.headers['access-control-allow-origin'], origin);
  const methods = words(answer.headers['access-control-allow-methods']);
  assert.ok(methods.includes('get') && methods.includes('post'), `methods ${methods}`);
  const headers = words(answer.headers['access-control-allow-headers']);
  for (const name of ['content-type', 'authorization', 'trpc-accept', 'last-event-id']) assert.ok(headers.includes(name), `${name} in ${headers}`);
});

check('cors: another origin is not allowed', { section: '3' }, async (target) => {
  for (const from of ['http://evil.example', 'http://ui.example.evil.example', 'null', 'https://ui.example']) {
    const allowed = [(await preflight(target, from)).headers, (await request(target, '/test.echo', { headers: { origin: from } })).headers];
    for (const headers of allowed) assert.ok(![from, '*'].includes(headers['access-control-allow-origin']), from);
  }
});

check('cors: every answer and every error allows the origin', { section: '3' }, async (target) => {
  const asks = [
    ['/test.echo', {}, 200],
    ['/demo.nope', {}, 404],
    ['/test.crash', {}, 500],
    ['/demo.list', {}, 401],
    ['/%zz', {}, 400],
    ['/demo.mutate', {}, 405],
    [pathOf(['test.echo', 'demo.nope']), {}, 207],
    [pathOf(Array(21).fill('demo.list')), {}, 400],
    ['/test.nothing', { method: 'POST', headers: { 'content-type': 'text/plain' }, body: 'x' }, 415],
    ['/test.echoMutation', { method: 'POST', headers: { 'content-type': 'application/json' }, body: `"${'x'.repeat(1_100_000)}"` }, 413],
  ];
  for (const [path, options, status] of asks) {
    const answer = await request(target, path, { ...options, headers: { origin, ...options.headers } });
    assert.deepEqual([answer.status, answer.headers['access-control-allow-origin']], [status, origin], path);
  }
});

check('cors: streams allow the origin', { section: '3' }, async (target) => {
  const events = await openEvents(target, pathOf('test.ticks', { input: { count: 1 } }), { headers: { origin } });
  assert.equal(events.headers['access-control-allow-origin'], origin);
  const refused = await openEvents(target, '/demo.events', { headers: { origin } });
  assert.equal(refused.headers['access-control-allow-origin'], origin);
  const lines = await openRequest(target, pathOf(['test.echo']), { headers: { origin, 'trpc-accept': 'application/jsonl' } });
  assert.equal(lines.headers['access-control-allow-origin'], origin);
});

const replaces = 'its adapter replaces the header that was there';
check('cors: vary names the origin and the kind of stream', { section: '10', oursOnly: replaces }, async (target) => {
  for (const path of ['/test.echo', '/test.crash', '/%zz']) {
    const vary = words((await request(target, path, { headers: { origin } })).headers.vary);
    for (const name of ['origin', 'trpc-accept', 'accept']) assert.ok(vary.includes(name), `${name} in ${vary} of ${path}`);
  }
});
