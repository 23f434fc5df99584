import { expect, test } from 'vitest';
import { absolute, clockTime, duration, moment, namedDay, roughly } from '../src/ui/time';

const AT = Date.parse('2026-02-10T03:12:05Z');

test.each([
  [-5, '0s'],
  [999, '0s'],
  [12_000, '12s'],
  [250_000, '4m 10s'],
  [240_000, '4m'],
  [15_780_000, '4h 23m'],
  [3 * 86_400_000 + 4 * 3_600_000 + 59_000, '3d 4h'],
])('%i ms are told as %s, as the command line tells them', (ms, words) => {
  expect(duration(ms)).toBe(words);
});

test('a rough duration has one unit, so that it changes rarely', () => {
  expect([roughly(59_999), roughly(250_000), roughly(90_000_000)]).toEqual(['59s', '4m', '1d']);
});

test('what is no moment is none, rather than the year 1970', () => {
  expect([moment(null), moment(''), moment('soon'), moment('2026-02-10T03:12:05.000Z')]).toEqual([null, null, null, AT]);
});

test('a moment of another day says which day', () => {
  expect(clockTime(AT, 'utc')).toBe('03:12:05Z');
  expect(absolute(AT, 'utc', AT + 3_600_000)).toBe('03:12:05Z');
  expect(absolute(AT, 'utc', AT + 86_400_000)).toBe('yesterday 03:12:05Z');
  expect(absolute(AT, 'utc', AT + 5 * 86_400_000)).toBe('Tue 10 Feb 2026 03:12:05Z');
  expect(namedDay(AT, 'utc', AT)).toBe('Today');
});
