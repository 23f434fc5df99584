// What a check is, and the words every check is written with.
import assert from 'node:assert/strict';
import { AsyncLocalStorage } from 'node:async_hooks';

const checks = new Map();
const patience = new AsyncLocalStorage();

/** How long the check under way waits for what must come: longer where it is expected to come, on however busy a machine. */
export const patient = (ms) => ms * (patience.getStore() ?? 1);

/**
 * Declare one fact about a tRPC server. `section` of the wire protocol; `ms` it may take at most; `alone` while nothing
 * else asks that server; `oursOnly` says why the reference server does otherwise.
 */
export function check(name, { section, ms = 5000, alone = false, oursOnly = null }, body) {
  if (checks.has(name)) throw new Error(`two checks are called ${name}`);
  checks.set(name, { name, section, ms, alone, oursOnly, body });
}

/** Every check that was declared, in order. */
export function allChecks() {
  return [...checks.values()];
}

/** Run one check against `{url, token, patience}` and say how it went. It never throws. */
export function runCheck(check, server) {
  return patience.run(server.patience, () => run(check, server));
}

async function run({ body, ms, name }, { url, token }) {
  const cleanups = [];
  const target = {
    url,
    token,
    webSocketUrl: url.replace(/^http/, 'ws'),
    /** Call this at the end of the check, whatever happens. */
    defer: (cleanup) => cleanups.push(cleanup),
    /** A word no other check has used. */
    unique: () => `${name}-${Math.random().toString(36).slice(2)}`,
  };
  const started = performance.now();
  let error = null;
  try {
    await within(ms, Promise.resolve().then(() => body(target)), 'the whole check');
  } catch (cause) {
    error = describe(cause);
  }
  for (const cleanup of cleanups.reverse()) {
    await within(1000, Promise.resolve().then(cleanup), 'cleaning up').catch((cause) => (error ??= describe(cause)));
  }
  return { error, ms: Math.round(performance.now() - started) };
}

function describe(cause) {
  if (!(cause instanceof Error)) return `threw ${String(cause)}`;
  const place = /conformance\/(checks\/[^)]*)/.exec(cause.stack ?? '')?.[1];
  return `${cause.name}: ${cause.message}${place ? ` (${place})` : ''}`;
}

/** The promise, or an error naming what did not come in time. */
export async function within(usualMs, promise, what) {
  const ms = patient(usualMs);
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not within ${ms} ms: ${what}`)), ms);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** Wait for `ms`: only where the absence of something is the fact. */
export const quiet = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Ask until the answer is truthy. */
export async function until(predicate, what, usualMs = 3000) {
  const ms = patient(usualMs);
  const end = performance.now() + ms;
  for (;;) {
    const value = await predicate();
    if (value) return value;
    if (performance.now() > end) throw new Error(`not within ${ms} ms: ${what}; last: ${JSON.stringify(value)}`);
    await quiet(15);
  }
}

/** A list that can be awaited: `push` at one end, `next()` or `take(n)` at the other. */
export class Inbox {
  #waiting = [];
  all = [];
  #read = 0;

  push(item) {
    this.all.push(item);
    this.#waiting.shift()?.();
  }

  async next(ms = 3000) {
    while (this.#read >= this.all.length) {
      await within(ms, new Promise((resolve) => this.#waiting.push(resolve)), `message ${this.#read + 1}, after ${JSON.stringify(this.all.slice(-3))}`);
    }
    this.#read += 1;
    return this.all[this.#read - 1];
  }

  async take(count, ms = 3000) {
    const taken = [];
    while (taken.length < count) taken.push(await this.next(ms));
    return taken;
  }

  /** Nothing more came, and nothing comes for `ms`. */
  async staysEmpty(ms = 150) {
    await quiet(ms);
    assert.deepEqual(this.all.slice(this.#read), [], 'nothing more was to come');
  }
}

/** The call fails; its TRPCClientError. */
export async function failure(promise) {
  const outcome = await promise.then(
    (value) => ({ value }),
    (error) => ({ error }),
  );
  assert.ok('error' in outcome, `expected an error, got ${JSON.stringify(outcome.value)}`);
  assert.equal(outcome.error.name, 'TRPCClientError');
  return outcome.error;
}

/** The error's shape is complete and says this. `path` undefined: it must be absent. */
export function assertShape(shape, { code, path, message }) {
  const [number, httpStatus] = ERROR_CODES[code];
  assert.equal(typeof shape?.message, 'string', `an error shape: ${JSON.stringify(shape)}`);
  const { stack, ...data } = shape.data ?? {};
  assert.equal(stack, undefined, 'a stack trace reached the client');
  assert.deepEqual(
    { code: shape.code, data: { code: data.code, httpStatus: data.httpStatus, path: data.path } },
    { code: number, data: { code, httpStatus, path } },
  );
  assert.equal('path' in data, path !== undefined, 'data.path is there only for the error of a call');
  if (message instanceof RegExp) assert.match(shape.message, message);
  else if (message !== undefined) assert.equal(shape.message, message);
}

/** data.code → [error.code, httpStatus]. */
export const ERROR_CODES = {
  PARSE_ERROR: [-32700, 400],
  BAD_REQUEST: [-32600, 400],
  INTERNAL_SERVER_ERROR: [-32603, 500],
  NOT_IMPLEMENTED: [-32603, 501],
  BAD_GATEWAY: [-32603, 502],
  SERVICE_UNAVAILABLE: [-32603, 503],
  GATEWAY_TIMEOUT: [-32603, 504],
  UNAUTHORIZED: [-32001, 401],
  PAYMENT_REQUIRED: [-32002, 402],
  FORBIDDEN: [-32003, 403],
  NOT_FOUND: [-32004, 404],
  METHOD_NOT_SUPPORTED: [-32005, 405],
  TIMEOUT: [-32008, 408],
  CONFLICT: [-32009, 409],
  PRECONDITION_FAILED: [-32012, 412],
  PAYLOAD_TOO_LARGE: [-32013, 413],
  UNSUPPORTED_MEDIA_TYPE: [-32015, 415],
  UNPROCESSABLE_CONTENT: [-32022, 422],
  PRECONDITION_REQUIRED: [-32028, 428],
  TOO_MANY_REQUESTS: [-32029, 429],
  CLIENT_CLOSED_REQUEST: [-32099, 499],
};

export { assert };
