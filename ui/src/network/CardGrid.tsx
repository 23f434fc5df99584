/** All exchanges, worst first; nothing changes its place while somebody points at it or has the focus there. */

import { type ReactNode, useRef, useState } from 'react';
import type { CardView, IncidentRecord } from '../api/generated';
import { useIsHeld } from '../ui/useIsHeld';
import { Card } from './Card';
import { CompactRow } from './CompactRow';
import { inOrder, sorted } from './sorting';

const MOST_CARDS = 12;

type Shown = { cards: readonly CardView[]; incidents: ReadonlyMap<number, IncidentRecord>; observedMs: number; isLive: boolean; isPaused: boolean };

/** Cards for up to a dozen, rows for more. */
export function CardGrid({ cards, incidents, observedMs, isLive, isPaused }: Shown): ReactNode {
  const list = useRef<HTMLUListElement>(null);
  const isHeld = useIsHeld(list);
  const ordered = useSteadyOrder(cards, isHeld || !isLive);
  const isCompact = cards.length > MOST_CARDS;
  const Item = isCompact ? CompactRow : Card;
  return (
    <>
      {isCompact && <p className="rows-head meta">{cards.length} exchanges, worst first · <a href="#activity-title">to the activity</a></p>}
      <ul ref={list} className={isCompact ? 'rows' : 'cards'} aria-label="Exchanges">
        {ordered.map((card) => (
          <li key={card.exchangeId}>
            <Item card={card} incident={incidents.get(card.exchangeId) ?? null} observedMs={observedMs} isLive={isLive} isPaused={isPaused} />
          </li>
        ))}
      </ul>
    </>
  );
}

/** The cards sorted; while held, as they were. */
function useSteadyOrder(cards: readonly CardView[], isHeld: boolean): CardView[] {
  const [kept, setKept] = useState<readonly number[]>([]);
  const ordered = isHeld && kept.length > 0 ? inOrder(cards, kept) : sorted(cards);
  const ids = ordered.map((card) => card.exchangeId);
  if (ids.join() !== kept.join()) setKept(ids);
  return ordered;
}
