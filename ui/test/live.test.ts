import { expect, test } from 'vitest';
import { linkOf, type Seen } from '../src/api/link';
import { offsetOf, withSample } from '../src/api/storeClock';

const seen = (changes: Partial<Seen>): Seen => ({ observedMs: 0, nowMs: 1000, error: null, isHidden: false, visibleForMs: 60_000, ...changes });

test('the answer that was on its way the shortest tells the time', () => {
  const samples = withSample(withSample(withSample([], 10_000, 500), 15_000, 5400), 20_000, 11_000);
  expect(offsetOf(samples)).toBe(9600);
});

test('a store whose clock went back is believed', () => {
  expect(offsetOf(withSample(withSample([], 1_000_000, 0), 400_000, 5000))).toBe(395_000);
});

test('a minute of answers is remembered', () => {
  let samples = withSample([], 5000, 0);
  for (let n = 1; n <= 12; n += 1) samples = withSample(samples, n * 5000, n * 5000);
  expect(offsetOf(samples)).toBe(0);
});

test('nothing is known before the first answer', () => {
  expect(offsetOf([])).toBeNull();
  expect(linkOf(seen({ observedMs: null }))).toEqual({ kind: 'first' });
});

test('an answer too old to say anything is a lost view, even if no error came', () => {
  expect(linkOf(seen({ nowMs: 11_000 })).kind).toBe('live');
  expect(linkOf(seen({ nowMs: 13_000 }))).toMatchObject({ kind: 'lost', fault: 'server' });
});

test('a hidden page may ask once a minute only, and a moment after it is seen again has just asked', () => {
  expect(linkOf(seen({ nowMs: 61_000, isHidden: true })).kind).toBe('live');
  expect(linkOf(seen({ nowMs: 61_000, visibleForMs: 300 })).kind).toBe('live');
  expect(linkOf(seen({ nowMs: 95_000, isHidden: true })).kind).toBe('lost');
});

test('what the server says about a fault is kept', () => {
  expect(linkOf(seen({ error: { fault: 'store', text: 'away' } }))).toEqual({ kind: 'lost', fault: 'store', text: 'away' });
});
