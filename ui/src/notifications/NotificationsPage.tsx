/** Notifications: whether anybody is told, who has which incident, by which channels, what was. */

import { useInfiniteQuery, useQuery } from '@tanstack/react-query';
import { type ReactNode, useState } from 'react';
import { resolvedIncidents } from '../api/alerts';
import { session } from '../api/queries';
import { FirstAnswer } from '../app/FirstAnswer';
import { useLive } from '../app/live';
import { whyNotOf } from '../incidents/whyNot';
import { AlertsLine } from './AlertsLine';
import { Channels } from './Channels';
import { OpenIncidents } from './OpenIncidents';
import { ResolvedIncidents } from './ResolvedIncidents';
import { Silence } from './Silence';
import { Telling } from './Telling';
import { silenceOf } from './wording';
import './notifications.css';

/** What is not known is said to be unknown; what is known stays, and says of when it is. */
export function NotificationsPage(): ReactNode {
  const { shown, link, alerts, incidents, pausedAt } = useLive();
  const { data: who } = useQuery(session);
  const isPaused = pausedAt !== null;
  const resolved = useInfiniteQuery(resolvedIncidents);
  const over = useHeld(resolved.data, isPaused);
  if (shown === null) return <FirstAnswer link={link} />;
  const isLost = link.kind === 'lost';
  const isKnown = !isLost && alerts.fault === null;
  const silence = isKnown && alerts.data ? silenceOf(alerts.data) : null;
  const whyNot = whyNotOf({ role: who?.role ?? null, isLost, isPaused: false });
  return (
    <>
      <h1 className="unseen">Notifications</h1>
      <AlertsLine alerts={alerts} isLost={isLost} openCount={incidents.data?.incidents.length ?? null} />
      <OpenIncidents incidents={incidents} isLost={isLost} isRecorded={isKnown && alerts.data ? alerts.data.holder !== null : null} />
      {alerts.data && silence && <Silence silence={silence} status={alerts.data} />}
      {alerts.data && alerts.data.channels.length > 0 && <Channels status={alerts.data} isKnown={isKnown} whyNot={whyNot} />}
      {alerts.data && <Telling status={alerts.data} />}
      <ResolvedIncidents
        incidents={over?.pages.flatMap((page) => page.incidents) ?? null}
        error={isLost ? null : resolved.error}
        isLoadingMore={resolved.isFetchingNextPage}
        showOlder={resolved.hasNextPage && !isPaused ? () => void resolved.fetchNextPage() : null}
      />
    </>
  );
}

/** The value; while held, the one it had before. */
function useHeld<T>(value: T, isHeld: boolean): T {
  const [kept, setKept] = useState(value);
  if (!isHeld && kept !== value) setKept(value);
  return isHeld ? kept : value;
}
