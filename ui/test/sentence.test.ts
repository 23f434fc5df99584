import { expect, test } from 'vitest';
import { needsAttention, wordOf } from '../src/network/health';
import { sentenceOf } from '../src/network/sentence';
import { ago, card, NOW, offline, status } from './cards';

const said = (cards: Parameters<typeof sentenceOf>[0], incidents?: Parameters<typeof sentenceOf>[2]) => {
  const { verdict, details } = sentenceOf(cards, NOW, incidents);
  return [verdict, ...details].join(' · ');
};

test('all is well as long as nothing that should run does not', () => {
  expect(said([card(), card({ exchangeId: 5, health: 'never', shouldRun: false, status: null })])).toBe('All is well · 1 active · 1 never started');
});

test('what is wrong is named with its duration, what is fine is counted', () => {
  const cards = [card(), card({ exchangeId: 2 }), offline('kraken', 245_000)];
  expect(said(cards)).toBe('1 of 3 needs attention · kraken offline 4m · 2 active');
  expect(sentenceOf(cards, NOW).look).toBe('offline');
});

test('at most three are named, the rest is counted', () => {
  const cards = ['a', 'b', 'c', 'd', 'e'].map((name, id) => offline(name, (id + 1) * 60_000, { exchangeId: id }));
  expect(said(cards)).toBe('5 of 5 need attention · e offline 5m · d offline 4m · c offline 3m · 2 more');
});

test('an exchange that was stopped on purpose needs nobody', () => {
  const stopped = card({ health: 'stopped', status: null, shouldRun: false, stoppedAt: ago(1000) });
  expect(said([stopped])).toBe('Nothing is running · 1 stopped');
});

test('an exchange that is up with an open incident needs somebody, if incidents are known', () => {
  const cards = [card({ exchangeId: 2, exchangeName: 'binance' }), card()];
  const flapping = { exchangeId: 2, isFlapping: true };
  expect(said(cards, [flapping])).toBe('1 of 2 needs attention · binance flapping · 1 active');
  expect(sentenceOf(cards, NOW, [flapping]).look).toBe('late');
  expect(said(cards, [{ exchangeId: 2, isFlapping: false }])).toContain('binance incident open');
  expect(said(cards, undefined)).toBe('All is well · 2 active');
});

test('what is down is named before what only has an incident, and once', () => {
  const cards = [card({ exchangeId: 2, exchangeName: 'binance' }), offline('kraken', 245_000)];
  const open = [{ exchangeId: 2, isFlapping: true }, { exchangeId: 4, isFlapping: true }];
  expect(said(cards, open)).toBe('2 of 2 need attention · kraken offline 4m · binance flapping');
  expect(sentenceOf(cards, NOW, open).look).toBe('offline');
});

test('what cannot be told needs somebody, whatever should run', () => {
  expect(needsAttention(card({ health: 'unknown', shouldRun: false }))).toBe(true);
  expect(needsAttention(card({ health: 'unreadable', shouldRun: false }))).toBe(true);
});

test('a transition is called by its state', () => {
  expect(wordOf(card({ health: 'transition', status: status({ connectionState: 'warming' }) }))).toBe('warming');
});

test('a network without exchanges is not called well', () => {
  expect(said([])).toBe('No exchanges yet');
});

test('read aloud there are no durations: they would change every second', () => {
  expect(sentenceOf([offline('kraken', 245_000)], NOW, [], false).details).toEqual(['kraken offline']);
});
