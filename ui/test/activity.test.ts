import { expect, test } from 'vitest';
import { catchUp, notBelow } from '../src/activity/catchUp';
import { fileName, fileOf } from '../src/activity/exporting';
import { askedOf, filtersOf, isFiltered, NO_FILTERS, queryOf } from '../src/activity/filters';
import { happened, pictureOf } from '../src/activity/happened';
import { fieldOf, isoOf } from '../src/activity/momentField';
import { isNewer, keyOf } from '../src/activity/order';
import { daysOf } from '../src/activity/rows';
import type { FeedPageView, LogEntry } from '../src/api/generated';
import { NOW } from './cards';

function entry(id: string, changes: Partial<LogEntry> = {}): LogEntry {
  const at = new Date(Number(id.split('-')[0])).toISOString();
  return { id, event: 'state_transition', timestamp: at, exchangeId: '4', exchangeName: 'kraken', hostname: 'fra-2', ip: '', adminEmail: '', ...changes };
}

const page = (entries: LogEntry[], nextCursor: string | null = null): FeedPageView => ({ entries, nextCursor, unreadable: {} });

test('filters survive the address', () => {
  const filters = { exchange: 'kraken', events: ['error', 'instance_lost'], text: 'a b&c', range: '24h', since: '', until: '' } as const;
  expect(filtersOf(queryOf({ ...filters, events: [...filters.events] }))).toEqual(filters);
  expect(queryOf(NO_FILTERS)).toBe('');
});

test('what an address says that nobody understands is left out, what the API must judge is not', () => {
  expect(filtersOf('?range=eternity&foo=1')).toEqual(NO_FILTERS);
  expect(askedOf(filtersOf('?since=garbage'), NOW)).toEqual({ since: 'garbage' });
  expect(isFiltered(filtersOf('?since=garbage'))).toBe(true);
});

test('a range counts back from the time of the store', () => {
  expect(askedOf(filtersOf('?range=1h&event=error'), NOW)).toEqual({ events: ['error'], since: '2026-02-10T13:00:00.000Z' });
});

test('ids are compared as numbers, equal ones by name', () => {
  expect(isNewer(entry('1000-0'), entry('999-9'))).toBe(true);
  expect(isNewer(entry('1000-10'), entry('1000-9'))).toBe(true);
  expect(isNewer(entry('5-0', { exchangeName: 'b' }), entry('5-0', { exchangeName: 'a' }))).toBe(true);
  expect(isNewer(entry('5-0'), entry('5-0'))).toBe(false);
});

test('catching up reads page by page until the entry that is known', async () => {
  const pages: Record<string, FeedPageView> = { top: page([entry('9-0'), entry('8-0')], 'c'), c: page([entry('7-0'), entry('6-0')], 'd') };
  const caught = await catchUp(entry('6-0'), async (cursor) => pages[cursor ?? 'top'] ?? page([]));
  expect(caught.fresh.map((each) => each.id)).toEqual(['9-0', '8-0', '7-0']);
  expect(caught.isWhole).toBe(true);
});

test('so much that it cannot be caught up with begins the feed anew instead of leaving a gap', async () => {
  let id = 1000;
  const caught = await catchUp(entry('1-0'), async () => page([entry(`${(id -= 1)}-0`)], 'more'), 3);
  expect(caught.isWhole).toBe(false);
  expect(caught.newest.entries[0]?.id).toBe('999-0');
});

test('nothing known and nothing there is caught up with', async () => {
  expect(await catchUp(undefined, async () => page([]))).toMatchObject({ fresh: [], isWhole: true });
});

test('repeats are folded only where nothing lies between, and never across days', () => {
  const error = { event: 'error', error: 'reset' };
  const entries = [entry(`${NOW + 3}-0`, error), entry(`${NOW + 2}-0`, error), entry(`${NOW + 1}-0`), entry(`${NOW}-0`, error), entry(`${NOW - 86_400_000}-0`, error)];
  const days = daysOf(entries, 'utc');
  expect(days.map((day) => day.rows.map((row) => row.repeats.length))).toEqual([[1, 0, 0], [0]]);
});

test('days are those of the zone that is shown', () => {
  expect(daysOf([entry(`${Date.parse('2026-02-10T00:30:00Z')}-0`), entry(`${Date.parse('2026-02-09T23:30:00Z')}-0`)], 'utc')).toHaveLength(2);
});

test('entries in words: as the command line has them', () => {
  expect(happened(entry('1-0', { fromState: 'warming', toState: 'active' }), 'utc')).toEqual({ what: 'warming → active', details: '' });
  expect(happened(entry('1-0', { event: 'error', error: 'reset', count: '3' }), 'utc').details).toBe('reset (3 times)');
  expect(happened(entry(`${NOW}-0`, { event: 'instance_lost', state: 'active', lastHeartbeat: '2026-02-10T13:59:15.000Z' }), 'utc').details).toBe('while active · last heartbeat 13:59:15Z');
  expect(happened(entry('1-0', { event: 'something_new', reason: 'x' }), 'utc')).toEqual({ what: 'something new', details: 'x' });
});

test('red is a loss and nothing else', () => {
  expect(pictureOf(entry('1-0', { event: 'instance_lost' }))).toBe('offline');
  expect(pictureOf(entry('1-0', { event: 'error' }))).toBe('late');
});

test('an export has every field, and no cell a spreadsheet would calculate', () => {
  const text = fileOf([entry('1-0', { error: '=1+1', reason: 'say "no", then\nleave', gapMs: '5' })], 'csv');
  expect(text).toContain(`'=1+1,"say ""no"", then\nleave",fra-2`);
  expect(text.split('\r\n')[0]).toMatch(/^timestamp,exchangeName,event,.*gapMs$/);
  expect(JSON.parse(fileOf([entry('1-0')], 'json'))).toEqual([entry('1-0')]);
  expect(fileName(NOW, 'csv')).toBe('perseus-activity-2026-02-10T14-00-00Z.csv');
});

test('a field for a moment holds it in the zone that is shown', () => {
  expect(fieldOf('2026-02-10T14:00:00.000Z', 'utc')).toBe('2026-02-10T14:00');
  expect(isoOf('2026-02-10T14:00', 'utc')).toBe('2026-02-10T14:00:00.000Z');
  expect(isoOf(fieldOf('2026-02-10T14:00:00.000Z', 'local'), 'local')).toBe('2026-02-10T14:00:00.000Z');
  expect([fieldOf('garbage', 'utc'), isoOf('', 'utc')]).toEqual(['', '']);
});

test('an entry is named by its id and its exchange', () => {
  expect(keyOf(entry('1-0'))).toBe('1-0@kraken');
});

test('looks for what is rare no further back than it has looked', () => {
  const rare = { text: 'rare' };
  expect(notBelow({}, '5000-0')).toEqual({});
  expect(notBelow(rare, undefined, null)).toEqual(rare);
  expect(notBelow(rare, '5000-0', '7000-3@kraken').since).toBe('1970-01-01T00:00:07.000Z');
  expect(notBelow({ events: ['error'], since: '1970-01-01T00:00:09Z' }, '5000-0').since).toBe('1970-01-01T00:00:09.000Z');
  expect(notBelow(rare, '99999999999999999999-0')).toEqual(rare);
});
