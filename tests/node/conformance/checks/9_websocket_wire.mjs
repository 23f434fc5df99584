// WebSocket frames that the real client never sends, or never shows.
import { call, openSocket } from '../raw.mjs';
import { assert, assertShape, check, quiet } from '../suite.mjs';

const connected = (target) => openSocket(target, { headers: { authorization: `Bearer ${target.token}` } });
const withParams = (target) => openSocket(target, { query: '?connectionParams=1' });
const noPings = (frames) => frames.filter((frame) => frame !== 'PING');

/** The next frame that is not the server's PING. */
async function nextOf({ frames }, ms) {
  for (;;) {
    const frame = await frames.next(ms);
    if (frame !== 'PING') return frame;
  }
}

async function takeOf(socket, count) {
  const taken = [];
  while (taken.length < count) taken.push(await nextOf(socket));
  return taken;
}

/** The socket still works. */
async function assertAlive(socket) {
  socket.send(call('alive', 'query', 'test.echo', 1));
  assert.deepEqual(await nextOf(socket), { id: 'alive', result: { type: 'data', data: 1 } });
}

check('ws wire: an answer has its id, its type and nothing else', { section: '6' }, async (target) => {
  const socket = await connected(target);
  for (const id of [0, 7, -1, 1.5, '7', 'a b', 2 ** 53 - 1]) {
    socket.send(call(id, 'query', 'test.echo', { a: 'é' }));
    assert.deepEqual(await nextOf(socket), { id, result: { type: 'data', data: { a: 'é' } } });
  }
  assert.equal(socket.binary.all.length, 0);
});

check('ws wire: jsonrpc is echoed', { section: '6' }, async (target) => {
  const socket = await connected(target);
  socket.send({ ...call(1, 'query', 'test.echo', 1), jsonrpc: '2.0' });
  assert.deepEqual(await nextOf(socket), { id: 1, jsonrpc: '2.0', result: { type: 'data', data: 1 } });
});

check('ws wire: no subprotocol is chosen', { section: '6' }, async (target) => {
  const { socket } = await connected(target);
  assert.equal(socket.protocol, '');
});

check('ws wire: a wrong type is NOT_FOUND in its own words', { section: '6' }, async (target) => {
  const socket = await connected(target);
  for (const [method, path] of [['query', 'demo.nope'], ['mutation', 'demo.list'], ['query', 'demo.mutate'], ['query', 'test.ticks'], ['subscription', 'demo.list']]) {
    socket.send(call(1, method, path));
    assertShape((await nextOf(socket)).error, { code: 'NOT_FOUND', path, message: `No "${method}"-procedure on path "${path}"` });
  }
});

check('ws wire: an error has the id of its call', { section: '6' }, async (target) => {
  const socket = await connected(target);
  socket.send(call(0, 'query', 'demo.byId', { exchangeId: 99 }));
  const frame = await nextOf(socket);
  assert.equal(frame.id, 0);
  assertShape(frame.error, { code: 'NOT_FOUND', path: 'demo.byId' });
  assert.deepEqual(Object.keys(frame).sort(), ['error', 'id']);
});

check('ws wire: an array of calls gets one frame for each', { section: '6' }, async (target) => {
  const socket = await connected(target);
  socket.send([call(1, 'query', 'test.slow', { ms: 200 }), call(2, 'query', 'demo.nope'), call(3, 'query', 'test.echo', 3)]);
  const frames = await takeOf(socket, 3);
  assert.deepEqual(frames.map(({ id }) => id).sort(), [1, 2, 3]);
  assert.equal(frames.at(-1).id, 1, 'a slow call does not hold up the others');
});

check('ws wire: a subscription is started, tells and stops', { section: '6' }, async (target) => {
  const socket = await connected(target);
  socket.send(call(3, 'subscription', 'test.ticks', { count: 2 }));
  assert.deepEqual(await takeOf(socket, 4), [
    { id: 3, result: { type: 'started' } },
    { id: 3, result: { type: 'data', id: '1', data: { id: '1', data: { n: 1 } } } },
    { id: 3, result: { type: 'data', id: '2', data: { id: '2', data: { n: 2 } } } },
    { id: 3, result: { type: 'stopped' } },
  ]);
  socket.send(call(4, 'subscription', 'test.ticks', { count: 1, mode: 'plain' }));
  assert.deepEqual((await takeOf(socket, 3))[1], { id: 4, result: { type: 'data', data: { n: 1 } } });
});

check('ws wire: subscription.stop stops it', { section: '6' }, async (target) => {
  const socket = await connected(target);
  socket.send(call(1, 'subscription', 'demo.events'));
  assert.deepEqual(await nextOf(socket), { id: 1, result: { type: 'started' } });
  socket.send({ id: 1, method: 'subscription.stop' });
  for (;;) {
    const { result } = await nextOf(socket);
    if (result.type === 'stopped') break;
    assert.equal(result.type, 'data');
  }
  await assertAlive(socket);
});

check('ws wire: stopping what does not run is met with silence', { section: '6' }, async (target) => {
  const socket = await connected(target);
  socket.send({ id: 99, method: 'subscription.stop' });
  socket.send({ id: 'x', method: 'subscription.stop' });
  await assertAlive(socket);
});

check('ws wire: lastEventId in params resumes', { section: '6' }, async (target) => {
  const socket = await connected(target);
  const { params, ...frame } = call(1, 'subscription', 'test.ticks', { count: 5, lastEventId: '1' });
  socket.send({ ...frame, params: { ...params, lastEventId: '4' } });
  const frames = await takeOf(socket, 3);
  assert.equal(frames[1].result.id, '5');
  assert.equal(frames[2].result.type, 'stopped');
  socket.send({ id: 2, method: 'subscription', params: { path: 'demo.events', lastEventId: '0' } });
  assert.deepEqual(await nextOf(socket), { id: 2, result: { type: 'started' } });
});

check('ws wire: a running id is not taken twice', { section: '6' }, async (target) => {
  const socket = await connected(target);
  socket.send(call(2, 'subscription', 'test.ticks', { count: 4, intervalMs: 100 }));
  assert.deepEqual(await nextOf(socket), { id: 2, result: { type: 'started' } });
  socket.send(call(2, 'subscription', 'test.ticks', { count: 4 }));
  const frames = await takeOf(socket, 6);
  const errors = frames.filter(({ error }) => error);
  assert.equal(errors.length, 1);
  assertShape(errors[0].error, { code: 'BAD_REQUEST', path: 'test.ticks', message: 'Duplicate id 2' });
  assert.deepEqual(frames.filter(({ result }) => result?.type === 'data').map(({ result }) => result.id), ['1', '2', '3', '4']);
});

check('ws wire: a call may have the id of a running subscription', { section: '6' }, async (target) => {
  const socket = await connected(target);
  socket.send(call(2, 'subscription', 'test.ticks', { count: 2, intervalMs: 100 }));
  assert.deepEqual(await nextOf(socket), { id: 2, result: { type: 'started' } });
  socket.send(call(2, 'query', 'test.echo', 'me, too'));
  const results = (await takeOf(socket, 4)).map(({ result }) => result);
  assert.ok(results.some(({ data }) => data === 'me, too'), JSON.stringify(results));
  assert.deepEqual(results.filter(({ id }) => id).map(({ id }) => id), ['1', '2']);
});

check('ws wire: an id is free again once it stopped', { section: '6' }, async (target) => {
  const socket = await connected(target);
  for (let round = 0; round < 3; round += 1) {
    socket.send(call(5, 'subscription', 'test.ticks', { count: 1 }));
    assert.deepEqual((await takeOf(socket, 3)).map(({ result }) => result?.type), ['started', 'data', 'stopped']);
  }
});

check('ws wire: a subscription that fails at once only says so', { section: '6' }, async (target) => {
  const socket = await connected(target);
  socket.send(call(1, 'subscription', 'test.ticks', { count: 'many' }));
  const frame = await nextOf(socket);
  assertShape(frame.error, { code: 'BAD_REQUEST', path: 'test.ticks' });
  await quiet(100);
  await assertAlive(socket);
});

check('ws wire: a subscription that fails later says why, then stops', { section: '6' }, async (target) => {
  const socket = await connected(target);
  socket.send(call(1, 'subscription', 'test.ticks', { count: 3, failAt: 2 }));
  const frames = await takeOf(socket, 4);
  assert.deepEqual(frames.map(({ result, error }) => result?.type ?? error?.data.code), ['started', 'data', 'CONFLICT', 'stopped']);
});

const leaks = 'the reference sends the text of any exception';
check('ws wire: a subscription that crashes tells its code only', { section: '6', oursOnly: leaks }, async (target) => {
  const socket = await connected(target);
  socket.send(call(1, 'subscription', 'test.ticks', { count: 3, failAt: 2, failCode: 'CRASH' }));
  const [, , { error }] = await takeOf(socket, 3);
  assertShape(error, { code: 'INTERNAL_SERVER_ERROR', path: 'test.ticks' });
  assert.doesNotMatch(error.message, /plain|exception/);
});

check('ws wire: a frame that is none is answered and forgiven', { section: '6' }, async (target) => {
  const socket = await connected(target);
  const params = { path: 'test.echo' };
  const bad = [
    '', '{', 'nope', 'ping', '"text"', '3', 'null', 'true', '[3]', '[[]]', '{}',
    { method: 'query', params }, { id: true, method: 'query', params }, { id: [1], method: 'query', params }, { id: {}, method: 'query', params },
    { id: 1, method: 'subscribe', params }, { id: 1, params }, { id: 1, method: 3, params },
    { id: 1, method: 'query' }, { id: 1, method: 'query', params: 3 }, { id: 1, method: 'query', params: [] }, { id: 1, method: 'query', params: {} },
    { id: 1, method: 'query', params: { path: 3 } }, { id: 1, method: 'query', params, jsonrpc: '1.0' }, { id: 1, method: 'query', params, jsonrpc: 2 },
    { id: 1, method: 'subscription', params: { path: 'test.ticks', lastEventId: 3 } },
  ];
  for (const frame of bad) {
    socket.send(frame);
    const answer = await nextOf(socket);
    assert.equal(answer.id, null, JSON.stringify(frame));
    assertShape(answer.error, { code: 'PARSE_ERROR' });
  }
  socket.send(Buffer.from('{"id":1'));
  assert.equal((await nextOf(socket)).id, null);
  await assertAlive(socket);
});

check('ws wire: one bad element fails its whole array', { section: '6' }, async (target) => {
  const socket = await connected(target);
  socket.send([call(1, 'query', 'test.echo', 1), { id: 2 }, call(3, 'query', 'test.echo', 3)]);
  const answer = await nextOf(socket);
  assert.equal(answer.id, null);
  assertShape(answer.error, { code: 'PARSE_ERROR' });
  await assertAlive(socket);
});

check('ws wire: an id of null is told so', { section: '6' }, async (target) => {
  const socket = await connected(target);
  socket.send(call(null, 'query', 'test.echo', 1));
  const answer = await nextOf(socket);
  assert.equal(answer.id, null);
  assertShape(answer.error, { code: 'PARSE_ERROR', message: '`id` is required' });
  await assertAlive(socket);
});

check('ws wire: an empty array is met with silence', { section: '6' }, async (target) => {
  const socket = await connected(target);
  socket.send('[]');
  await assertAlive(socket);
});

check('ws wire: an async iterable from a query is 415', { section: '6' }, async (target) => {
  const socket = await connected(target);
  socket.send(call(1, 'query', 'test.stream', { count: 2 }));
  const message = 'Cannot return an async iterable or observable from a query procedure with WebSockets';
  assertShape((await nextOf(socket)).error, { code: 'UNSUPPORTED_MEDIA_TYPE', path: 'test.stream', message });
});

check('ws wire: a batch beyond the limit fails each id', { section: '6' }, async (target) => {
  const socket = await connected(target);
  socket.send(Array.from({ length: 21 }, (_, id) => call(id, 'query', 'test.echo', id)));
  const frames = await takeOf(socket, 21);
  assert.deepEqual(frames.map(({ id }) => id).sort((one, other) => one - other), [...Array(21).keys()]);
  frames.forEach(({ error }) => assertShape(error, { code: 'BAD_REQUEST', message: 'Batch call exceeds maximum size' }));
  await assertAlive(socket);
});

check('ws wire: PING is answered at once and in order', { section: '6' }, async (target) => {
  const socket = await connected(target);
  socket.send(call(1, 'query', 'test.slow', { ms: 300 }));
  socket.send('PING');
  socket.send('PONG');
  assert.deepEqual((await takeOf(socket, 2)).map((frame) => frame.id ?? frame), ['PONG', 1]);
});

check('ws wire: PONG comes behind what was sent before', { section: '6' }, async (target) => {
  const socket = await connected(target);
  socket.send(call(1, 'subscription', 'demo.events'));
  await nextOf(socket);
  socket.send({ id: 1, method: 'subscription.stop' });
  await quiet(60);
  socket.send('PING');
  const frames = [];
  while (frames.at(-1) !== 'PONG') frames.push(await nextOf(socket));
  assert.ok(frames.some(({ result }) => result?.type === 'stopped'), 'stopped came before PONG');
});

check('ws wire: with connectionParams nothing runs before them', { section: '6' }, async (target) => {
  const socket = await withParams(target);
  socket.send('PING');
  assert.equal(await socket.frames.next(), 'PONG');
  await socket.frames.staysEmpty();
  socket.send({ method: 'connectionParams', data: { token: 'abc' } });
  socket.send(call(1, 'query', 'test.whoami'));
  assert.deepEqual(await nextOf(socket), { id: 1, result: { type: 'data', data: { token: 'abc' } } });
});

check('ws wire: connectionParams may be null, their method anything', { section: '6' }, async (target) => {
  for (const frame of [{ method: 'connectionParams', data: null }, { data: {} }, { method: 'x', data: { a: 'b' } }]) {
    const socket = await withParams(target);
    socket.send(frame);
    await assertAlive(socket);
  }
});

check('ws wire: without connectionParams the context is there at once', { section: '6' }, async (target) => {
  for (const query of ['', '?connectionParams=0', '?connectionParams=true']) {
    await assertAlive(await openSocket(target, { query }));
  }
});

check('ws wire: connectionParams that are none close the socket', { section: '6' }, async (target) => {
  const cases = [
    ['nope', /^Malformed TRPCConnectionParamsMessage/], ['3', /^Malformed/], ['[]', /^Malformed/], ['{"data":3}', /^Invalid connection params shape/],
    ['{"data":{"token":1}}', /^Invalid/], ['{"data":[]}', /^Invalid/], ['{}', /^Invalid/],
  ];
  for (const [frame, message] of cases) {
    const socket = await withParams(target);
    socket.send(frame);
    const answer = await nextOf(socket);
    assert.equal(answer.id, null, frame);
    assertShape(answer.error, { code: 'PARSE_ERROR', message });
    await socket.closed.next();
  }
});

check('ws wire: a refused context says so, then closes', { section: '6' }, async (target) => {
  const socket = await withParams(target);
  socket.send({ method: 'connectionParams', data: { token: 'reject-me' } });
  const frame = await nextOf(socket);
  assert.equal(frame.id, null);
  assertShape(frame.error, { code: 'UNAUTHORIZED', message: 'Token rejected' });
  await socket.closed.next();
});

const races = 'its close may overtake these answers';
check('ws wire: a refused context answers every call that had come', { section: '6', oursOnly: races }, async (target) => {
  const socket = await withParams(target);
  const calls = [call(1, 'query', 'test.whoami'), call('two', 'subscription', 'test.ticks', { count: 1 })];
  socket.sendTogether({ method: 'connectionParams', data: { token: 'reject-me' } }, calls);
  await socket.closed.next();
  const [first, ...others] = noPings(socket.frames.all);
  assert.equal(first.id, null);
  assertShape(first.error, { code: 'UNAUTHORIZED', message: 'Token rejected' });
  for (const { error } of others) assertShape(error, { code: 'UNAUTHORIZED', path: error.data.path, message: 'Token rejected' });
  assert.deepEqual(others.map(({ id }) => id), [1, 'two']);
});

check('ws wire: a refused socket closes without a code', { section: '6' }, async (target) => {
  const socket = await withParams(target);
  socket.send({ method: 'connectionParams', data: { token: 'reject-me' } });
  assert.equal(await socket.closed.next(), 1005);
});

check('ws wire: a refused header closes at once', { section: '6' }, async (target) => {
  const socket = await openSocket(target, { headers: { authorization: 'Bearer reject-me' } });
  assertShape((await nextOf(socket)).error, { code: 'UNAUTHORIZED', message: 'Token rejected' });
  await socket.closed.next();
});

check('ws wire: a quiet socket is sent PING, and ended without PONG', { section: '6', ms: 12_000 }, async (target) => {
  const socket = await connected(target);
  assert.equal(await socket.frames.next(5500), 'PING');
  const started = performance.now();
  await socket.closed.next(5000);
  assert.ok(performance.now() - started > 300, 'it was given time to answer');
});

check('ws wire: any message counts as life', { section: '6', ms: 15_000 }, async (target) => {
  const socket = await connected(target);
  for (let round = 0; round < 7; round += 1) {
    await quiet(800);
    socket.send(call(round, 'query', 'test.echo', round));
  }
  assert.deepEqual(socket.closed.all, []);
});

check('ws wire: the reconnect notice reaches every socket', { section: '6', alone: true }, async (target) => {
  const sockets = await Promise.all([connected(target), connected(target), withParams(target)]);
  sockets[0].send(call(1, 'mutation', 'test.reconnectAll'));
  for (const socket of sockets) {
    for (;;) {
      const frame = await nextOf(socket);
      if (frame.method !== 'reconnect') continue;
      assert.deepEqual(frame, { id: null, method: 'reconnect' });
      break;
    }
  }
});

check('ws wire: a large frame is served', { section: '6' }, async (target) => {
  const socket = await connected(target);
  const text = 'é'.repeat(200_000);
  socket.send(call(1, 'mutation', 'test.echoMutation', text));
  assert.equal((await nextOf(socket)).result.data, text);
});

check('ws wire: NaN in a frame is a bad frame', { section: '6' }, async (target) => {
  const socket = await connected(target);
  socket.send('{"id":NaN,"method":"query","params":{"path":"test.echo"}}');
  assert.equal((await nextOf(socket)).id, null);
  socket.send('{"id":1,"method":"query","params":{"path":"test.echo","input":Infinity}}');
  assert.equal((await nextOf(socket)).id, null);
  await assertAlive(socket);
});
