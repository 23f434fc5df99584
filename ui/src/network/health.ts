/** What an observer concludes, in words, in order of severity and as one of six looks. Pure. */

import type { CardView, Health } from '../api/generated';

/** How something looks: colour and glyph. */
export type Look = 'active' | 'changing' | 'late' | 'offline' | 'calm' | 'unknown';

const LOOKS: Record<Health, Look> = {
  active: 'active',
  transition: 'changing',
  late: 'late',
  offline: 'offline',
  stopped: 'calm',
  idle: 'calm',
  never: 'calm',
  unreadable: 'unknown',
  unknown: 'unknown',
};

const WORDS: Record<Health, string> = {
  active: 'active',
  transition: 'changing',
  late: 'late',
  offline: 'offline',
  stopped: 'stopped',
  idle: 'idle',
  never: 'never started',
  unreadable: 'unreadable',
  unknown: 'unknown',
};

const WORST_FIRST: readonly Health[] = [
  'offline', 'unknown', 'unreadable', 'late', 'transition', 'active', 'idle', 'stopped', 'never',
];

/** The look of a card. */
export function lookOf(card: Pick<CardView, 'health'>): Look {
  return LOOKS[card.health];
}

/** The card's one word: a transition is called by its state. */
export function wordOf(card: Pick<CardView, 'health' | 'status'>): string {
  return card.health === 'transition' && card.status ? card.status.connectionState : WORDS[card.health];
}

/** The same with a capital letter. */
export function titled(word: string): string {
  return word.charAt(0).toUpperCase() + word.slice(1);
}

/** 0 is the worst. */
export function severityOf(card: Pick<CardView, 'health'>): number {
  return WORST_FIRST.indexOf(card.health);
}

/** Whether a person should look: it should run and is not active, or it cannot be told. As `perseus status` says. */
export function needsAttention(card: Pick<CardView, 'health' | 'shouldRun'>): boolean {
  if (card.health === 'unreadable' || card.health === 'unknown') return true;
  return card.shouldRun && card.health !== 'active';
}
