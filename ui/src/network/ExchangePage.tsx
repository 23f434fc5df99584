/** One exchange: everything that is known of it, its last warm-up, what happened. */

import { useQuery } from '@tanstack/react-query';
import type { ReactNode } from 'react';
import { Activity } from '../activity/Activity';
import { warmupStats } from '../api/queries';
import type { CardView } from '../api/generated';
import { FirstAnswer } from '../app/FirstAnswer';
import { useLive } from '../app/live';
import { IncidentsFault } from '../incidents/IncidentsFault';
import { addressOf } from '../app/places';
import { Link } from '../ui/Link';
import { Detail } from './Detail';
import { WarmupReport } from './WarmupReport';

/** The page of the exchange of this name. */
export function ExchangePage({ name }: { name: string }): ReactNode {
  const { shown, link, pausedAt, incidents } = useLive();
  if (shown === null) return <FirstAnswer link={link} />;
  const card = shown.cards.find((each) => each.exchangeName === name);
  const incident = incidents.data?.incidents.find((each) => each.exchangeId === card?.exchangeId) ?? null;
  const isLive = link.kind !== 'lost';
  return (
    <>
      <nav aria-label="Breadcrumb" className="crumbs"><Link to={addressOf({ page: 'network' })}>Network</Link> <span aria-hidden="true">/</span> <span aria-current="page">{card?.displayName ?? name}</span></nav>
      {card ? (
        <>
          {isLive && <IncidentsFault incidents={incidents} />}
          <Detail card={card} incident={incident} observedMs={shown.observedMs} isLive={isLive} isPaused={pausedAt !== null} />
          <Warmup card={card} isLive={isLive} />
          <Activity exchanges={shown.cards} only={name} />
        </>
      ) : (
        <div className="panel">
          <h1 className="panel-title">{name} is not part of this network</h1>
          <p>No active exchange has this name. One that was switched off comes back with <code>perseus exchanges enable {name}</code>.</p>
        </div>
      )}
    </>
  );
}

function Warmup({ card, isLive }: { card: CardView; isLive: boolean }): ReactNode {
  const { data } = useQuery(warmupStats(card.exchangeId));
  return <WarmupReport warmup={data?.stats ?? card.warmup} fault={data?.reason ?? null} isLive={isLive} />;
}
