/** One exchange: its name, how it is, who serves it from where, and how fresh that is. Never blank. */

import { memo, type ReactNode } from 'react';
import type { CardView, IncidentRecord } from '../api/generated';
import { addressOf } from '../app/places';
import { IncidentBox } from '../incidents/IncidentBox';
import { Link } from '../ui/Link';
import { Badge } from './Badge';
import { FactList } from './FactList';
import { lookOf, titled, wordOf } from './health';
import { Lasting } from './Lasting';
import { Remarks } from './Remarks';
import './card.css';

export type CardShown = {
  card: CardView;
  /** The open incident of the exchange, if one is known. */
  incident: IncidentRecord | null;
  /** When the card was read, by the store's clock. */
  observedMs: number;
  /** Off while nobody can tell whether what is shown is still so. */
  isLive: boolean;
  /** Whether it is a moment a person holds still: true then, known to be old. */
  isPaused: boolean;
};

/** The card in the grid of the network. */
export const Card = memo(function Card({ card, incident, observedMs, isLive, isPaused }: CardShown): ReactNode {
  const look = isLive ? lookOf(card) : 'unknown';
  const titleId = `exchange-${card.exchangeId}`;
  return (
    <article className={`card look-${look}`} data-exchange={card.exchangeName} data-health={isLive ? card.health : 'unknown'} aria-labelledby={titleId}>
      <header className="card-head">
        <h2 id={titleId} className="card-title">
          <Link to={addressOf({ page: 'exchange', name: card.exchangeName })}>{card.displayName}</Link>
        </h2>
        <Badge look={look} word={isLive ? titled(wordOf(card)) : 'Unknown'} />
        <p className="card-lasting meta">
          {isLive ? <Lasting card={card} /> : <>Was {wordOf(card)} when last seen</>}
        </p>
      </header>
      <IncidentBox incident={incident} />
      <FactList card={card} observedMs={observedMs} isLive={isLive && !isPaused} isKnown={isLive} />
      <Remarks card={card} isLive={isLive} />
    </article>
  );
});
