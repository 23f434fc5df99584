// httpBatchStreamLink: through the real client, and line by line.
import { clientOf } from '../clients.mjs';
import { assertOneEnvelope, bearer, get, openRequest, pathOf, post, request } from '../raw.mjs';
import { assert, assertShape, check, failure, until } from '../suite.mjs';

const STREAM = { 'trpc-accept': 'application/jsonl' };
const streamOf = (target) => clientOf(target, 'httpBatchStreamLink');

/** Every line parsed, after the form of the stream was checked: head first, no empty line, each announced chunk once. */
function linesOf({ status, text }) {
  assert.equal(status, 200);
  assert.ok(text.endsWith('\n'), `the last line is ended: ${JSON.stringify(text.slice(-40))}`);
  const lines = text.slice(0, -1).split('\n');
  lines.forEach((line, index) => assert.notEqual(line.trim(), '', `line ${index} is empty: the client would fail on it`));
  const [head, ...rest] = lines.map((line) => JSON.parse(line));
  const open = new Map();
  announce(open, Object.values(head));
  for (const [id, outcome, payload] of rest) {
    assert.ok(open.has(id), `chunk ${id} was announced and is not over`);
    if (open.get(id) === 0 || outcome !== 1) open.delete(id);
    if (Array.isArray(payload)) announce(open, [payload]);
  }
  assert.deepEqual([...open.keys()], [], 'every announced chunk came to its end');
  return [head, ...rest];
}

function announce(open, encodedValues) {
  for (const [, ...definitions] of encodedValues) {
    for (const [, type, id] of definitions) {
      assert.ok(!open.has(id), `chunk ${id} is announced once`);
      open.set(id, type);
    }
  }
}

check('jsonl: headers and form of the stream', { section: '4' }, async (target) => {
  const answer = await get(target, pathOf(['demo.list', 'demo.byId', 'test.slow'], { input: { 1: { exchangeId: 99 }, 2: { ms: 50 } } }), STREAM);
  assert.match(answer.headers['content-type'], /^application\/(json|jsonl|x-ndjson)/);
  assert.match(answer.headers.vary, /trpc-accept/i);
  const [head] = linesOf(answer);
  assert.deepEqual(Object.keys(head), ['0', '1', '2']);
});

check('jsonl: the status is 200 even if every call fails', { section: '4' }, async (target) => {
  linesOf(await get(target, pathOf(['demo.nope', 'demo.nope']), STREAM));
  linesOf(await request(target, pathOf(['demo.list']), { headers: STREAM }));
});

check('jsonl: a call that fails is a fulfilled promise of its error', { section: '4' }, async (target) => {
  const lines = linesOf(await get(target, pathOf(['demo.nope']), STREAM));
  const [, status, [[value]]] = lines.find((line) => JSON.stringify(line).includes('"error"'));
  assert.equal(status, 0);
  assertShape(value.error, { code: 'NOT_FOUND', path: 'demo.nope' });
});

check('jsonl: a context that refuses fails each call', { section: '4' }, async (target) => {
  const headers = { ...STREAM, authorization: 'Bearer reject-me' };
  const lines = linesOf(await request(target, pathOf(['test.nan', 'test.echo']), { headers }));
  assert.equal(JSON.stringify(lines).split('"Token rejected"').length, 3);
});

check('jsonl: nothing returned is a result without data', { section: '4' }, async (target) => {
  const text = (await post(target, pathOf(['test.nothing']), '', STREAM)).text;
  linesOf({ status: 200, text });
  assert.equal((await streamOf(target).test.nothing.mutate()) ?? null, null);
});

check('jsonl: the accept header asks for it, too', { section: '4' }, async (target) => {
  for (const accept of ['application/jsonl', 'text/html, application/jsonl', 'application/json,application/jsonl ']) {
    linesOf(await get(target, pathOf(['demo.list']), { accept }));
  }
  assert.ok(Array.isArray((await get(target, pathOf(['demo.list']), { accept: 'application/jsonl;q=1' })).json));
  assert.deepEqual(await clientOf(target, 'httpBatchStreamLink', { streamHeader: 'accept' }).test.echo.query(4), 4);
});

check('jsonl: trpc-accept wins over accept', { section: '4' }, async (target) => {
  for (const other of ['application/json', 'Application/Jsonl', 'text/html, application/jsonl']) {
    const answer = await get(target, pathOf(['test.echo'], { input: { 0: 1 } }), { 'trpc-accept': other, accept: 'application/jsonl' });
    assert.deepEqual(answer.json, [{ result: { data: 1 } }], other);
  }
});

check('jsonl: a stream must be a batch', { section: '4' }, async (target) => {
  const answer = await get(target, '/demo.list', STREAM);
  assert.equal(answer.status, 400);
  assertShape(assertOneEnvelope(answer), { code: 'BAD_REQUEST', message: 'Streaming requests must be batched (you can do a batch of 1)' });
});

check('jsonl: connectionParams are checked before it must be a batch', { section: '1' }, async (target) => {
  const params = await get(target, pathOf('demo.list', { connectionParams: '{' }), STREAM);
  assertShape(assertOneEnvelope(params), { code: 'PARSE_ERROR' });
});

check('jsonl: it must be a batch before the context is made', { section: '1' }, async (target) => {
  const refused = await request(target, '/demo.list', { headers: { ...STREAM, authorization: 'Bearer reject-me' } });
  assertShape(assertOneEnvelope(refused), { code: 'BAD_REQUEST', message: /^Streaming requests must be batched/ });
});

check('jsonl: a whole-request error is one plain envelope', { section: '4' }, async (target) => {
  const answer = await get(target, pathOf(['demo.list', 'test.nothing']), STREAM);
  assert.equal(answer.status, 400);
  assertShape(assertOneEnvelope(answer), { code: 'BAD_REQUEST', message: /^Cannot mix/ });
});

check('jsonl: quick calls do not wait for slow ones', { section: '4' }, async (target) => {
  const client = streamOf(target);
  const doneAt = (promise) => promise.then(() => performance.now());
  const slow = doneAt(client.test.slow.query({ ms: 2500 }));
  const quick = await Promise.all([doneAt(client.demo.list.query()), doneAt(failure(client.demo.nope.query()))]);
  assert.ok((await slow) - Math.max(...quick) > 500, 'the quick answers came with the slow one');
});

check('jsonl: the head is sent before any call is done', { section: '4' }, async (target) => {
  const started = performance.now();
  const response = await openRequest(target, pathOf(['test.slow'], { input: { 0: { ms: 4000 } } }), { headers: STREAM });
  const [first] = await response.setEncoding('utf8').take(1).toArray();
  assert.ok(performance.now() - started < 3000, 'the head came late');
  assert.equal(JSON.parse(first.split('\n')[0])['0'].length > 0, true);
});

check('jsonl: white space keeps a slow stream alive', { section: '4', ms: 12_000 }, async (target) => {
  const response = await openRequest(target, pathOf(['test.slow'], { input: { 0: { ms: 6000 } } }), { headers: STREAM });
  const arrivals = [performance.now()];
  let text = '';
  for await (const chunk of response.setEncoding('utf8')) {
    arrivals.push(performance.now());
    text += chunk;
  }
  const pauses = arrivals.slice(1).map((at, index) => at - arrivals[index]);
  assert.ok(Math.max(...pauses) < 5000, `silent for ${Math.round(Math.max(...pauses))} ms`);
  linesOf({ status: 200, text });
});

check('jsonl: white space does not disturb the client', { section: '4' }, async (target) => {
  assert.deepEqual(await streamOf(target).test.slow.query({ ms: 1800 }), { ms: 1800 });
});

check('jsonl: an async iterable is read as it comes', { section: '4' }, async (target) => {
  const values = [];
  for await (const value of await streamOf(target).test.stream.query({ count: 5 })) values.push(value);
  assert.deepEqual(values, [0, 1, 2, 3, 4]);
  assert.deepEqual(await Array.fromAsync(await streamOf(target).test.stream.query({ count: 0 })), []);
});

check('jsonl: what an async iterable returns arrives', { section: '4' }, async (target) => {
  const iterator = (await streamOf(target).test.stream.query({ count: 1 }))[Symbol.asyncIterator]();
  assert.deepEqual(await iterator.next(), { value: 0, done: false });
  assert.deepEqual(await iterator.next(), { value: 'done', done: true });
});

check('jsonl: an async iterable that breaks tells why', { section: '4' }, async (target) => {
  const values = [];
  const broken = (async () => {
    for await (const value of await streamOf(target).test.stream.query({ count: 5, failAt: 2 })) values.push(value);
  })();
  assertShape((await failure(broken)).shape, { code: 'CONFLICT', path: 'test.stream' });
  assert.deepEqual(values, [0, 1]);
});

check('jsonl: two iterables run side by side', { section: '4' }, async (target) => {
  const client = streamOf(target);
  const [one, other] = await Promise.all([client.test.stream.query({ count: 3 }), client.test.stream.query({ count: 4 })]);
  assert.deepEqual(await Promise.all([Array.fromAsync(one), Array.fromAsync(other)]), [[0, 1, 2], [0, 1, 2, 3]]);
});

check('jsonl: a promise inside a value arrives later', { section: '4' }, async (target) => {
  const answer = await streamOf(target).test.deferred.query();
  assert.equal(answer.now, 1);
  assert.equal(await answer.later, 2);
});

check('jsonl: a promise inside a value that fails tells why', { section: '4' }, async (target) => {
  const answer = await streamOf(target).test.deferred.query({ fails: true });
  assert.equal(answer.now, 1);
  assertShape((await failure(answer.later)).shape, { code: 'CONFLICT', path: 'test.deferred', message: 'broke later' });
});

check('jsonl: iterables and promises on the wire', { section: '4' }, async (target) => {
  linesOf(await get(target, pathOf(['test.stream', 'test.deferred', 'test.stream'], { input: { 0: { count: 3 }, 2: { count: 3, failAt: 1 } } }), STREAM));
});

check('jsonl: a client that leaves cancels every call', { section: '2' }, async (target) => {
  const keys = [target.unique(), target.unique()];
  const path = pathOf(['test.abortable', 'test.abortable'], { input: { 0: { key: keys[0], ms: 20_000 }, 1: { key: keys[1], ms: 20_000 } } });
  const response = await openRequest(target, path, { headers: { ...STREAM, ...bearer(target) } });
  response.on('error', () => {}).destroy();
  const aborted = async () => (await Promise.all(keys.map((key) => clientOf(target, 'httpLink').test.wasAborted.query({ key })))).every(Boolean);
  await until(aborted, 'both procedures are cancelled');
});

check('jsonl: mutations stream as well', { section: '4' }, async (target) => {
  const client = streamOf(target);
  const answers = await Promise.all([client.test.echoMutation.mutate({ a: 1 }), failure(client.demo.mutate.mutate({ exchangeId: 5, command: 'x' }))]);
  assert.deepEqual(answers[0], { a: 1 });
  assertShape(answers[1].shape, { code: 'NOT_FOUND', path: 'demo.mutate' });
});
