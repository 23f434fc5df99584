// wsLink: subscriptions, reconnecting, keep-alive. Queries and mutations through it are in 1_calls.
import { createTRPCClient, wsLink } from '@trpc/client';

import { clientOf, follow, webSocketClient } from '../clients.mjs';
import { openWire } from '../raw.mjs';
import { assert, assertShape, check, failure, patient, quiet, until, within } from '../suite.mjs';

const ticks = (from, to) => Array.from({ length: to - from + 1 }, (_, index) => ({ id: String(from + index), data: { n: from + index } }));
const mutate = (target, exchangeId, command) => clientOf(target, 'httpLink').demo.mutate.mutate({ exchangeId, command });
const liveSubscribers = (target) => clientOf(target, 'httpLink').test.liveSubscribers.query();
const mine = (told, word) => told.values.all.filter(({ data }) => data.command.startsWith(word)).map(({ data }) => data.command.slice(word.length));

check('ws: tracked events arrive with their ids, then it completes', { section: '6' }, async (target) => {
  const told = follow(target, clientOf(target, 'wsLink').test.ticks, { count: 5 });
  await told.completed.next();
  assert.deepEqual(told.values.all, ticks(1, 5));
  assert.deepEqual([told.started.all.length, told.stopped, told.errors.all], [1, 1, []]);
});

check('ws: untracked and mixed events', { section: '6' }, async (target) => {
  const client = clientOf(target, 'wsLink');
  const plain = follow(target, client.test.ticks, { count: 3, mode: 'plain' });
  const mixed = follow(target, client.test.ticks, { count: 6, mode: 'mixed' });
  await Promise.all([plain.completed.next(), mixed.completed.next()]);
  assert.deepEqual(plain.values.all, [{ n: 1 }, { n: 2 }, { n: 3 }]);
  assert.deepEqual(mixed.values.all.map((value) => value.n ?? value.data.n), [1, 2, 3, 4, 5, 6]);
});

check('ws: an error ends the subscription with its shape', { section: '6' }, async (target) => {
  const told = follow(target, clientOf(target, 'wsLink').test.ticks, { count: 5, failAt: 3 });
  assertShape((await told.errors.next()).shape, { code: 'CONFLICT', path: 'test.ticks' });
  assert.deepEqual(told.values.all, ticks(1, 2));
});

check('ws: wrong input and an unknown procedure fail a subscription', { section: '6' }, async (target) => {
  const client = clientOf(target, 'wsLink');
  const wrong = follow(target, client.test.ticks, { count: 'many' });
  assertShape((await wrong.errors.next()).shape, { code: 'BAD_REQUEST', path: 'test.ticks' });
  const unknown = follow(target, client.demo.nope, undefined);
  assertShape((await unknown.errors.next()).shape, { code: 'NOT_FOUND', path: 'demo.nope' });
});

check('ws: retryLink resumes after an error', { section: '6' }, async (target) => {
  const told = follow(target, clientOf(target, 'wsLink', { retries: 2 }).test.ticks, { count: 5, failAt: 3 });
  await told.completed.next();
  assert.deepEqual(told.values.all, ticks(1, 5));
});

check('ws: what happens right after onStarted arrives', { section: '6' }, async (target) => {
  const word = target.unique();
  const told = follow(target, clientOf(target, 'wsLink').demo.events, undefined, { onStarted: () => void mutate(target, 1, word) });
  await until(() => mine(told, word).length === 1, 'the event arrives');
});

check('ws: calls and many subscriptions share one socket', { section: '6' }, async (target) => {
  const wire = await openWire(target);
  const client = clientOf(target, 'wsLink', { url: wire.webSocketUrl });
  const told = Array.from({ length: 10 }, () => follow(target, client.test.ticks, { count: 20, intervalMs: 2 }));
  assert.deepEqual(await Promise.all([client.test.slow.query({ ms: 100 }), client.test.echo.query(1)]), [{ ms: 100 }, 1]);
  await Promise.all(told.map(({ completed }) => completed.next()));
  told.forEach(({ values }) => assert.deepEqual(values.all, ticks(1, 20)));
  assert.equal(wire.connections, 1);
});

check('ws: the token comes in connectionParams', { section: '6' }, async (target) => {
  assert.equal((await clientOf(target, 'wsLink').demo.list.query()).length, 2);
  const without = clientOf(target, 'wsLink', { token: null });
  assertShape((await failure(without.demo.list.query())).shape, { code: 'UNAUTHORIZED', path: 'demo.list' });
  const told = follow(target, without.demo.events, undefined);
  assertShape((await told.errors.next()).shape, { code: 'UNAUTHORIZED', path: 'demo.events' });
});

check('ws: a refused connection is tried again', { section: '6' }, async (target) => {
  const tokens = ['reject-me', target.token];
  const client = clientOf(target, 'wsLink', { connectionParams: () => ({ token: tokens.length > 1 ? tokens.shift() : tokens[0] }) });
  await until(() => client.demo.list.query().catch(() => null), 'the second connection is accepted');
});

check('ws: unsubscribing ends the subscription at the server', { section: '6', alone: true }, async (target) => {
  const before = await liveSubscribers(target);
  const client = clientOf(target, 'wsLink');
  const told = [1, 2, 3].map(() => follow(target, client.demo.events, undefined));
  await Promise.all(told.map(({ started }) => started.next()));
  assert.equal(await liveSubscribers(target), before + 3);
  told.forEach(({ unsubscribe }) => unsubscribe());
  await until(async () => (await liveSubscribers(target)) === before, 'the server lets them go');
  assert.equal(await client.test.echo.query('still open'), 'still open');
});

check('ws: closing the socket ends its subscriptions', { section: '6', alone: true }, async (target) => {
  const before = await liveSubscribers(target);
  const wire = await openWire(target);
  const told = follow(target, clientOf(target, 'wsLink', { url: wire.webSocketUrl }).demo.events, undefined);
  await told.started.next();
  wire.broken = true;
  wire.cut();
  await until(async () => (await liveSubscribers(target)) === before, 'the server lets it go');
});

check('ws: a dropped socket loses and repeats nothing', { section: '6' }, async (target) => {
  const word = target.unique();
  const wire = await openWire(target);
  const told = follow(target, clientOf(target, 'wsLink', { url: wire.webSocketUrl }).demo.events, undefined);
  await told.started.next();
  await mutate(target, 1, `${word}1`);
  await until(() => mine(told, word).length === 1, 'the first event arrives');
  wire.broken = true;
  wire.cut();
  await mutate(target, 1, `${word}2`);
  await mutate(target, 2, `${word}3`);
  wire.broken = false;
  await until(() => mine(told, word).includes('3'), 'the missed events arrive', 4000);
  await mutate(target, 1, `${word}4`);
  await until(() => mine(told, word).includes('4'), 'live events go on');
  assert.deepEqual(mine(told, word), ['1', '2', '3', '4']);
});

check('ws: a call under way fails when the socket drops, and the next works', { section: '6' }, async (target) => {
  const wire = await openWire(target);
  const client = clientOf(target, 'wsLink', { url: wire.webSocketUrl });
  assert.equal(await client.test.echo.query(1), 1);
  const pending = failure(client.test.slow.query({ ms: 3000 }));
  await until(() => wire.requests.length > 0 && client.test.echo.query(2), 'the call is sent');
  wire.cut();
  await pending;
  assert.equal(await client.test.echo.query(3), 3);
});

check('ws: the reconnect notice moves a subscription without loss', { section: '6', alone: true, ms: 6000 }, async (target) => {
  const wire = await openWire(target);
  const client = clientOf(target, 'wsLink', { url: wire.webSocketUrl });
  const told = follow(target, client.test.ticks, { count: 30, intervalMs: 50 });
  await until(() => told.values.all.length >= 5, 'some ticks');
  await clientOf(target, 'httpLink').test.reconnectAll.mutate();
  await told.completed.next(5000);
  assert.deepEqual(told.values.all, ticks(1, 30));
  assert.equal(wire.connections, 2, 'the client moved to a second socket');
  assert.deepEqual([told.errors.all, told.started.all.length], [[], 1]);
});

check('ws: the reconnect notice lets calls under way finish', { section: '6', alone: true }, async (target) => {
  const client = clientOf(target, 'wsLink');
  const slow = client.test.slow.query({ ms: 400 });
  const told = follow(target, client.demo.events, undefined);
  await told.started.next();
  await clientOf(target, 'httpLink').test.reconnectAll.mutate();
  assert.deepEqual(await slow, { ms: 400 });
  assert.equal(await client.test.echo.query(1), 1);
});

check('ws: the keep-alive of the client is answered', { section: '6' }, async (target) => {
  const wire = await openWire(target);
  const keepAlive = { enabled: true, intervalMs: 100, pongTimeoutMs: patient(700) };
  const client = clientOf(target, 'wsLink', { url: wire.webSocketUrl, keepAlive });
  await client.test.echo.query(1);
  await quiet(patient(700) + 500);
  assert.equal(await client.test.echo.query(2), 2);
  assert.equal(wire.connections, 1, 'no PONG came, the client opened another socket');
});

check('ws: a silent socket is replaced, and the subscription resumes', { section: '6' }, async (target) => {
  const wire = await openWire(target);
  const keepAlive = { enabled: true, intervalMs: 100, pongTimeoutMs: patient(100) };
  const client = clientOf(target, 'wsLink', { url: wire.webSocketUrl, keepAlive });
  const told = follow(target, client.test.ticks, { count: 8, intervalMs: 150 });
  await until(() => told.values.all.length >= 3, 'some ticks');
  wire.freeze();
  wire.cut();
  await told.completed.next(4000);
  assert.deepEqual(told.values.all, ticks(1, 8));
});

check('ws: a client that answers PING stays connected', { section: '6', ms: 15_000 }, async (target) => {
  const wire = await openWire(target);
  const client = clientOf(target, 'wsLink', { url: wire.webSocketUrl });
  await client.test.echo.query(1);
  await quiet(5500);
  assert.equal(await client.test.echo.query(2), 2);
  assert.equal(wire.connections, 1);
});

check('ws: a lazy client closes and opens as needed', { section: '6' }, async (target) => {
  const wire = await openWire(target);
  const client = webSocketClient(target, { url: wire.webSocketUrl, lazy: { enabled: true, closeMs: 50 } });
  const calls = createTRPCClient({ links: [wsLink({ client })] });
  assert.equal(await calls.test.echo.query(1), 1);
  await until(() => client.connection === null || client.connection.state === 'closed', 'the socket closes');
  assert.equal(await within(2000, calls.test.echo.query(2), 'a second socket'), 2);
  assert.equal(wire.connections, 2);
});
