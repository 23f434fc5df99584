// Batches on the wire: one answer for many calls.
import { assertOneEnvelope, get, pathOf, post, request } from '../raw.mjs';
import { assert, assertShape, check } from '../suite.mjs';

check('batch: of one is a list of one', { section: '2' }, async (target) => {
  const answer = await get(target, pathOf(['test.echo'], { input: { 0: 5 } }));
  assert.deepEqual([answer.status, answer.json], [200, [{ result: { data: 5 } }]]);
});

check('batch: answers are in the order of the calls', { section: '2' }, async (target) => {
  const answer = await get(target, pathOf(['test.slow', 'test.echo', 'demo.list'], { input: { 0: { ms: 150 }, 1: 'second' } }));
  assert.equal(answer.status, 200);
  assert.deepEqual([answer.json[0].result.data, answer.json[1].result.data, answer.json[2].result.data.length], [{ ms: 150 }, 'second', 2]);
});

check('batch: different statuses make 207', { section: '2' }, async (target) => {
  const answer = await get(target, pathOf(['demo.list', 'demo.byId', 'demo.byId'], { input: { 1: { exchangeId: 2 }, 2: { exchangeId: 99 } } }));
  assert.equal(answer.status, 207);
  assert.match(answer.headers['content-type'], /^application\/json/);
  assertShape(answer.json[2].error, { code: 'NOT_FOUND', path: 'demo.byId' });
  const errors = await get(target, pathOf(['demo.nope', 'test.crash']));
  assert.equal(errors.status, 207);
});

check('batch: equal statuses stay themselves', { section: '2' }, async (target) => {
  assert.equal((await get(target, pathOf(['demo.nope', 'demo.byId'], { input: { 1: { exchangeId: 99 } } }))).status, 404);
  assert.equal((await get(target, pathOf(['test.crash', 'test.crash']))).status, 500);
  assert.equal((await request(target, pathOf(['demo.list', 'demo.list']))).status, 401);
  assert.equal((await get(target, pathOf(['demo.list', 'demo.list']))).status, 200);
});

check('batch: mutations, one of which fails', { section: '2' }, async (target) => {
  const answer = await post(target, pathOf(['demo.mutate', 'demo.mutate']), { 0: { exchangeId: 1, command: 'a' }, 1: { exchangeId: 77, command: 'b' } });
  assert.equal(answer.status, 207);
  assert.equal(answer.json[0].result.data.accepted, true);
  assertShape(answer.json[1].error, { code: 'NOT_FOUND', path: 'demo.mutate' });
});

check('batch: without any input', { section: '1' }, async (target) => {
  for (const query of ['', '&input=', '&input=%7B%7D']) {
    assert.equal((await get(target, `/demo.list,demo.list?batch=1${query}`)).status, 200, query);
  }
  assert.equal((await post(target, '/test.nothing,test.nothing?batch=1', '')).status, 200);
  assert.equal((await post(target, '/test.nothing,test.nothing?batch=1', {})).status, 200);
});

check('batch: a null in it is a value', { section: '1' }, async (target) => {
  const answer = await get(target, pathOf(['test.echo', 'demo.byId'], { input: { 0: null, 1: null } }));
  assert.equal(answer.json[0].result.data, null);
  assertShape(answer.json[1].error, { code: 'BAD_REQUEST', path: 'demo.byId' });
});

check('batch: input that is no object fails each call that reads it', { section: '1' }, async (target) => {
  for (const input of [[1], null, 3, 'x']) {
    const answer = await get(target, pathOf(['test.echo', 'demo.list'], { input }));
    assert.equal(answer.status, 207, JSON.stringify(input));
    assertShape(answer.json[0].error, { code: 'BAD_REQUEST', path: 'test.echo', message: '"input" needs to be an object when doing a batch call' });
    assert.equal(answer.json[1].result.data.length, 2);
  }
});

check('batch: input that is not JSON fails each call that reads it', { section: '1' }, async (target) => {
  const answer = await get(target, '/test.echo,demo.list,demo.byId?batch=1&input=%7B%220');
  assert.equal(answer.status, 207);
  assertShape(answer.json[0].error, { code: 'BAD_REQUEST', path: 'test.echo' });
  assertShape(answer.json[2].error, { code: 'BAD_REQUEST', path: 'demo.byId' });
  assert.equal(answer.json[1].result.data.length, 2);
});

check('batch: queries and mutations do not mix', { section: '1' }, async (target) => {
  const answer = await get(target, pathOf(['demo.list', 'test.nothing']));
  assert.equal(answer.status, 400);
  assertShape(assertOneEnvelope(answer), { code: 'BAD_REQUEST', message: 'Cannot mix procedure types in call: query, mutation' });
});

check('batch: an unknown path mixes with anything', { section: '1' }, async (target) => {
  const answer = await get(target, pathOf(['demo.nope', 'demo.list']));
  assert.equal(answer.status, 207);
  assertShape(answer.json[0].error, { code: 'NOT_FOUND', path: 'demo.nope' });
});

check('batch: wrong methods are errors of their calls', { section: '1' }, async (target) => {
  const answer = await get(target, pathOf(['test.nothing', 'demo.nope']));
  assert.equal(answer.status, 207);
  assertShape(answer.json[0].error, { code: 'METHOD_NOT_SUPPORTED', path: 'test.nothing' });
});

check('batch: of more than 20 calls is refused as a whole', { section: '1' }, async (target) => {
  const answer = await get(target, pathOf(Array(21).fill('demo.list')));
  assert.equal(answer.status, 400);
  assertShape(assertOneEnvelope(answer), { code: 'BAD_REQUEST', message: 'Batch call exceeds maximum size' });
  assert.equal((await get(target, pathOf(Array(20).fill('demo.list')))).json.length, 20);
});

check('batch: the content-type is checked before its size is', { section: '1' }, async (target) => {
  const answer = await post(target, pathOf(Array(21).fill('test.nothing')), '{}', { 'content-type': 'text/plain' });
  assert.equal(answer.status, 415);
});

check('batch: its size is checked before types are', { section: '1' }, async (target) => {
  const answer = await get(target, pathOf([...Array(20).fill('demo.list'), 'test.nothing']));
  assertShape(assertOneEnvelope(answer), { code: 'BAD_REQUEST', message: 'Batch call exceeds maximum size' });
});

check('batch: types are checked before connectionParams are', { section: '1' }, async (target) => {
  const answer = await get(target, pathOf(['demo.list', 'test.nothing'], { connectionParams: '{' }));
  assertShape(assertOneEnvelope(answer), { code: 'BAD_REQUEST', message: /^Cannot mix/ });
});

check('batch: subscriptions are refused', { section: '5' }, async (target) => {
  const answer = await get(target, pathOf(['test.ticks'], { input: { 0: { count: 1 } } }), { accept: 'text/event-stream' });
  assert.equal(answer.status, 400);
  assertShape(answer.json[0].error, { code: 'BAD_REQUEST', path: 'test.ticks', message: 'Cannot batch subscription calls' });
});

check('batch: subscriptions are refused before the token is asked for', { section: '1' }, async (target) => {
  const answer = await request(target, pathOf(['demo.events']));
  assertShape(answer.json[0].error, { code: 'BAD_REQUEST', path: 'demo.events', message: 'Cannot batch subscription calls' });
});

check('batch: its calls run at once', { section: '2', ms: 12_000 }, async (target) => {
  const started = performance.now();
  const input = Object.fromEntries([...Array(8).keys()].map((index) => [index, { ms: 1000 }]));
  await request(target, pathOf(Array(8).fill('test.slow'), { input }), { ms: 11_000 });
  assert.ok(performance.now() - started < 7000, 'eight calls of a second were made one after the other');
});
