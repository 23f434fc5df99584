// The peer of the API bench: the same two answers by @trpc/server and ioredis, as a careful Node program gives them.
// Each request reads what it needs in one pipeline; nothing is kept between requests but the connection.
//
// node peer.mjs PORT STORE_URL EXCHANGES_JSON TOKEN [--lean]
// --lean: the least that could be called the same: one MGET of the status keys, no last known state, no warm-up.
import { createHash, timingSafeEqual } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createHTTPServer } from '@trpc/server/adapters/standalone';
import { initTRPC, TRPCError } from '@trpc/server';
import { Redis } from 'ioredis';
import { z } from 'zod';

const [port, url, exchangesFile, token, lean] = process.argv.slice(2);
const exchanges = JSON.parse(readFileSync(exchangesFile, 'utf8'));
const nameOf = new Set(exchanges.map((exchange) => exchange.name));
const redis = new Redis(url);
const digest = (text) => createHash('sha256').update(text).digest();
const known = digest(token);

const t = initTRPC.context().create();
const authorized = t.procedure.use(({ ctx, next }) => {
  const [scheme, shown] = (ctx.authorization ?? '').split(' ');
  if (scheme?.toLowerCase() !== 'bearer' || !timingSafeEqual(digest(shown ?? ''), known)) {
    throw new TRPCError({ code: 'UNAUTHORIZED' });
  }
  return next();
});

const statusKey = (id) => `exchange:${id}:status`;
const besides = (id, name) => `{${statusKey(id)}}:${name}`;
const logKey = (name) => `logs:network:${name}`;

async function pipelined(commands) {
  const replies = await redis.pipeline(commands).exec();
  return replies.map(([error, reply]) => {
    if (error) throw new TRPCError({ code: 'SERVICE_UNAVAILABLE', cause: error });
    return reply;
  });
}

async function leanInstances() {
  const texts = await redis.mget(exchanges.map((exchange) => statusKey(exchange.id)));
  return exchanges.map((exchange, at) => ({
    exchangeId: exchange.id,
    exchangeName: exchange.name,
    displayName: exchange.displayName,
    online: texts[at] !== null,
    status: texts[at] === null ? null : JSON.parse(texts[at]),
  }));
}

async function wholeInstances() {
  const replies = await pipelined(
    exchanges.flatMap(({ id, name }) => [
      ['get', statusKey(id)],
      ['pttl', statusKey(id)],
      ['get', besides(id, 'last')],
      ['get', besides(id, 'warmup')],
      ['xrevrange', logKey(name), '+', '-', 'COUNT', 1],
    ]),
  );
  const now = Date.now();
  return exchanges.map((exchange, at) => card(exchange, replies.slice(at * 5, at * 5 + 5), now));
}

function card(exchange, [statusText, pttl, lastText, warmupText, [newest]], now) {
  const status = statusText === null ? null : JSON.parse(statusText);
  const last = lastText === null ? null : JSON.parse(lastText);
  const known = last ?? (newest ? fieldsOf(newest) : null);
  const age = status === null ? null : now - Date.parse(status.lastHeartbeat);
  return {
    exchangeId: exchange.id,
    exchangeName: exchange.name,
    displayName: exchange.displayName,
    online: status !== null,
    status,
    health: health(status, age, known),
    lastKnown: known,
    offlineSince: status === null ? (last?.lastHeartbeat ?? null) : null,
    stoppedBy: last?.releasedBy ?? null,
    stoppedAt: last?.releasedAt ?? null,
    reason: null,
    heartbeatAgeMs: age,
    expiresInMs: pttl < 0 ? null : pttl,
    shouldRun: (status ?? last)?.desiredState?.state === 'running',
    warmup: warmupText === null ? null : JSON.parse(warmupText),
  };
}

function health(status, age, known) {
  if (status === null) return known === null ? 'never' : known.releasedAt ? 'stopped' : 'offline';
  if (status.connectionState === 'stopped' || status.connectionState === 'idle') return status.connectionState;
  if (age >= 2 * (status.heartbeatIntervalMs ?? 15_000)) return 'late';
  return status.connectionState === 'active' ? 'active' : 'transition';
}

function fieldsOf([id, pairs]) {
  const entry = { id };
  for (let at = 0; at < pairs.length; at += 2) entry[pairs[at]] = pairs[at + 1];
  return entry;
}

const order = (id) => id.split('-').map(Number);
function newerFirst(a, b) {
  const [[aMs, aSeq], [bMs, bSeq]] = [order(a.id), order(b.id)];
  return bMs - aMs || bSeq - aSeq || (a.exchangeName < b.exchangeName ? 1 : -1);
}

async function activityLog({ exchangeName, count, cursor }) {
  const names = exchangeName ? [exchangeName] : [...nameOf];
  const newest = cursor ? `(${cursor}` : '+';
  const page = (name) => ['xrevrange', logKey(name), newest, '-', 'COUNT', count + 1];
  const replies = await pipelined((await promising(names, newest, count)).map(page));
  const merged = replies.flat().map(fieldsOf).sort(newerFirst);
  const entries = merged.slice(0, count);
  return { entries, nextCursor: merged.length > count ? entries.at(-1).id : null };
}

// Of more logs than entries wanted, only those with the newest heads can have an entry on the page.
async function promising(names, newest, count) {
  if (names.length <= count + 1) return names;
  const heads = await pipelined(names.map((name) => ['xrevrange', logKey(name), newest, '-', 'COUNT', 1]));
  const found = heads.flatMap(([head], at) => (head ? [{ id: head[0], exchangeName: names[at] }] : []));
  return found.sort(newerFirst).slice(0, count + 1).map((head) => head.exchangeName);
}

const router = t.router({
  network: t.router({
    getInstances: authorized.query(async () => ({
      instances: await (lean ? leanInstances() : wholeInstances()),
      serverTime: new Date().toISOString(),
    })),
    getActivityLog: authorized
      .input(
        z.object({
          exchangeName: z.string().refine((name) => nameOf.has(name)).optional(),
          count: z.number().int().min(1).max(200).default(50),
          cursor: z.string().regex(/^\d+-\d+$/).optional(),
        }),
      )
      .query(({ input }) => activityLog(input)),
  }),
});

createHTTPServer({
  router,
  basePath: '/trpc/',
  createContext: ({ req }) => ({ authorization: req.headers.authorization }),
}).listen(Number(port), '127.0.0.1');
