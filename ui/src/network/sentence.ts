/** The sentence that answers "is anything wrong?". Pure. */

import type { CardView } from '../api/generated';
import { roughly } from '../ui/time';
import { sinceOf } from './facts';
import { type Look, lookOf, needsAttention, wordOf } from './health';
import { sorted } from './sorting';

const NAMED = 3; // exchanges named one by one; the rest is counted

export type Sentence = {
  /** `2 of 8 need attention`, `All is well`. */
  verdict: string;
  /** `kraken offline 4m`, then `6 active`. */
  details: string[];
  /** The worst there is. */
  look: Look;
};

/** The sentence about these cards at a moment; `withDurations` off for who is read it aloud. */
export function sentenceOf(cards: readonly CardView[], nowMs: number, withDurations = true): Sentence {
  const inOrder = sorted(cards);
  const wrong = inOrder.filter(needsAttention);
  const fine = inOrder.filter((card) => !needsAttention(card)).map(wordOf);
  const details = wrong.slice(0, NAMED).map((card) => {
    const since = withDurations ? lastsSince(card) : null;
    return `${card.exchangeName} ${wordOf(card)}${since === null ? '' : ` ${roughly(nowMs - since)}`}`;
  });
  if (wrong.length > NAMED) details.push(`${wrong.length - NAMED} more`);
  for (const word of new Set(fine)) details.push(`${fine.filter((each) => each === word).length} ${word}`);
  return { verdict: verdictOf(wrong.length, cards.length, fine), details, look: lookOfAll(inOrder, wrong) };
}

function lastsSince(card: CardView): number | null {
  return card.health === 'unknown' || card.health === 'unreadable' ? null : sinceOf(card);
}

function verdictOf(wrong: number, all: number, fine: readonly string[]): string {
  if (all === 0) return 'No exchanges yet';
  if (wrong > 0) return `${wrong} of ${all} ${wrong === 1 ? 'needs' : 'need'} attention`;
  return fine.includes('active') ? 'All is well' : 'Nothing is running';
}

function lookOfAll(inOrder: readonly CardView[], wrong: readonly CardView[]): Look {
  const [worst] = wrong;
  if (worst) return lookOf(worst);
  return inOrder.some((card) => card.health === 'active') ? 'active' : 'calm';
}

