// The event stream as bytes, and what may stand in its request.
import { bearer, get, openEvents, pathOf, post, readEvents, request } from '../raw.mjs';
import { assert, assertShape, check, within } from '../suite.mjs';

const ticksOf = (input, others) => pathOf('test.ticks', { input, ...others });
const shapeOf = (block) => {
  assert.equal(block.event, 'serialized-error', JSON.stringify(block));
  return JSON.parse(block.data);
};
const nOf = (blocks) => blocks.filter(({ event, data }) => !event && data).map(({ data }) => JSON.parse(data).n);

check('sse wire: status and headers', { section: '5' }, async (target) => {
  const { status, headers } = await readEvents(target, ticksOf({ count: 1 }));
  assert.equal(status, 200);
  assert.match(headers['content-type'], /^text\/event-stream(;|$)/);
  assert.match(headers['cache-control'], /no-cache/);
  assert.match(headers['cache-control'], /no-transform/);
  assert.equal(headers['x-accel-buffering'], 'no');
  assert.match(headers.vary, /trpc-accept/i);
});

check('sse wire: connected first, return last, each with data', { section: '5' }, async (target) => {
  const { blocks, text } = await readEvents(target, ticksOf({ count: 2 }));
  assert.equal(blocks[0].event, 'connected');
  assert.equal(typeof JSON.parse(blocks[0].data), 'object');
  assert.deepEqual(blocks.slice(1, 3), [{ data: '{"n":1}', id: '1' }, { data: '{"n":2}', id: '2' }]);
  assert.equal(blocks[3].event, 'return');
  assert.ok('data' in blocks[3], 'without a data line the event is never dispatched');
  assert.equal(blocks.length, 4);
  assert.match(text, /\n\n$/);
});

check('sse wire: connected comes at once', { section: '5' }, async (target) => {
  const started = performance.now();
  const stream = await openEvents(target, '/demo.events', { headers: bearer(target) });
  assert.equal((await stream.blocks.next()).event, 'connected');
  assert.ok(performance.now() - started < 900, 'the first event came late');
});

check('sse wire: pings come more often than the client gives up', { section: '5' }, async (target) => {
  const stream = await openEvents(target, '/demo.events', { headers: bearer(target) });
  const { reconnectAfterInactivityMs: patience = 3000 } = JSON.parse((await stream.blocks.next()).data);
  const nextPing = async () => {
    for (;;) {
      const block = await stream.blocks.next(patience + 1000);
      if (block.event === 'ping') return block;
    }
  };
  const ping = await within(patience + 1000, nextPing(), 'a ping'); // a second for a loaded machine
  assert.ok('data' in ping, 'without a data line the event is never dispatched');
});

check('sse wire: errors of a subscription are 200 and an event', { section: '5' }, async (target) => {
  const refused = { authorization: 'Bearer reject-me' };
  const cases = [
    ['input', ticksOf({}), {}, 'BAD_REQUEST', 'test.ticks'],
    ['not JSON', '/test.ticks?input=%7Bnope', {}, 'BAD_REQUEST', 'test.ticks'],
    ['no token', '/demo.events', {}, 'UNAUTHORIZED', 'demo.events'],
    ['context', ticksOf({ count: 1 }), { headers: refused }, 'UNAUTHORIZED', 'test.ticks'],
    ['method', '/test.ticks', { method: 'PUT', headers: { 'content-type': 'application/json' }, body: '{}' }, 'METHOD_NOT_SUPPORTED', 'test.ticks'],
  ];
  for (const [what, path, options, code, procedure] of cases) {
    const { status, headers, blocks } = await readEvents(target, path, options);
    assert.equal(status, 200, what);
    assert.match(headers['content-type'], /^text\/event-stream/, what);
    assertShape(shapeOf(blocks.at(-1)), { code, path: procedure });
  }
});

check('sse wire: an error ends the stream without return', { section: '5' }, async (target) => {
  const { blocks } = await readEvents(target, ticksOf({ count: 5, failAt: 2 }));
  assertShape(shapeOf(blocks.at(-1)), { code: 'CONFLICT', path: 'test.ticks' });
  assert.ok(blocks.every(({ event }) => event !== 'return'));
});

const leaks = 'the reference sends the text of any exception';
check('sse wire: a crash tells its code only', { section: '5', oursOnly: leaks }, async (target) => {
  const { blocks } = await readEvents(target, ticksOf({ count: 5, failAt: 2, failCode: 'CRASH' }));
  assertShape(shapeOf(blocks.at(-1)), { code: 'INTERNAL_SERVER_ERROR', path: 'test.ticks' });
  assert.doesNotMatch(blocks.at(-1).data, /plain|exception/);
});

check('sse wire: what is no subscription is answered in JSON', { section: '5' }, async (target) => {
  const accept = 'text/event-stream';
  const unknown = await get(target, '/demo.nope', { accept });
  assert.equal(unknown.status, 404);
  assertShape(unknown.json.error, { code: 'NOT_FOUND', path: 'demo.nope' });
  const params = await get(target, '/demo.events?connectionParams=%7B', { accept });
  assert.equal(params.status, 400);
  assertShape(params.json.error, { code: 'PARSE_ERROR' });
  assert.equal((await get(target, '/demo.list', { accept })).json.result.data.length, 2);
});

check('sse wire: a subscription streams whatever is accepted', { section: '5' }, async (target) => {
  for (const accept of ['*/*', 'application/json']) {
    const { headers } = await readEvents(target, ticksOf({ count: 1 }), { headers: { accept } });
    assert.match(headers['content-type'], /^text\/event-stream/, accept);
  }
});

check('sse wire: connectionParams carry the token', { section: '5' }, async (target) => {
  const word = target.unique();
  const stream = await openEvents(target, pathOf('demo.events', { connectionParams: JSON.stringify({ token: target.token }) }));
  assert.equal((await stream.blocks.next()).event, 'connected');
  await post(target, '/demo.mutate', { exchangeId: 1, command: word });
  for (let told = ''; !told.includes(word); ) {
    const { event, data } = await stream.blocks.next();
    assert.ok(!event || event === 'ping', `${event}: ${data}`);
    told = data;
  }
});

check('sse wire: the last event id comes by header or query', { section: '5' }, async (target) => {
  const path = ticksOf({ count: 6 });
  assert.deepEqual(nOf((await readEvents(target, path, { headers: { 'last-event-id': '4' } })).blocks), [5, 6]);
  assert.deepEqual(nOf((await readEvents(target, `${path}&lastEventId=3`)).blocks), [4, 5, 6]);
  assert.deepEqual(nOf((await readEvents(target, `${path}&Last-Event-Id=2`)).blocks), [3, 4, 5, 6]);
  assert.deepEqual(nOf((await readEvents(target, ticksOf({ count: 6, lastEventId: '5' }))).blocks), [6]);
});

check('sse wire: the header wins over the query, and both over input', { section: '5' }, async (target) => {
  const path = ticksOf({ count: 6, lastEventId: '1' });
  assert.deepEqual(nOf((await readEvents(target, `${path}&lastEventId=3&Last-Event-Id=2`, { headers: { 'last-event-id': '4' } })).blocks), [5, 6]);
  assert.deepEqual(nOf((await readEvents(target, `${path}&Last-Event-Id=2&lastEventId=3`)).blocks), [4, 5, 6]);
});

check('sse wire: an empty last event id is none', { section: '5' }, async (target) => {
  assert.deepEqual(nOf((await readEvents(target, `${ticksOf({ count: 3 })}&lastEventId=`, {})).blocks), [1, 2, 3]);
});

check('sse wire: a last event id makes an input where there is none', { section: '5' }, async (target) => {
  const { eventId } = (await request(target, '/demo.mutate', {
    method: 'POST',
    headers: { ...bearer(target), 'content-type': 'application/json' },
    body: JSON.stringify({ exchangeId: 1, command: target.unique() }),
  })).json.result.data;
  for (const query of ['', '?input=null', '?input=']) {
    const stream = await openEvents(target, `/demo.events${query}`, { headers: { ...bearer(target), 'last-event-id': String(Number(eventId) - 1) } });
    assert.equal((await stream.blocks.next()).event, 'connected');
    assert.equal((await stream.blocks.next()).id, eventId, query);
    stream.close();
  }
});

check('sse wire: a last event id leaves an input alone that is no object', { section: '5' }, async (target) => {
  for (const input of ['3', '"x"', '[1]', '{nope']) {
    const { blocks } = await readEvents(target, `/demo.events?input=${encodeURIComponent(input)}`, { headers: { ...bearer(target), 'last-event-id': '0' } });
    assertShape(shapeOf(blocks.at(-1)), { code: 'BAD_REQUEST', path: 'demo.events' });
  }
});

check('sse wire: an untracked event clears the id and restores it', { section: '5' }, async (target) => {
  const { blocks } = await readEvents(target, ticksOf({ count: 6, mode: 'mixed' }));
  let last = null;
  let restored = 0;
  blocks.forEach((block, index) => {
    if (block.event === 'restore-id') {
      restored += 1;
      assert.deepEqual([block.id, 'data' in block], [last, true]);
    } else if (block.id) {
      last = block.id;
    } else if (!block.event && last !== null) {
      assert.equal(block.id, '', `block ${index} clears the id`);
      assert.equal(blocks[index + 1].event, 'restore-id');
    }
  });
  assert.ok(restored > 0, 'a tracked event came before an untracked one');
});

check('sse wire: a resumed untracked stream keeps the id of its request', { section: '5' }, async (target) => {
  const { blocks } = await readEvents(target, ticksOf({ count: 3, mode: 'plain' }), { headers: { 'last-event-id': '1' } });
  assert.deepEqual(blocks.slice(1, 3), [{ data: '{"n":2}', id: '' }, { event: 'restore-id', data: '', id: '1' }]);
});

check('sse wire: plain streams have no ids', { section: '5' }, async (target) => {
  const { blocks } = await readEvents(target, ticksOf({ count: 3, mode: 'plain' }));
  assert.deepEqual(blocks.slice(1, 4), [{ data: '{"n":1}' }, { data: '{"n":2}' }, { data: '{"n":3}' }]);
});

check('sse wire: a last event id cannot write into the stream', { section: '5' }, async (target) => {
  const evil = encodeURIComponent('1\ndata: {"n":666}\n\nevent: return\ndata: x\n\n');
  const { text } = await readEvents(target, `${ticksOf({ count: 3, mode: 'plain' })}&lastEventId=${evil}`);
  assert.doesNotMatch(text, /^data: \{"n":666\}/m);
});

check('sse wire: a subscription by POST', { section: '5' }, async (target) => {
  const { status, blocks } = await readEvents(target, '/test.ticks', {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: '{"count":2}',
  });
  assert.equal(status, 200);
  assert.deepEqual(nOf(blocks), [1, 2]);
});
