/** The order of cards: what is worst first, then what has lasted longest. Pure. */

import type { CardView } from '../api/generated';
import { sinceOf } from './facts';
import { severityOf } from './health';

/** The cards by severity, then duration, then name. */
export function sorted(cards: readonly CardView[]): CardView[] {
  const since = new Map(cards.map((card) => [card.exchangeId, sinceOf(card) ?? Number.POSITIVE_INFINITY]));
  const from = (card: CardView): number => since.get(card.exchangeId) ?? 0;
  return cards.toSorted(
    (a, b) =>
      severityOf(a) - severityOf(b) || Math.sign(from(a) - from(b)) || a.displayName.localeCompare(b.displayName, 'en'),
  );
}

/** The cards in the order of `ids`, those not among them behind it as they come: nothing moves under a finger. */
export function inOrder(cards: readonly CardView[], ids: readonly number[]): CardView[] {
  const place = new Map(ids.map((id, index) => [id, index]));
  const of = (card: CardView): number => place.get(card.exchangeId) ?? ids.length;
  return cards.toSorted((a, b) => of(a) - of(b));
}
