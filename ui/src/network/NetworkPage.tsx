/** The network: is anything wrong, one card for each exchange, what happened. */

import { type ReactNode, useMemo } from 'react';
import { Activity } from '../activity/Activity';
import { FirstAnswer } from '../app/FirstAnswer';
import { useLive } from '../app/live';
import { IncidentsFault } from '../incidents/IncidentsFault';
import { byExchange } from '../incidents/words';
import { CardGrid } from './CardGrid';
import { EmptyNetwork } from './EmptyNetwork';
import { SentenceLine } from './SentenceLine';
import { isUntouched } from './untouched';

/** Never blank: what is known stays, and says of when it is. */
export function NetworkPage(): ReactNode {
  const { shown, link, pausedAt, incidents } = useLive();
  const openOnes = useMemo(() => byExchange(incidents.data?.incidents), [incidents.data]);
  if (shown === null) return <FirstAnswer link={link} />;
  const { cards, observedMs } = shown;
  return (
    <>
      <h1 className="unseen">Network</h1>
      <SentenceLine cards={cards} incidents={incidents.data?.incidents} observedMs={observedMs} isLive={link.kind !== 'lost'} />
      {isUntouched(cards) && link.kind === 'live' && <EmptyNetwork cards={cards} />}
      {link.kind !== 'lost' && <IncidentsFault incidents={incidents} />}
      {cards.length > 0 && <CardGrid cards={cards} incidents={openOnes} observedMs={observedMs} isLive={link.kind !== 'lost'} isPaused={pausedAt !== null} />}
      <Activity exchanges={cards} />
    </>
  );
}
