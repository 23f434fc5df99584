// The test application of tests/trpc/app.py, written with the real @trpc/server: what our own server is compared with.
//
//   node reference.mjs --port N [--token T]      prints "ready" once it listens; serves /trpc (HTTP, SSE, WebSocket)
import { EventEmitter, on } from 'node:events';
import http from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import { parseArgs } from 'node:util';

import { initTRPC, tracked, TRPCError } from '@trpc/server';
import { createHTTPHandler } from '@trpc/server/adapters/standalone';
import { applyWSSHandler } from '@trpc/server/adapters/ws';
import { WebSocketServer } from 'ws';
import { z } from 'zod';

const { port, token: expectedToken } = parseArgs({
  options: { port: { type: 'string', default: '0' }, token: { type: 'string' } },
}).values;

const ORIGIN = 'http://ui.example';
const EXCHANGES = [
  { exchangeId: 1, exchangeName: 'alpha', status: 'running', latencyMs: 12.5, tags: ['spot', 'perp'] },
  { exchangeId: 2, exchangeName: 'bèta-取引所', status: 'stopped', latencyMs: null, tags: [] },
];
const ROWS = Array.from({ length: 250 }, (_, index) => ({
  id: String(250 - index),
  exchangeName: EXCHANGES[index % 2].exchangeName,
  level: 'info',
  message: `row ${250 - index}`,
  at: new Date(1_700_000_000_000 - index * 1000).toISOString(),
}));

const emitter = new EventEmitter().setMaxListeners(0);
const events = [];
const abortedKeys = new Set();
const attemptsByKey = new Map();
let liveSubscribers = 0;
let webSocketHandler;

const t = initTRPC.context().create({
  isDev: false,
  sse: { ping: { enabled: true, intervalMs: 1000 }, client: { reconnectAfterInactivityMs: 3000 } },
  jsonl: { pingMs: 500 },
});

const open = t.procedure;
const guarded = t.procedure.use(({ ctx, next }) => {
  if (expectedToken && ctx.token !== expectedToken) throw new TRPCError({ code: 'UNAUTHORIZED', message: 'Token needed' });
  return next();
});

function exchangeById(id) {
  const found = EXCHANGES.find(({ exchangeId }) => exchangeId === id);
  if (!found) throw new TRPCError({ code: 'NOT_FOUND', message: `No exchange ${id}` });
  return found;
}

const demo = t.router({
  list: guarded.query(() =>
    EXCHANGES.map(({ exchangeId, exchangeName, status }) => ({ exchangeId, exchangeName, status })),
  ),
  byId: guarded.input(z.object({ exchangeId: z.number().int() })).query(({ input }) => exchangeById(input.exchangeId)),
  paged: guarded
    .input(
      z.object({
        exchangeName: z.string().nullish(),
        count: z.number().int().min(1).max(200).default(50),
        cursor: z.string().nullish(),
      }),
    )
    .query(({ input: { exchangeName, count, cursor } }) => {
      const rows = ROWS.filter((row) => !exchangeName || row.exchangeName === exchangeName);
      const start = cursor ? rows.findIndex(({ id }) => id === cursor) : 0;
      if (start < 0) throw new TRPCError({ code: 'BAD_REQUEST', message: `Unknown cursor ${cursor}` });
      return { items: rows.slice(start, start + count), nextCursor: rows[start + count]?.id ?? null };
    }),
  mutate: guarded
    .input(z.object({ exchangeId: z.number().int(), command: z.string().min(1) }))
    .mutation(({ input: { exchangeId, command } }) => {
      exchangeById(exchangeId);
      const event = { id: String(events.length + 1), data: { type: 'command', exchangeId, command } };
      events.push(event);
      emitter.emit('event', event);
      return { accepted: true, eventId: event.id };
    }),
  events: guarded
    .input(z.object({ exchangeId: z.number().int().nullish(), lastEventId: z.string().nullish() }).optional())
    .subscription(({ input, signal }) => {
      const live = on(emitter, 'event', { signal });
      const seen = input?.lastEventId ? Number(input.lastEventId) : events.length;
      liveSubscribers += 1;
      signal.addEventListener('abort', () => (liveSubscribers -= 1), { once: true });
      const wanted = ({ data }) => !input?.exchangeId || data.exchangeId === input.exchangeId;
      return (async function* () {
        let last = seen;
        for (const event of events.slice(seen)) {
          last = Number(event.id);
          if (wanted(event)) yield tracked(event.id, event.data);
        }
        for await (const [event] of live) {
          if (Number(event.id) > last && wanted(event)) yield tracked(event.id, event.data);
        }
      })();
    }),
});

const test = t.router({
  throwError: open.input(z.object({ code: z.string(), message: z.string().optional() })).query(({ input }) => {
    throw new TRPCError(input);
  }),
  crash: open.query(() => {
    throw new Error('plain exception');
  }),
  echo: open.input(z.any()).query(({ input }) => input),
  echoMutation: open.input(z.any()).mutation(({ input }) => input),
  nothing: open.mutation(() => undefined),
  nan: open.query(() => ({ nan: NaN, inf: Infinity, ninf: -Infinity })),
  slow: open.input(z.object({ ms: z.number() })).query(async ({ input }) => {
    await delay(input.ms);
    return input;
  }),
  abortable: open.input(z.object({ key: z.string(), ms: z.number() })).query(async ({ input, signal }) => {
    await delay(input.ms, null, { signal }).catch((error) => {
      abortedKeys.add(input.key);
      throw error;
    });
    return input;
  }),
  wasAborted: open.input(z.object({ key: z.string() })).query(({ input }) => abortedKeys.has(input.key)),
  flaky: open.input(z.object({ key: z.string(), failures: z.number().int() })).query(({ input: { key, failures } }) => {
    const attempts = (attemptsByKey.get(key) ?? 0) + 1;
    attemptsByKey.set(key, attempts);
    if (attempts <= failures) throw new TRPCError({ code: 'SERVICE_UNAVAILABLE', message: `attempt ${attempts}` });
    return { attempts };
  }),
  stream: open
    .input(z.object({ count: z.number().int(), failAt: z.number().int().nullish() }))
    .query(async function* ({ input: { count, failAt } }) {
      for (let n = 0; n < count; n += 1) {
        if (n === failAt) throw new TRPCError({ code: 'CONFLICT', message: `stream broke at ${n}` });
        yield n;
        await delay(15);
      }
      return 'done';
    }),
  deferred: open.input(z.object({ fails: z.boolean().default(false) }).optional()).query(({ input }) => ({
    now: 1,
    later: delay(30, 2).then((two) => {
      if (input?.fails) throw new TRPCError({ code: 'CONFLICT', message: 'broke later' });
      return two;
    }),
  })),
  whoami: open.query(({ ctx }) => ({ token: ctx.token })),
  ticks: open
    .input(
      z.object({
        count: z.number().int(),
        intervalMs: z.number().default(10),
        mode: z.enum(['tracked', 'plain', 'mixed']).default('tracked'),
        failAt: z.number().int().nullish(),
        failCode: z.string().default('CONFLICT'),
        lastEventId: z.string().nullish(),
      }),
    )
    .subscription(async function* ({ input, signal }) {
      for (let n = Number(input.lastEventId || 0) + 1; n <= input.count; n += 1) {
        if (n === input.failAt && !input.lastEventId) {
          if (input.failCode === 'CRASH') throw new Error('plain exception');
          throw new TRPCError({ code: input.failCode, message: `ticks broke at ${n}` });
        }
        const isTracked = input.mode === 'tracked' || (input.mode === 'mixed' && n % 2 === 1);
        yield isTracked ? tracked(String(n), { n }) : { n };
        await delay(input.intervalMs, null, { signal });
      }
    }),
  liveSubscribers: open.query(() => liveSubscribers),
  reconnectAll: open.mutation(() => {
    webSocketHandler.broadcastReconnectNotification();
    return null;
  }),
});

const router = t.router({ demo, test });

function createContext({ req, info }) {
  const bearer = /^Bearer (.*)$/.exec(req.headers.authorization ?? '')?.[1];
  const token = bearer ?? info.connectionParams?.token ?? null;
  if (token === 'reject-me') throw new TRPCError({ code: 'UNAUTHORIZED', message: 'Token rejected' });
  return { token };
}

const handle = createHTTPHandler({
  router,
  createContext,
  basePath: '/trpc/',
  allowMethodOverride: true,
  maxBodySize: 1024 * 1024,
  maxBatchSize: 20,
});

const server = http.createServer((request, response) => {
  response.setHeader('vary', 'Origin');
  if (request.headers.origin === ORIGIN) response.setHeader('access-control-allow-origin', ORIGIN);
  if (request.method !== 'OPTIONS') return handle(request, response);
  response.writeHead(204, {
    'access-control-allow-methods': 'GET, POST',
    'access-control-allow-headers': 'content-type, authorization, trpc-accept, last-event-id',
  });
  response.end();
});

webSocketHandler = applyWSSHandler({
  wss: new WebSocketServer({ server }),
  router,
  createContext,
  maxBatchSize: 20,
  keepAlive: { enabled: true, pingMs: 2000, pongWaitMs: 1500 },
});
server.listen(Number(port), '127.0.0.1', () => console.log(`ready http://127.0.0.1:${server.address().port}/trpc`));
