// Requests and answers as they are on the wire: statuses, headers, the order of checks, how input is read.
import http from 'node:http';

import { assertOneEnvelope, bearer, get, pathOf, post, request } from '../raw.mjs';
import { assert, assertShape, check } from '../suite.mjs';

const JSON_TYPE = /^application\/json(;|$)/;

const varies = ({ headers }) => (headers.vary ?? '').toLowerCase().split(/\s*,\s*/);

check('http: a success is one envelope with its headers', { section: '2' }, async (target) => {
  const answer = await get(target, pathOf('test.echo', { input: { a: 'é' } }));
  assert.equal(answer.status, 200);
  assert.equal(answer.text, '{"result":{"data":{"a":"é"}}}');
  assert.match(answer.headers['content-type'], JSON_TYPE);
  assert.ok(varies(answer).includes('trpc-accept') && varies(answer).includes('accept'), `vary: ${answer.headers.vary}`);
});

check('http: an error has the status of its code', { section: '2' }, async (target) => {
  for (const [code, status] of [['CONFLICT', 409], ['CLIENT_CLOSED_REQUEST', 499], ['GATEWAY_TIMEOUT', 504], ['NOT_IMPLEMENTED', 501]]) {
    const answer = await get(target, pathOf('test.throwError', { input: { code } }));
    assert.equal(answer.status, status);
    assert.match(answer.headers['content-type'], JSON_TYPE);
    assert.ok(varies(answer).includes('trpc-accept'), `vary: ${answer.headers.vary}`);
    assertShape(answer.json.error, { code, path: 'test.throwError' });
  }
});

check('http: a crash is 500 with a complete shape', { section: '2' }, async (target) => {
  const answer = await get(target, '/test.crash');
  assert.equal(answer.status, 500);
  assertShape(answer.json.error, { code: 'INTERNAL_SERVER_ERROR', path: 'test.crash' });
});

check('http: a procedure that does not exist is 404', { section: '2' }, async (target) => {
  const answer = await get(target, '/demo.nope');
  assert.equal(answer.status, 404);
  assertShape(answer.json.error, { code: 'NOT_FOUND', path: 'demo.nope', message: 'No procedure found on path "demo.nope"' });
});

check('http: only procedures are found, never attributes', { section: '10' }, async (target) => {
  for (const path of ['demo', 'demo.list.query', '__class__', 'demo.__init__', 'constructor', 'demo.', '.list', 'DEMO.LIST', '']) {
    assert.equal((await get(target, `/${path}`)).status, 404, `/${path}`);
  }
});

check('http: 405 says what is allowed', { section: '2' }, async (target) => {
  const wrong = await get(target, pathOf('demo.mutate', { input: { exchangeId: 1, command: 'x' } }));
  assert.deepEqual([wrong.status, wrong.headers.allow], [405, 'POST']);
  const message = 'Unsupported GET-request to mutation procedure at path "demo.mutate"';
  assertShape(wrong.json.error, { code: 'METHOD_NOT_SUPPORTED', path: 'demo.mutate', message });
  for (const method of ['PUT', 'DELETE', 'PATCH']) {
    const put = await request(target, '/demo.list', { method, headers: { ...bearer(target), 'content-type': 'application/json' }, body: '{}' });
    assert.deepEqual([put.status, put.headers.allow], [405, 'GET, POST'], method);
    assert.match(put.json.error.message, new RegExp(`Unsupported ${method}-request to query procedure`));
  }
});

check('http: HEAD is 204 and looks nothing up', { section: '1' }, async (target) => {
  for (const path of ['/demo.list', '/demo.nope', '/%zz']) {
    const answer = await request(target, path, { method: 'HEAD' });
    assert.deepEqual([answer.status, answer.text, answer.headers['content-type']], [204, '', undefined], path);
  }
});

check('http: a POST needs a JSON content-type', { section: '1' }, async (target) => {
  const wrong = await post(target, '/demo.mutate', '{}', { 'content-type': 'text/plain' });
  assert.equal(wrong.status, 415);
  assertShape(assertOneEnvelope(wrong), { code: 'UNSUPPORTED_MEDIA_TYPE', message: 'Unsupported content-type "text/plain' });
  const missing = await request(target, '/demo.mutate', { method: 'POST', headers: bearer(target), body: '{}' });
  assert.equal(missing.status, 415);
  assertShape(assertOneEnvelope(missing), { code: 'UNSUPPORTED_MEDIA_TYPE', message: 'Missing content-type header' });
});

check('http: the content-type is checked before the path is looked up', { section: '1' }, async (target) => {
  assert.equal((await post(target, '/demo.nope', '{}', { 'content-type': 'text/plain' })).status, 415);
  assert.equal((await post(target, pathOf(['demo.list', 'demo.mutate']), '{}', { 'content-type': 'text/html' })).status, 415);
});

check('http: the path is decoded before the content-type is checked', { section: '1' }, async (target) => {
  const answer = await post(target, '/%zz', '{}', { 'content-type': 'text/plain' });
  assert.equal(answer.status, 400);
  assertShape(assertOneEnvelope(answer), { code: 'BAD_REQUEST', message: /^Invalid URL-encoding in path/ });
});

check('http: only the media type counts, in any case', { section: '1' }, async (target) => {
  for (const type of ['application/json; charset=utf-8', 'Application/JSON', 'application/json;x="y"']) {
    const answer = await post(target, '/test.echoMutation', '7', { 'content-type': type });
    assert.deepEqual([answer.status, answer.text], [200, '{"result":{"data":7}}'], type);
  }
});

check('http: a GET is JSON, whatever its content-type', { section: '1' }, async (target) => {
  assert.equal((await get(target, pathOf('test.echo', { input: 1 }), { 'content-type': 'text/plain' })).status, 200);
});

const asPlainText = 'the reference sends whole-request errors as text/plain by accident';
check('http: whole-request errors are JSON', { section: '2', oursOnly: asPlainText }, async (target) => {
  const answers = [
    await post(target, '/demo.mutate', '{}', { 'content-type': 'text/plain' }),
    await get(target, '/%zz'),
    await get(target, pathOf(['demo.list', 'demo.mutate'])),
    await get(target, '/demo.list?connectionParams=nope'),
  ];
  for (const { headers } of answers) assert.match(headers['content-type'], JSON_TYPE);
});

check('http: the path is decoded once', { section: '1' }, async (target) => {
  assert.equal((await get(target, '/demo%2Elist')).status, 200);
  assert.equal((await get(target, '/%64emo.list/')).status, 200);
  const twice = await get(target, '/demo%252Elist');
  assert.equal(twice.status, 404);
  assertShape(twice.json.error, { code: 'NOT_FOUND', path: 'demo%2Elist' });
  assertShape((await get(target, '/d%C3%A9mo.%E5%8F%96')).json.error, { code: 'NOT_FOUND', path: 'démo.取' });
});

check('http: a malformed escape in the path is BAD_REQUEST', { section: '1' }, async (target) => {
  for (const path of ['network.%zz', '%', '%e5%8f', '%ff']) {
    const answer = await get(target, `/${path}`);
    assert.equal(answer.status, 400, path);
    assertShape(assertOneEnvelope(answer), { code: 'BAD_REQUEST', message: `Invalid URL-encoding in path "${path}"` });
  }
});

check('http: commas separate calls after decoding, and only in a batch', { section: '1' }, async (target) => {
  const escaped = await get(target, '/demo.list%2Cdemo.list?batch=1');
  assert.equal(escaped.json.length, 2);
  const single = await get(target, '/demo.list,demo.list');
  assert.equal(single.status, 404);
  assertShape(single.json.error, { code: 'NOT_FOUND', path: 'demo.list,demo.list' });
});

check('http: batch=1 and nothing else makes a batch', { section: '1' }, async (target) => {
  for (const query of ['batch=true', 'batch=0', 'batch=', 'batch=11']) {
    assert.equal((await get(target, `/demo.list?${query}`)).json.result?.data.length, 2, query);
  }
});

check('http: an empty input is no input, and null is a value', { section: '1' }, async (target) => {
  assert.equal((await get(target, '/test.echo?input=')).json.result.data ?? null, null);
  assert.equal((await get(target, '/demo.list?input=')).status, 200);
  const none = await get(target, '/demo.byId?input=');
  const nothing = await get(target, '/demo.byId?input=null');
  for (const answer of [none, nothing]) assertShape(answer.json.error, { code: 'BAD_REQUEST', path: 'demo.byId' });
});

check('http: null is not the same as no input', { section: '10', oursOnly: 'zod words both alike' }, async (target) => {
  const none = (await get(target, '/demo.paged')).json;
  const nothing = (await get(target, '/demo.paged?input=null')).json;
  assert.deepEqual((await get(target, '/demo.paged?input=')).json, none);
  assertShape(nothing.error, { code: 'BAD_REQUEST', path: 'demo.paged' });
  assert.notDeepEqual(none, nothing);
});

check('http: the query is decoded as a form', { section: '1' }, async (target) => {
  assert.equal((await get(target, '/test.echo?x=1&input=%22a+b%2Bc%22&y')).json.result.data, 'a b+c');
  assert.equal((await get(target, '/test.echo?input=%22%ff%22')).json.result.data, '\ufffd');
});

check('http: input that is not JSON is BAD_REQUEST of its call', { section: '2' }, async (target) => {
  const answers = [await get(target, '/demo.byId?input=%7Bnope'), await post(target, '/demo.mutate', '{"exchangeId":1,')];
  const paths = ['demo.byId', 'demo.mutate'];
  answers.forEach((answer, index) => {
    assert.equal(answer.status, 400);
    assertShape(answer.json.error, { code: 'BAD_REQUEST', path: paths[index] });
  });
});

check('http: JSON has no NaN and no two values', { section: '2' }, async (target) => {
  for (const input of ['NaN', '1 2', '{"a":Infinity}', "{'a':1}", '[1,]', '\u0000']) {
    assert.equal((await get(target, `/test.echo?input=${encodeURIComponent(input)}`)).status, 400, input);
  }
});

check('http: input is only read by a procedure that has one', { section: '1' }, async (target) => {
  assert.equal((await get(target, '/demo.list?input=%7Bnope')).status, 200);
  assert.equal((await post(target, '/test.nothing', '{nope')).status, 200);
  const big = await post(target, '/test.nothing', `"${'x'.repeat(1_100_000)}"`);
  assert.equal(big.status, 200);
});

check('http: 404, 405 and 401 come before bad input', { section: '1' }, async (target) => {
  assert.equal((await get(target, '/demo.nope?input=%7Bnope')).status, 404);
  assert.equal((await get(target, '/demo.mutate?input=%7Bnope')).status, 405);
  assert.equal((await request(target, '/demo.byId?input=%7Bnope')).status, 401);
});

check('http: 404 and 405 come before 401', { section: '1' }, async (target) => {
  assert.equal((await request(target, '/demo.nope')).status, 404);
  assert.equal((await request(target, '/demo.mutate')).status, 405);
});

check('http: a context that refuses comes behind 404 and 405, and before input', { section: '1' }, async (target) => {
  const headers = { authorization: 'Bearer reject-me' };
  assert.equal((await request(target, '/demo.nope', { headers })).status, 404);
  assert.equal((await request(target, '/demo.mutate', { headers })).status, 405);
  const single = await request(target, '/test.slow?input=%7Bnope', { headers });
  assert.equal(single.status, 401);
  assertShape(single.json.error, { code: 'UNAUTHORIZED', path: 'test.slow', message: 'Token rejected' });
  const batch = await request(target, pathOf(['test.nan', 'demo.list']), { headers });
  assert.equal(batch.status, 401);
  batch.json.forEach(({ error }, index) => assertShape(error, { code: 'UNAUTHORIZED', path: ['test.nan', 'demo.list'][index] }));
});

check('http: a body beyond the limit is 413 of its call', { section: '2' }, async (target) => {
  const body = JSON.stringify({ exchangeId: 1, command: 'x'.repeat(1_100_000) });
  const answer = await post(target, '/demo.mutate', body);
  assert.equal(answer.status, 413);
  assertShape(answer.json.error, { code: 'PAYLOAD_TOO_LARGE', path: 'demo.mutate', message: 'PAYLOAD_TOO_LARGE' });
  const batch = await post(target, pathOf(['demo.mutate', 'test.nothing']), `{"0":${body}}`);
  assert.equal(batch.status, 207);
  assertShape(batch.json[0].error, { code: 'PAYLOAD_TOO_LARGE', path: 'demo.mutate' });
});

check('http: the limit counts a body of unknown length, too', { section: '2' }, async (target) => {
  const headers = { ...bearer(target), 'content-type': 'application/json' };
  const chunks = Array.from({ length: 17 }, (_, index) => (index === 0 ? '"' : '') + 'x'.repeat(65_536));
  assert.equal((await request(target, '/test.echoMutation', { method: 'POST', headers, body: chunks })).status, 413);
  const small = await request(target, '/test.echoMutation', { method: 'POST', headers, body: ['"a', 'b"'] });
  assert.equal(small.json.result.data, 'ab');
});

check('http: a body just below the limit is read', { section: '2' }, async (target) => {
  const text = 'x'.repeat(1024 * 1024 - 2);
  assert.equal((await post(target, '/test.echoMutation', `"${text}"`)).json.result.data.length, text.length);
});

check('http: an empty body is no input', { section: '1' }, async (target) => {
  assert.equal((await post(target, '/test.nothing', '')).status, 200);
  assert.equal((await post(target, '/demo.mutate', '')).status, 400);
  assert.equal((await post(target, '/test.echoMutation', '')).json.result.data ?? null, null);
});

check('http: unknown connectionParams are refused as a whole', { section: '5' }, async (target) => {
  const wrong = await get(target, '/demo.list?connectionParams=%7Bnope');
  assert.equal(wrong.status, 400);
  assertShape(assertOneEnvelope(wrong), { code: 'PARSE_ERROR', message: /^Not JSON-parsable query params/ });
  for (const params of ['[]', '{"token":1}', '3', '"x"']) {
    const shape = await get(target, `/demo.list?connectionParams=${encodeURIComponent(params)}`);
    assert.equal(shape.status, 400, params);
    assertShape(assertOneEnvelope(shape), { code: 'PARSE_ERROR', message: /^Invalid connection params shape/ });
  }
  assert.equal((await get(target, '/demo.list?connectionParams=null')).status, 200);
});

check('http: connectionParams carry the token', { section: '5' }, async (target) => {
  const params = encodeURIComponent(JSON.stringify({ token: 'abc' }));
  assert.deepEqual((await request(target, `/test.whoami?connectionParams=${params}`)).json.result.data, { token: 'abc' });
});

check('http: an async result over plain HTTP is 415', { section: '4' }, async (target) => {
  const message = 'Cannot use stream-like response in non-streaming request - use httpBatchStreamLink';
  const single = await get(target, pathOf('test.stream', { input: { count: 3 } }));
  assert.equal(single.status, 415);
  assertShape(single.json.error, { code: 'UNSUPPORTED_MEDIA_TYPE', path: single.json.error.data.path, message });
  const batch = await get(target, pathOf(['test.stream', 'demo.list'], { input: { 0: { count: 3 } } }));
  assert.equal(batch.status, 207);
  assertShape(batch.json[0].error, { code: 'UNSUPPORTED_MEDIA_TYPE', path: 'test.stream', message });
});

check('http: a connection is still good after errors', { section: '2' }, async (target) => {
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
  target.defer(() => agent.destroy());
  const headers = bearer(target);
  for (const path of ['/demo.nope', '/%zz', '/test.crash']) await request(target, path, { headers, agent });
  const unread = { ...headers, 'content-type': 'text/plain' };
  assert.equal((await request(target, '/demo.mutate', { method: 'POST', headers: unread, body: 'x'.repeat(70_000), agent })).status, 415);
  assert.equal((await request(target, pathOf('test.echo', { input: 5 }), { headers, agent })).json.result?.data, 5);
});
