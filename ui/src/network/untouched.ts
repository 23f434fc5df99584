/** Whether a network is as new: no exchange of it was ever served. Pure. */

import type { CardView } from '../api/generated';

/** True also where there is no exchange at all. */
export function isUntouched(cards: readonly CardView[]): boolean {
  return cards.every((card) => card.health === 'never');
}
