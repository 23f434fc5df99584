/** Everything that is known of an exchange, in full. */

import type { ReactNode } from 'react';
import { IncidentBox } from '../incidents/IncidentBox';
import type { CardView } from '../api/generated';
import { Ago } from '../ui/Moment';
import { moment } from '../ui/time';
import { Badge } from './Badge';
import type { CardShown } from './Card';
import { Fact, FactList } from './FactList';
import { factsOf } from './facts';
import { lookOf, titled, wordOf } from './health';
import { Lasting } from './Lasting';
import { Remarks } from './Remarks';
import './card.css';

const SOURCES: Record<string, string> = {
  last: 'its own last snapshot',
  status: 'its status when it was last seen',
  log: 'the newest entry of its log',
};

/** The head of an exchange's page. */
export function Detail({ card, incident, observedMs, isLive, isPaused }: CardShown): ReactNode {
  const look = isLive ? lookOf(card) : 'unknown';
  return (
    <article className={`card detail look-${look}`} data-exchange={card.exchangeName} data-health={isLive ? card.health : 'unknown'} aria-labelledby="exchange-title">
      <header className="card-head">
        <h1 id="exchange-title" className="card-title">{card.displayName}</h1>
        <Badge look={look} word={isLive ? titled(wordOf(card)) : 'Unknown'} />
        <p className="card-lasting meta">{isLive ? <Lasting card={card} /> : <>Was {wordOf(card)} when last seen</>}</p>
      </header>
      <IncidentBox incident={incident} />
      <FactList card={card} observedMs={observedMs} isLive={isLive && !isPaused} isKnown={isLive} />
      <Remarks card={card} isLive={isLive} />
      <More card={card} />
    </article>
  );
}

function More({ card }: { card: CardView }): ReactNode {
  const facts = factsOf(card);
  if (facts === null) return null;
  const { status, lastKnown } = card;
  const desired = (status ?? lastKnown)?.desiredState;
  const desiredAt = moment(desired?.at);
  return (
    <dl className="facts more">
      <Fact name="Instance">{facts.instanceId && <span className="mono">{facts.instanceId}</span>}</Fact>
      <Fact name="Epoch">{facts.epoch !== null && <span className="times">{facts.epoch}</span>}</Fact>
      <Fact name="Connected">{facts.connectedAt === null ? <span className="meta">not connected</span> : <Ago at={facts.connectedAt} />}</Fact>
      <Fact name="State since">{facts.lastStateChangeAt === null ? null : <Ago at={facts.lastStateChangeAt} />}</Fact>
      <Fact name="Admin e-mail">{facts.adminEmail ?? <span className="meta">not set</span>}</Fact>
      <Fact name="Asked for">{desired ? <>{desired.state}{desired.by && ` by ${desired.by}`}{desiredAt !== null && <>, <Ago at={desiredAt} /></>}</> : <span className="meta">nothing yet</span>}</Fact>
      <Fact name="Version">{facts.version}</Fact>
      {status?.pid != null && <Fact name="Process"><span className="times">{status.pid}</span></Fact>}
      {status?.countryCode && <Fact name="Country">{status.countryCode}</Fact>}
      {status === null && lastKnown && <Fact name="Known from">{SOURCES[lastKnown.source] ?? lastKnown.source}</Fact>}
      <Fact name="Exchange id"><span className="times">{card.exchangeId}</span></Fact>
    </dl>
  );
}
