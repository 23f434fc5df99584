// httpSubscriptionLink with two EventSources that behave like a browser's.
import { EventSource as UndiciEventSource } from 'undici';

import { clientOf, follow, splitClient } from '../clients.mjs';
import { openWire } from '../raw.mjs';
import { assert, assertShape, check, failure, quiet, until } from '../suite.mjs';

const ticks = (from, to) => Array.from({ length: to - from + 1 }, (_, index) => ({ id: String(from + index), data: { n: from + index } }));
const mutate = (target, exchangeId, command) => clientOf(target, 'httpLink').demo.mutate.mutate({ exchangeId, command });
const liveSubscribers = (target) => clientOf(target, 'httpLink').test.liveSubscribers.query();

/** The commands of one check among the events of all. */
const mine = (told, word) => told.values.all.filter(({ data }) => data.command.startsWith(word)).map(({ data }) => data.command.slice(word.length));

check('sse: tracked events arrive with their ids, then it completes', { section: '5' }, async (target) => {
  const told = follow(target, splitClient(target).test.ticks, { count: 5 });
  await told.completed.next();
  assert.deepEqual(told.values.all, ticks(1, 5));
  assert.deepEqual([told.started.all.length, told.stopped, told.errors.all], [1, 1, []]);
});

check('sse: untracked events arrive bare', { section: '5' }, async (target) => {
  const told = follow(target, splitClient(target).test.ticks, { count: 3, mode: 'plain' });
  await told.completed.next();
  assert.deepEqual(told.values.all, [{ n: 1 }, { n: 2 }, { n: 3 }]);
});

check('sse: an untracked event after a tracked one has no id', { section: '5' }, async (target) => {
  // undici's EventSource gives an event without an id the last one, as browsers do
  const client = splitClient(target, { source: UndiciEventSource, sourceOptions: {} });
  const told = follow(target, client.test.ticks, { count: 6, mode: 'mixed' });
  await told.completed.next();
  const bare = told.values.all.filter(({ id }) => id === undefined);
  assert.deepEqual(told.values.all.map((value) => value.n ?? value.data.n), [1, 2, 3, 4, 5, 6]);
  assert.ok(bare.length > 0 && bare.length < 6, `both kinds are there: ${JSON.stringify(told.values.all)}`);
  bare.forEach((value) => assert.deepEqual(Object.keys(value), ['n']));
});

check('sse: a stream that ended is not opened again', { section: '5' }, async (target) => {
  const wire = await openWire(target);
  const told = follow(target, splitClient(target, { url: wire.url }).test.ticks, { count: 2 });
  await told.completed.next();
  await quiet(300);
  assert.equal(wire.requests.split('GET ').length - 1, 1);
});

check('sse: an error ends the subscription with its shape', { section: '5' }, async (target) => {
  const wire = await openWire(target);
  const told = follow(target, splitClient(target, { url: wire.url }).test.ticks, { count: 5, failAt: 3 });
  const error = await told.errors.next();
  assertShape(error.shape, { code: 'CONFLICT', path: 'test.ticks' });
  assert.deepEqual(told.values.all, ticks(1, 2));
  await quiet(300);
  assert.equal(wire.requests.split('GET ').length - 1, 1);
});

check('sse: after an internal error the client comes back and goes on', { section: '5' }, async (target) => {
  for (const failCode of ['INTERNAL_SERVER_ERROR', 'SERVICE_UNAVAILABLE']) {
    const told = follow(target, splitClient(target).test.ticks, { count: 5, failAt: 3, failCode });
    await told.completed.next();
    assert.deepEqual(told.values.all, ticks(1, 5));
    assert.deepEqual(told.errors.all, []);
  }
});

check('sse: wrong input ends the subscription with BAD_REQUEST', { section: '5' }, async (target) => {
  const told = follow(target, splitClient(target).test.ticks, { count: 'many' });
  assertShape((await told.errors.next()).shape, { code: 'BAD_REQUEST', path: 'test.ticks' });
});

check('sse: the token comes in connectionParams', { section: '5' }, async (target) => {
  const word = target.unique();
  const told = follow(target, splitClient(target).demo.events, undefined);
  await told.started.next();
  await mutate(target, 1, word);
  await until(() => mine(told, word).length === 1, 'an event arrives');
  const without = follow(target, splitClient(target, { token: null }).demo.events, undefined);
  assertShape((await without.errors.next()).shape, { code: 'UNAUTHORIZED', path: 'demo.events' });
});

check('sse: a context that refuses ends the subscription', { section: '5' }, async (target) => {
  const told = follow(target, splitClient(target, { token: 'reject-me' }).test.ticks, { count: 1 });
  assertShape((await told.errors.next()).shape, { code: 'UNAUTHORIZED', path: 'test.ticks', message: 'Token rejected' });
});

check('sse: an unknown procedure fails once', { section: '5' }, async (target) => {
  const wire = await openWire(target);
  const told = follow(target, splitClient(target, { url: wire.url }).demo.nope, undefined);
  await told.errors.next();
  await quiet(200);
  assert.equal(wire.connections, 1);
});

check('sse: what happens right after onStarted arrives', { section: '5' }, async (target) => {
  const word = target.unique();
  const told = follow(target, splitClient(target).demo.events, undefined, { onStarted: () => void mutate(target, 1, word) });
  await until(() => mine(told, word).length === 1, 'the event arrives');
});

check('sse: every subscriber gets what its filter lets through', { section: '9' }, async (target) => {
  const word = target.unique();
  const client = splitClient(target);
  const told = [undefined, { exchangeId: 1 }, { exchangeId: 2 }].map((input) => follow(target, client.demo.events, input));
  await Promise.all(told.map(({ started }) => started.next()));
  await mutate(target, 1, `${word}one`);
  await mutate(target, 2, `${word}two`);
  await until(() => told.every((each) => mine(each, word).length > 0) && mine(told[0], word).length === 2, 'the events arrive');
  assert.deepEqual(told.map((each) => mine(each, word)), [['one', 'two'], ['one'], ['two']]);
});

check('sse: a dropped connection loses and repeats nothing', { section: '5' }, async (target) => {
  const word = target.unique();
  const wire = await openWire(target);
  const told = follow(target, splitClient(target, { url: wire.url }).demo.events, undefined);
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

check('sse: a dropped connection resumes with the header alone', { section: '5' }, async (target) => {
  const wire = await openWire(target);
  const told = follow(target, splitClient(target, { url: wire.url }).test.ticks, { count: 8, intervalMs: 200 });
  await until(() => told.values.all.length >= 3, 'some ticks');
  wire.cut();
  await told.completed.next();
  assert.deepEqual(told.values.all, ticks(1, 8));
  assert.match(wire.requests, /last-event-id: \d+/i);
  assert.doesNotMatch(wire.requests, /lastEventId/);
});

check('sse: an EventSource left to itself resumes', { section: '5', ms: 15_000 }, async (target) => {
  const wire = await openWire(target);
  const told = follow(target, splitClient(target, { url: wire.url, source: UndiciEventSource, sourceOptions: {} }).test.ticks, { count: 8, intervalMs: 200 });
  await until(() => told.values.all.length >= 3, 'some ticks');
  wire.cut();
  await told.completed.next(8000);
  assert.deepEqual(told.values.all, ticks(1, 8));
});

check('sse: a silent connection is replaced, and resumes from input', { section: '5', ms: 15_000 }, async (target) => {
  const wire = await openWire(target);
  const told = follow(target, splitClient(target, { url: wire.url }).test.ticks, { count: 8, intervalMs: 250 });
  await until(() => told.values.all.length >= 3, 'some ticks');
  wire.freeze();
  await told.completed.next(8000);
  assert.deepEqual(told.values.all, ticks(1, 8));
  assert.match(wire.requests, /input=[^ ]*lastEventId/);
});

check('sse: pings keep a quiet stream open', { section: '5', ms: 15_000 }, async (target) => {
  const wire = await openWire(target);
  const told = follow(target, splitClient(target, { url: wire.url }).demo.events, { exchangeId: 12345 });
  await told.started.next();
  await quiet(5000);
  assert.deepEqual([wire.connections, told.started.all.length, told.errors.all], [1, 1, []]);
});

check('sse: retryLink resumes after an error', { section: '5' }, async (target) => {
  const told = follow(target, splitClient(target, { retries: 2 }).test.ticks, { count: 5, failAt: 3 });
  await told.completed.next();
  assert.deepEqual(told.values.all, ticks(1, 5));
});

check('sse: the EventSource of undici reads the same', { section: '5' }, async (target) => {
  const client = splitClient(target, { source: UndiciEventSource, sourceOptions: {} });
  const told = follow(target, client.test.ticks, { count: 4 });
  await told.completed.next();
  assert.deepEqual(told.values.all, ticks(1, 4));
  const mixed = follow(target, client.test.ticks, { count: 4, mode: 'mixed' });
  await mixed.completed.next();
  assert.equal(mixed.values.all.length, 4);
});

check('sse: events of any text arrive whole', { section: '5' }, async (target) => {
  const word = target.unique();
  const told = follow(target, splitClient(target).demo.events, undefined);
  await told.started.next();
  const texts = ['line\nfeed', 'carriage\rreturn', '\r\n\r\nevent: return', 'bèta-取引所 🦊', ' : leading', 'data: x', 'x'.repeat(20_000), '\u2028\u0085\u000b'];
  for (const text of texts) await mutate(target, 1, word + text);
  await until(() => mine(told, word).length === texts.length, 'every event arrives');
  assert.deepEqual(mine(told, word), texts);
});

check('sse: unsubscribing ends the subscription at the server', { section: '5', alone: true }, async (target) => {
  const before = await liveSubscribers(target);
  const told = [1, 2, 3].map(() => follow(target, splitClient(target).demo.events, undefined));
  await Promise.all(told.map(({ started }) => started.next()));
  assert.equal(await liveSubscribers(target), before + 3);
  told.forEach(({ unsubscribe }) => unsubscribe());
  await until(async () => (await liveSubscribers(target)) === before, 'the server lets them go');
});

check('sse: a split client calls and subscribes at once', { section: '5' }, async (target) => {
  const client = splitClient(target);
  const told = follow(target, client.test.ticks, { count: 3 });
  const [list, error] = await Promise.all([client.demo.list.query(), failure(client.demo.nope.query())]);
  assert.equal(list.length, 2);
  assertShape(error.shape, { code: 'NOT_FOUND', path: 'demo.nope' });
  await told.completed.next();
});
