// Requests and frames that no tRPC client would send, and answers before a client has read them.
import http from 'node:http';
import net from 'node:net';

import WebSocket from 'ws';

import { assert, Inbox, within } from './suite.mjs';

/** `?input=` as the client encodes it. */
export const inputOf = (input) => `input=${encodeURIComponent(JSON.stringify(input))}`;

/** The path of a call, or of a batch. */
export function pathOf(paths, { input, batch = Array.isArray(paths), ...others } = {}) {
  const query = new URLSearchParams(others).toString();
  const parts = [batch ? 'batch=1' : '', input === undefined ? '' : inputOf(input), query].filter(Boolean);
  return `/${[paths].flat().join(',')}${parts.length ? `?${parts.join('&')}` : ''}`;
}

/** Send exactly this; no header is added but `host` and what a body needs. */
export async function request(target, path, { method = 'GET', headers = {}, body, agent, ms = 3000 } = {}) {
  return within(ms, exchange(target, path, { method, headers, body, agent }), `the answer to ${method} ${path.slice(0, 80)}`);
}

async function exchange(target, path, options) {
  const response = await openRequest(target, path, options);
  const chunks = [];
  for await (const chunk of response) chunks.push(chunk);
  const text = Buffer.concat(chunks).toString();
  return {
    status: response.statusCode,
    headers: response.headers,
    text,
    get json() {
      return JSON.parse(text);
    },
  };
}

/** The response as soon as its headers are there; the caller reads it. `body` may be a list of chunks; without an `agent` the connection is its own. */
export function openRequest(target, path, { method = 'GET', headers = {}, body, agent = false } = {}) {
  const { hostname, port, pathname } = new URL(target.url);
  return new Promise((resolve, reject) => {
    const sized = typeof body === 'string' ? { 'content-length': Buffer.byteLength(body), ...headers } : headers;
    const sent = http.request({ hostname, port, path: pathname + path, method, headers: sized, agent }, resolve);
    sent.on('error', reject);
    target.defer(() => sent.destroy());
    for (const chunk of Array.isArray(body) ? body : []) sent.write(chunk);
    sent.end(Array.isArray(body) ? undefined : body);
  });
}

/** GET with the right token. */
export const get = (target, path, headers = {}) => request(target, path, { headers: { ...bearer(target), ...headers } });

/** POST of a JSON value with the right token. */
export const post = (target, path, value, headers = {}) =>
  request(target, path, {
    method: 'POST',
    headers: { ...bearer(target), 'content-type': 'application/json', ...headers },
    body: typeof value === 'string' ? value : JSON.stringify(value),
  });

export const bearer = (target) => (target.token ? { authorization: `Bearer ${target.token}` } : {});

/** A whole-request error: one envelope, JSON, no path. */
export function assertOneEnvelope({ json }) {
  assert.ok(!Array.isArray(json), `one envelope, not a list: ${JSON.stringify(json)}`);
  assert.deepEqual(Object.keys(json), ['error']);
  return json.error;
}

/** The blocks of an event stream as they come, each a list of `[field, value]`; `text` is what came so far. */
export async function openEvents(target, path, { method = 'GET', headers = {}, body } = {}) {
  const response = await within(3000, openRequest(target, path, { method, headers: { accept: 'text/event-stream', ...headers }, body }), 'the headers of a stream');
  const stream = { status: response.statusCode, headers: response.headers, text: '', blocks: new Inbox(), ended: new Inbox() };
  let rest = '';
  response.setEncoding('utf8').on('data', (chunk) => {
    stream.text += chunk;
    const blocks = (rest + chunk).split(/\n\n+/);
    rest = blocks.pop();
    blocks.map(fieldsOf).filter(({ length }) => length).forEach((block) => stream.blocks.push(Object.fromEntries(block)));
  });
  response.on('end', () => stream.ended.push(true)).on('error', () => {});
  return Object.assign(stream, { close: () => response.destroy() });
}

const fieldsOf = (block) =>
  block
    .split('\n')
    .filter((line) => line && !line.startsWith(':'))
    .map((line) => [line.split(':', 1)[0], line.slice(line.indexOf(':') + 1).replace(/^ /, '')]);

/** Read a stream to its end; its blocks without pings. */
export async function readEvents(target, path, options) {
  const stream = await openEvents(target, path, options);
  await stream.ended.next();
  return { ...stream, blocks: stream.blocks.all.filter(({ event }) => event !== 'ping') };
}

/** A socket; `frames` are what came, parsed if JSON; `closed` the code when it closed. */
export async function openSocket(target, { query = '', headers = {} } = {}) {
  const socket = new WebSocket(target.webSocketUrl + query, { headers });
  const frames = new Inbox();
  const binary = new Inbox();
  const closed = new Inbox();
  target.defer(() => socket.terminate());
  socket.on('message', (data, isBinary) => (isBinary ? binary : frames).push(parsed(data.toString())));
  socket.on('close', (code) => closed.push(code)).on('error', () => {});
  await within(3000, new Promise((resolve, reject) => socket.on('open', resolve).on('error', reject)), 'the socket opens');
  const send = (frame) => socket.send(typeof frame === 'string' || frame instanceof Buffer ? frame : JSON.stringify(frame));
  /** Frames that arrive at once, in one packet. */
  const sendTogether = (...all) => {
    socket._socket.cork();
    all.forEach(send);
    socket._socket.uncork();
  };
  return { socket, frames, binary, closed, send, sendTogether };
}

const parsed = (text) => (text === 'PING' || text === 'PONG' ? text : JSON.parse(text));

/** A frame of a call. */
export const call = (id, method, path, input) => ({ id, method, params: { path, ...(input === undefined ? {} : { input }) } });

/** A link that can be cut, frozen and counted, between a client and the server. */
export async function openWire(target) {
  const { hostname, port } = new URL(target.url);
  const pairs = new Set();
  const wire = { connections: 0, requests: '', broken: false };
  const server = net.createServer((near) => {
    if (wire.broken) return near.destroy();
    wire.connections += 1;
    const far = net.connect(Number(port), hostname);
    const pair = { near, far };
    pairs.add(pair);
    near.on('data', (data) => (wire.requests += data.toString('latin1')));
    near.pipe(far).pipe(near);
    for (const [one, other] of [[near, far], [far, near]]) {
      one.on('error', () => other.destroy()).on('close', () => other.destroy());
      one.on('close', () => pairs.delete(pair));
    }
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  target.defer(() => {
    wire.cut();
    server.close();
  });
  const url = new URL(target.url);
  url.port = String(server.address().port);
  return Object.assign(wire, {
    url: url.href,
    webSocketUrl: url.href.replace(/^http/, 'ws'),
    /** Every connection dies. */
    cut: () => pairs.forEach(({ near, far }) => (near.destroy(), far.destroy())),
    /** What is open stays open and says nothing any more; new connections work. */
    freeze: () => pairs.forEach(({ near, far }) => (far.unpipe(near), near.unpipe(far), near.resume(), far.resume())),
  });
}
