/** One exchange in one line, for networks of more than a dozen. */

import { memo, type ReactNode } from 'react';
import { addressOf } from '../app/places';
import { IncidentShort } from '../incidents/IncidentWords';
import { Link } from '../ui/Link';
import { Ago } from '../ui/Moment';
import { Badge } from './Badge';
import type { CardShown } from './Card';
import { factsOf } from './facts';
import { lookOf, titled, wordOf } from './health';
import { heartbeatOf } from './heartbeat';
import { HeartbeatLine } from './HeartbeatLine';
import { Lasting } from './Lasting';
import { warmupOf, warmupWords } from './WarmupBar';
import './rows.css';

/** The same facts as on a card, the longest cut; the exchange's own page has them in full. */
export const CompactRow = memo(function CompactRow({ card, incident, observedMs, isLive, isPaused }: CardShown): ReactNode {
  const facts = factsOf(card);
  const heartbeat = heartbeatOf(card, observedMs);
  const look = isLive ? lookOf(card) : 'unknown';
  const warmup = isLive ? warmupOf(card) : null;
  const remark = warmup ? warmupWords(warmup) : (facts?.lastError ?? card.reason ?? '');
  const titleId = `exchange-${card.exchangeId}`;
  return (
    <article className={`row look-${look}`} data-exchange={card.exchangeName} data-health={isLive ? card.health : 'unknown'} data-last-known={facts?.isLastKnown || !isLive || undefined} aria-labelledby={titleId}>
      <h2 id={titleId} className="row-name"><Link to={addressOf({ page: 'exchange', name: card.exchangeName })}>{card.displayName}</Link></h2>
      <Badge look={look} word={isLive ? titled(wordOf(card)) : 'Unknown'} />
      <span className="row-lasting meta">
        <span>{isLive ? <Lasting card={card} isShort /> : <>Was {wordOf(card)} when last seen</>}</span>
        {incident && <IncidentShort incident={incident} />}
      </span>
      <span className="row-heartbeat">
        {heartbeat ? <HeartbeatLine heartbeat={heartbeat} isLive={isLive && !isPaused} isKnown={isLive} /> : facts?.lastSeenAt && <span className="meta">Last seen <Ago at={facts.lastSeenAt} /></span>}
      </span>
      <span className="row-host">
        <span className="mono" title={facts?.hostname ?? undefined}>{facts?.hostname ?? ''}</span>
        <span className="mono meta">{facts?.ip ?? ''}</span>
      </span>
      <span className="row-admin" title={facts?.adminEmail ?? undefined}>{facts?.admin ?? ''}</span>
      <span className="row-symbols meta times">{facts === null || facts.symbols === null ? '' : `${facts.symbols} symbols`}</span>
      <span className="row-remark meta" title={remark}>{remark}</span>
    </article>
  );
});
