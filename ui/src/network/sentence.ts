/** The sentence that answers "is anything wrong?". Pure. */

import type { CardView, IncidentRecord } from '../api/generated';
import { roughly } from '../ui/time';
import { sinceOf } from './facts';
import { type Look, lookOf, needsAttention, wordOf } from './health';
import { sorted } from './sorting';

const NAMED = 3; // exchanges named one by one; the rest is counted
const WORST_FIRST: readonly Look[] = ['offline', 'unknown', 'late', 'changing', 'calm'];

type Open = Pick<IncidentRecord, 'exchangeId' | 'isFlapping'>;

export type Sentence = {
  /** `2 of 8 need attention`, `All is well`. */
  verdict: string;
  /** `kraken offline 4m`, then `6 active`. */
  details: string[];
  /** The worst there is. */
  look: Look;
};

/** The sentence about these cards at a moment, and the incidents known to be open; `withDurations` off for who is read it aloud. */
export function sentenceOf(cards: readonly CardView[], nowMs: number, incidents: readonly Open[] = [], withDurations = true): Sentence {
  const inOrder = sorted(cards);
  const open = new Map(incidents.map((incident) => [incident.exchangeId, incident]));
  const down = inOrder.filter(needsAttention);
  const troubled = inOrder.filter((card) => !needsAttention(card) && open.has(card.exchangeId));
  const fine = inOrder.filter((card) => !needsAttention(card) && !open.has(card.exchangeId)).map(wordOf);
  const wrong = [
    ...down.map((card) => `${card.exchangeName} ${wordOf(card)}${withDurations ? lasting(card, nowMs) : ''}`),
    ...troubled.map((card) => `${card.exchangeName} ${open.get(card.exchangeId)?.isFlapping ? 'flapping' : 'incident open'}`),
  ];
  const details = wrong.slice(0, NAMED);
  if (wrong.length > NAMED) details.push(`${wrong.length - NAMED} more`);
  for (const word of new Set(fine)) details.push(`${fine.filter((each) => each === word).length} ${word}`);
  const looks = new Set([...down.map(lookOf), ...troubled.map((): Look => 'late')]);
  const atRest: Look = fine.includes('active') ? 'active' : 'calm';
  return { verdict: verdictOf(wrong.length, cards.length, fine), details, look: WORST_FIRST.find((look) => looks.has(look)) ?? atRest };
}

function lasting(card: CardView, nowMs: number): string {
  const since = lastsSince(card);
  return since === null ? '' : ` ${roughly(nowMs - since)}`;
}

function lastsSince(card: CardView): number | null {
  return card.health === 'unknown' || card.health === 'unreadable' ? null : sinceOf(card);
}

function verdictOf(wrong: number, all: number, fine: readonly string[]): string {
  if (all === 0) return 'No exchanges yet';
  if (wrong > 0) return `${wrong} of ${all} ${wrong === 1 ? 'needs' : 'need'} attention`;
  return fine.includes('active') ? 'All is well' : 'Nothing is running';
}

