// Queries and mutations, the same through every link of the real client.
import { clientOf, HTTP_LINKS, LINKS } from '../clients.mjs';
import { assert, assertShape, check, ERROR_CODES, failure, quiet, until } from '../suite.mjs';

const JSON_VALUES = [
  null, true, false, 0, -1, 1.5, 1e21, 5e-324, 1.7976931348623157e308, Number.MAX_SAFE_INTEGER, '', 'a,b & c=d + e%2C/?#', '"\\\n\u0000\u001f',
  'bèta-取引所 🦊', [], {}, [[]], [null], { '': 0 }, { json: 1, meta: 2 }, { id: 'x', data: [1, { deep: { deeper: [true] } }] }, 'x'.repeat(1500),
];

for (const link of LINKS) {
  check(`${link}: a query without input`, { section: '1' }, async (target) => {
    assert.deepEqual(await clientOf(target, link).demo.list.query(), [
      { exchangeId: 1, exchangeName: 'alpha', status: 'running' },
      { exchangeId: 2, exchangeName: 'bèta-取引所', status: 'stopped' },
    ]);
  });

  check(`${link}: a query with input`, { section: '1' }, async (target) => {
    const client = clientOf(target, link);
    const answer = { exchangeId: 2, exchangeName: 'bèta-取引所', status: 'stopped', latencyMs: null, tags: [] };
    assert.deepEqual(await client.demo.byId.query({ exchangeId: 2 }), answer);
    assert.equal((await client.demo.byId.query({ exchangeId: 1 })).latencyMs, 12.5);
  });

  check(`${link}: pages to the end`, { section: '9' }, async (target) => {
    const client = clientOf(target, link);
    const ids = new Set();
    let cursor;
    do {
      const page = await client.demo.paged.query({ count: 100, cursor, direction: 'forward' });
      page.items.forEach(({ id }) => ids.add(id));
      cursor = page.nextCursor;
    } while (cursor);
    assert.equal(ids.size, 250);
    assertShape((await failure(client.demo.paged.query({ cursor: 'nowhere' }))).shape, { code: 'BAD_REQUEST', path: 'demo.paged' });
  });

  check(`${link}: a mutation`, { section: '1' }, async (target) => {
    const client = clientOf(target, link);
    const { accepted, eventId } = await client.demo.mutate.mutate({ exchangeId: 1, command: 'start' });
    assert.equal(accepted, true);
    assert.equal(typeof eventId, 'string');
    assert.equal((await client.test.nothing.mutate()) ?? null, null);
  });

  check(`${link}: any JSON value comes back as it was`, { section: '1' }, async (target) => {
    const client = clientOf(target, link);
    for (let at = 0; at < JSON_VALUES.length; at += 10) {
      const values = JSON_VALUES.slice(at, at + 10);
      assert.deepEqual(await Promise.all(values.map((value) => client.test.echo.query(value))), values);
      assert.deepEqual(await Promise.all(values.map((value) => client.test.echoMutation.mutate(value))), values);
    }
  });

  check(`${link}: half a surrogate pair is answered, and the next call works`, { section: '10' }, async (target) => {
    const client = clientOf(target, link);
    const answer = await client.test.echo.query('\ud800').catch((error) => error.data?.code ?? error);
    assert.ok(['\ud800', '\ufffd', 'BAD_REQUEST'].includes(answer), `got ${JSON.stringify(answer)}`);
    assert.equal(await client.test.echo.query('still here'), 'still here');
  });

  check(`${link}: NaN and the infinities are null`, { section: '10' }, async (target) => {
    assert.deepEqual(await clientOf(target, link).test.nan.query(), { nan: null, inf: null, ninf: null });
  });

  check(`${link}: an error of the procedure`, { section: '2' }, async (target) => {
    const error = await failure(clientOf(target, link).demo.byId.query({ exchangeId: 99 }));
    assert.equal(error.message, error.shape.message);
    assertShape(error.shape, { code: 'NOT_FOUND', path: 'demo.byId' });
  });

  check(`${link}: every error code has its number and status`, { section: '2' }, async (target) => {
    const client = clientOf(target, link);
    const codes = Object.keys(ERROR_CODES);
    for (let at = 0; at < codes.length; at += 10) {
      const some = codes.slice(at, at + 10);
      const errors = await Promise.all(some.map((code) => failure(client.test.throwError.query({ code, message: `says ${code}` }))));
      errors.forEach(({ data, shape }, index) => {
        assertShape(shape, { code: some[index], path: 'test.throwError', message: `says ${some[index]}` });
        assert.deepEqual(data, shape.data);
      });
    }
  });

  check(`${link}: an error without a message says its code`, { section: '2' }, async (target) => {
    const error = await failure(clientOf(target, link).test.throwError.query({ code: 'CONFLICT' }));
    assertShape(error.shape, { code: 'CONFLICT', path: 'test.throwError', message: 'CONFLICT' });
  });

  check(`${link}: wrong input is BAD_REQUEST, with every wrong field in the message`, { section: '2' }, async (target) => {
    const error = await failure(clientOf(target, link).demo.mutate.mutate({ exchangeId: 'one', command: '' }));
    assertShape(error.shape, { code: 'BAD_REQUEST', path: 'demo.mutate' });
    const issues = JSON.parse(error.message);
    assert.deepEqual(issues.map(({ path }) => path.join('.')).sort(), ['command', 'exchangeId']);
    issues.forEach((issue) => assert.equal(typeof issue.code + typeof issue.message, 'stringstring'));
  });

  check(`${link}: integers are strict`, { section: '10' }, async (target) => {
    for (const exchangeId of ['1', true, 1.5, null, [1]]) {
      const error = await failure(clientOf(target, link).demo.byId.query({ exchangeId }));
      assertShape(error.shape, { code: 'BAD_REQUEST', path: 'demo.byId' });
    }
  });

  check(`${link}: fields the procedure does not know are ignored`, { section: '10' }, async (target) => {
    assert.equal((await clientOf(target, link).demo.byId.query({ exchangeId: 1, direction: 'forward' })).exchangeId, 1);
  });

  check(`${link}: an exception is INTERNAL_SERVER_ERROR`, { section: '2' }, async (target) => {
    const error = await failure(clientOf(target, link).test.crash.query());
    assertShape(error.shape, { code: 'INTERNAL_SERVER_ERROR', path: 'test.crash' });
  });

  const leaks = 'the reference sends the text of any exception';
  check(`${link}: an exception's text stays inside`, { section: '2', oursOnly: leaks }, async (target) => {
    const error = await failure(clientOf(target, link).test.crash.query());
    assert.doesNotMatch(JSON.stringify(error.shape), /plain|exception|Traceback|\.py/);
  });

  const asZod = 'fieldErrors come from an errorFormatter, which the reference has not';
  check(`${link}: wrong input names its fields in data.zodError`, { section: '2', oursOnly: asZod }, async (target) => {
    const error = await failure(clientOf(target, link).demo.mutate.mutate({ exchangeId: 'one', command: '' }));
    assert.deepEqual(Object.keys(error.data.zodError.fieldErrors).sort(), ['command', 'exchangeId']);
    assert.deepEqual(error.data.zodError.formErrors, []);
  });

  check(`${link}: calls run at once, and one that fails leaves the others alone`, { section: '2', ms: 12_000 }, async (target) => {
    const client = clientOf(target, link);
    const started = performance.now();
    const calls = Array.from({ length: 8 }, () => client.test.slow.query({ ms: 1000 }));
    const bad = failure(client.demo.byId.query({ exchangeId: 98 }));
    assert.deepEqual(await Promise.all(calls), Array(8).fill({ ms: 1000 }));
    assertShape((await bad).shape, { code: 'NOT_FOUND', path: 'demo.byId' });
    assert.ok(performance.now() - started < 7000, 'eight calls of a second were made one after the other');
  });

  check(`${link}: the token reaches the context`, { section: '9' }, async (target) => {
    assert.deepEqual(await clientOf(target, link, { token: 'abc' }).test.whoami.query(), { token: 'abc' });
  });

  check(`${link}: without the token a guarded procedure is UNAUTHORIZED`, { section: '2' }, async (target) => {
    const client = clientOf(target, link, { token: null });
    const error = await failure(client.demo.list.query());
    assertShape(error.shape, { code: 'UNAUTHORIZED', path: 'demo.list' });
    assert.equal(await client.test.echo.query(1), 1);
  });

  check(`${link}: a context that refuses fails each call`, { section: '2' }, async (target) => {
    const client = clientOf(target, link, { token: 'reject-me' });
    const errors = await Promise.all([failure(client.test.echo.query(1)), failure(client.test.nan.query())]);
    if (link === 'wsLink') return; // the socket closes, and the client fails its calls without a shape
    const paths = ['test.echo', 'test.nan'];
    errors.forEach(({ shape }, index) => assertShape(shape, { code: 'UNAUTHORIZED', path: paths[index], message: 'Token rejected' }));
  });

  check(`${link}: retryLink tries again until it works`, { section: '9' }, async (target) => {
    const client = clientOf(target, link, { retries: 3 });
    assert.deepEqual(await client.test.flaky.query({ key: target.unique(), failures: 2 }), { attempts: 3 });
  });
}

for (const link of HTTP_LINKS) {
  check(`${link}: a call that is aborted is cancelled at the server`, { section: '2' }, async (target) => {
    const client = clientOf(target, link);
    const wasAborted = async (key, ms) => until(() => client.test.wasAborted.query({ key }), 'the procedure is cancelled', ms);
    for (const patience of [100, 400]) {
      const key = target.unique();
      const abort = new AbortController();
      const call = failure(client.test.abortable.query({ key, ms: 20_000 }, { signal: abort.signal }));
      await quiet(patience); // a request aborted before it reached a procedure cancels none: once more, with patience
      abort.abort();
      await call;
      if (await wasAborted(key, 1000).catch((error) => patience === 400 && Promise.reject(error))) return;
    }
  });

  check(`${link}: queries by POST`, { section: '1' }, async (target) => {
    const client = clientOf(target, link, { methodOverride: 'POST' });
    assert.equal((await client.demo.list.query()).length, 2);
    assert.deepEqual(await Promise.all([client.test.echo.query({ a: 1 }), client.test.echo.query([2])]), [{ a: 1 }, [2]]);
    assertShape((await failure(client.demo.byId.query({}))).shape, { code: 'BAD_REQUEST', path: 'demo.byId' });
  });

  if (link === 'httpLink') continue;

  check(`${link}: too many calls at once fail together`, { section: '1' }, async (target) => {
    const client = clientOf(target, link);
    const errors = await Promise.all(Array.from({ length: 21 }, (_, index) => failure(client.test.echo.query(index))));
    errors.forEach(({ shape }) => assertShape(shape, { code: 'BAD_REQUEST', message: 'Batch call exceeds maximum size' }));
    assert.deepEqual(await Promise.all(Array.from({ length: 20 }, (_, index) => client.test.echo.query(index))), [...Array(20).keys()]);
  });

  check(`${link}: calls without input and with it in one batch`, { section: '1' }, async (target) => {
    const client = clientOf(target, link);
    const [list, echoed, nothing, missing] = await Promise.all([
      client.demo.list.query(), client.test.echo.query(null), client.test.echo.query(), failure(client.demo.nope.query()),
    ]);
    assert.deepEqual([list.length, echoed, nothing ?? null], [2, null, null]);
    assertShape(missing.shape, { code: 'NOT_FOUND', path: 'demo.nope' });
  });
}
