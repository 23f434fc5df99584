import { expect, test } from 'vitest';
import type { IncidentRecord } from '../src/api/generated';
import { whyNotOf } from '../src/incidents/whyNot';
import { byExchange, causeOf, consequenceOf, lookOf, mutedUntil, resolutionOf, shortWords } from '../src/incidents/words';
import { announcedWords, channelWords, isPartly, reasonOf, silenceOf, stateOf, verdictOf } from '../src/notifications/wording';
import { ago, NOW } from './cards';

function incident(changes: Partial<IncidentRecord> = {}): IncidentRecord {
  return {
    id: 'kraken-1-0', exchangeId: 4, exchangeName: 'kraken', displayName: 'Kraken', cause: 'offline',
    since: ago(240_000), openedAt: ago(200_000), hostname: 'fra-2', ip: '203.0.113.7', adminEmail: 'ada@example.org', lastState: 'active',
    detail: '', isFlapping: false, changes: 0, resolvedAt: null, resolution: null,
    acknowledgedAt: null, acknowledgedBy: null, acknowledgedReason: null, mutedUntil: null, mutedBy: null, mutedReason: null,
    ...changes,
  };
}

const holder = { hostname: 'fra-1', since: ago(0), instanceId: 'n', version: '1' };
const channel = (state: 'ok' | 'unused' | 'waiting' | 'failing' | 'dead') => ({ name: state, state, lastSuccessAt: null, queued: 0, oldestUnsentAt: null, reason: null, dropped: 0 });

test('a mute that has passed is none', () => {
  const muted = incident({ mutedUntil: ago(-60_000), mutedBy: 'ada@example.org' });
  expect(mutedUntil(muted, NOW)).toBe(NOW + 60_000);
  expect(mutedUntil(muted, NOW + 60_000)).toBeNull();
  expect(mutedUntil(incident(), NOW)).toBeNull();
});

test('one line says who has it, whether it flaps, whether it is muted', () => {
  expect(shortWords(incident(), NOW)).toBe('Incident, nobody has it');
  const known = incident({ acknowledgedBy: 'ada@example.org', isFlapping: true, mutedUntil: ago(-1000) });
  expect(shortWords(known, NOW)).toBe('Incident, ada@example.org has it, flapping, muted');
  expect(shortWords(known, NOW + 2000)).toBe('Incident, ada@example.org has it, flapping');
});

test('every cause and every end has words', () => {
  expect(causeOf(incident({ cause: 'lease_lost' }))).toBe('lost its lease');
  expect(resolutionOf(incident())).toBeNull();
  expect(resolutionOf(incident({ resolution: 'switched_off' }))).toBe('switched off');
  expect(resolutionOf(incident({ resolution: 'unknown' }))).toBe('over, nobody knows how');
});

test('red is an outage that goes on', () => {
  expect(lookOf(incident())).toBe('offline');
  expect(lookOf(incident({ isFlapping: true }))).toBe('late');
  expect(lookOf(incident({ resolvedAt: ago(0) }))).toBe('calm');
});

test('an incident is found by its exchange, and unknown ones are none', () => {
  expect(byExchange([incident()]).get(4)?.id).toBe('kraken-1-0');
  expect(byExchange(undefined).size).toBe(0);
});

test('who may not act is told why, the lasting reason first', () => {
  expect(whyNotOf({ role: 'owner', isLost: false, isPaused: false })).toBeNull();
  expect(whyNotOf({ role: 'operator', isLost: false, isPaused: false })).toBeNull();
  expect(whyNotOf({ role: 'viewer', isLost: true, isPaused: true })).toContain('yours is viewer');
  expect(whyNotOf({ role: 'owner', isLost: true, isPaused: true })).toContain('lost');
  expect(whyNotOf({ role: 'owner', isLost: false, isPaused: true })).toContain('Paused');
});

test('the server decides about who is not known yet', () => {
  expect(whyNotOf({ role: null, isLost: false, isPaused: false })).toBeNull();
});

test('channels are counted by whether they work', () => {
  expect(channelWords([])).toBe('no channel');
  expect(channelWords([channel('ok')])).toBe('1 channel');
  expect(channelWords([channel('dead')])).toBe('its one channel does not work');
  expect(channelWords([channel('ok'), channel('unused'), channel('waiting')])).toBe('3 channels');
  expect(channelWords([channel('ok'), channel('failing')])).toBe('1 of 2 channels works');
  expect(channelWords([channel('dead'), channel('failing')])).toBe('0 of 2 channels work');
});

test('nothing about alerts is red', () => {
  for (const state of ['ok', 'unused', 'waiting', 'failing', 'dead'] as const) expect(stateOf({ state }).look).not.toBe('offline');
  for (const alerts of ['sent', 'failing', 'none'] as const) expect(verdictOf({ alerts, channels: [] }).look).not.toBe('offline');
});

test('alerts are well only while every channel works', () => {
  const statuses: Parameters<typeof verdictOf>[0][] = [
    { alerts: 'sent', channels: [channel('ok'), channel('waiting'), channel('unused')] },
    { alerts: 'sent', channels: [channel('ok'), channel('dead'), channel('failing')] },
    { alerts: 'failing', channels: [channel('dead'), channel('failing')] },
  ];
  expect(statuses.map(verdictOf)).toEqual([
    { look: 'active', word: 'Alerts are being sent' },
    { look: 'late', word: 'Alerts are sent to 1 of 3 channels' },
    { look: 'late', word: 'Alerts do not get through' },
  ]);
  expect(statuses.map(isPartly)).toEqual([false, true, false]);
});

test('who acknowledges is told what is still said, and what a mute holds back', () => {
  expect(consequenceOf(null)).toContain('still told');
  expect(consequenceOf('15:04:05')).toBe('Reminders stop. It is muted until 15:04:05: that it is over is told only if it ends later.');
});

test('every silence has its reason', () => {
  const none = { alerts: 'none' as const, why: null, holder, channels: [] };
  expect(silenceOf({ ...none, alerts: 'sent', channels: [channel('ok'), channel('dead')] })).toBeNull();
  expect(silenceOf({ ...none, holder: null, why: 'No alerts are being sent: no notifier runs. `perseus serve` does that.' })).toBe('no notifier');
  expect(silenceOf({ ...none, why: 'No alerts are being sent: no Discord webhook is set on fra-1. Set one.' })).toBe('no channel');
  expect(silenceOf({ ...none, channels: [channel('dead')] })).toBe('all dead');
  expect(silenceOf({ ...none, alerts: 'failing', channels: [channel('failing')] })).toBe('failing');
  const refused = 'No alerts are being sent: the store takes no writes (READONLY).';
  expect([holder, null].map((each) => silenceOf({ ...none, holder: each, why: refused }))).toEqual(['other', 'other']);
  expect(reasonOf(refused)).toBe('The store takes no writes (READONLY).');
  expect(reasonOf('Alerts cannot be delivered at the moment: ops: 503')).toBe('Alerts cannot be delivered at the moment: ops: 503');
});

test('what is not announced is said, too; a kind of a newer server by its own name', () => {
  expect(announcedWords(['offline', 'recovered', 'thawed'])).toEqual({
    told: ['outages', 'recoveries', 'thawed'],
    untold: ['starts', 'stops', 'lost leases', 'promotions', 'handoffs', 'errors'],
  });
});
