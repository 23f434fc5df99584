import { expect, test } from 'vitest';
import { factsOf, sinceOf } from '../src/network/facts';
import { budget, freshnessOf, heartbeatOf, leaseLeft } from '../src/network/heartbeat';
import { warmupOf, warmupWords } from '../src/network/WarmupBar';
import { inOrder, sorted } from '../src/network/sorting';
import { ago, card, NOW, offline, status } from './cards';

const names = (cards: { exchangeName: string }[]) => cards.map((each) => each.exchangeName);

test('the worst comes first, then what has lasted longest', () => {
  const cards = [
    card({ exchangeId: 1, exchangeName: 'active', displayName: 'active' }),
    offline('short', 60_000, { exchangeId: 2 }),
    card({ exchangeId: 3, exchangeName: 'late', displayName: 'late', health: 'late' }),
    offline('long', 600_000, { exchangeId: 4 }),
    card({ exchangeId: 5, exchangeName: 'never', displayName: 'never', health: 'never', status: null }),
  ];
  expect(names(sorted(cards))).toEqual(['long', 'short', 'late', 'active', 'never']);
});

test('a held order stays although what it shows changes, and new exchanges come last', () => {
  const cards = [offline('a', 1000, { exchangeId: 1 }), card({ exchangeId: 2, exchangeName: 'b' }), card({ exchangeId: 9, exchangeName: 'new' })];
  expect(names(inOrder(cards, [2, 1]))).toEqual(['b', 'a', 'new']);
});

test('an offline card keeps everything that is known', () => {
  const facts = factsOf(offline('kraken', 60_000));
  expect(facts).toMatchObject({ isLastKnown: true, hostname: 'fra-2', ip: '203.0.113.7', state: 'active', symbols: null });
  expect(facts?.lastSeenAt).toBe(NOW - 60_000);
});

test('what only the log tells was last seen when the entry says', () => {
  const facts = factsOf(offline('kraken', 0, { lastKnown: { source: 'log', timestamp: ago(90_000), hostname: 'fra-2' } }));
  expect(facts?.lastSeenAt).toBe(NOW - 90_000);
});

test('no number stands where symbols are yet to be chosen', () => {
  const loading = status({ connectionState: 'warming', symbolCount: 0 });
  expect(factsOf(card({ health: 'transition', status: loading }))?.symbols).toBe('loading');
  expect(factsOf(card({ status: status({ symbolCount: 0 }) }))?.symbols).toBe(0);
  expect(factsOf(offline('kraken', 0, { lastKnown: { source: 'last', connectionState: 'warming', symbolCount: 0 } }))?.symbols).toBeNull();
  const warmup = { percent: 0, etaSeconds: null, currentSymbol: null, done: 0, total: 0, failures: [], startedAt: ago(0), finishedAt: null, candlesFetched: 0, candlesKept: 0 };
  expect(warmupWords(warmup)).toBe('Loading symbols');
  expect(warmupWords({ ...warmup, total: 25 })).toBe('0 % · 0 of 25 symbols');
});

test('only a warm-up under way is shown as one', () => {
  const warmup = { percent: 44, etaSeconds: null, currentSymbol: null, done: 11, total: 25, failures: [], startedAt: ago(0), finishedAt: null, candlesFetched: 0, candlesKept: 0 };
  const shown = (connectionState: 'warming' | 'starting', finishedAt: string | null) =>
    warmupOf(card({ health: 'transition', status: status({ connectionState }), warmup: { ...warmup, finishedAt } }));
  expect(shown('warming', null)?.done).toBe(11);
  expect(shown('starting', null)).toBeNull();
  expect(shown('warming', ago(0))).toBeNull();
});

test('never served: nothing is known', () => {
  expect(factsOf(card({ health: 'never', status: null }))).toBeNull();
});

test('late lasts since the heartbeat, not since the connection', () => {
  expect(sinceOf(card({ health: 'late', status: status({ lastHeartbeat: ago(33_000) }) }))).toBe(NOW - 33_000);
});

test.each([
  [9999, 15_000, 'fresh'],
  [10_000, 15_000, 'ageing'],
  [29_999, 15_000, 'ageing'],
  [30_000, 15_000, 'overdue'],
  [19_999, 30_000, 'fresh'],
  [60_000, 30_000, 'overdue'],
])('%i ms after a heartbeat of every %i ms it is %s (DIFF-02)', (age, interval, freshness) => {
  expect(freshnessOf(age, interval)).toBe(freshness);
});

test('a heartbeat is a budget that is used up by the store clock alone', () => {
  const heartbeat = heartbeatOf(card({ heartbeatAgeMs: 12_000, expiresInMs: 33_000 }), NOW);
  expect(heartbeat && budget(heartbeat, NOW)).toBe('12s ago · offline in 33s');
  expect(heartbeat && budget(heartbeat, NOW + 20_000)).toBe('32s ago · offline in 13s');
  expect(heartbeat && budget(heartbeat, NOW + 33_000)).toBe('45s ago · lease has run out');
  expect(heartbeat && leaseLeft(heartbeat, NOW + 60_000)).toBe(0);
});

test('one stopped on purpose has no budget to offline, although its lease may still be held', () => {
  const heartbeat = heartbeatOf(card({ health: 'stopped', heartbeatAgeMs: 1000, expiresInMs: 7000 }), NOW);
  expect(heartbeat && budget(heartbeat, NOW)).toBe('1s ago · lease still held');
  expect(heartbeat && budget(heartbeat, NOW + 8000)).toBe('9s ago');
});

test('a key without a TTL runs out never', () => {
  const heartbeat = heartbeatOf(card({ expiresInMs: null }), NOW);
  expect(heartbeat && budget(heartbeat, NOW)).toBe('5s ago · no expiry');
});
