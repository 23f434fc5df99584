/** The line under an exchange's name: for how long it has been so, and by whose doing. */

import type { ReactNode } from 'react';
import type { CardView } from '../api/generated';
import { moment } from '../ui/time';
import { At, Since } from '../ui/Moment';
import { factsOf, sinceOf } from './facts';
import { titled } from './health';

/** `Running for 4h 23m · connected 02:49:12`; `isShort`: without the moment. */
export function Lasting({ card, isShort = false }: { card: CardView; isShort?: boolean }): ReactNode {
  const since = sinceOf(card);
  const connectedAt = factsOf(card)?.connectedAt ?? null;
  switch (card.health) {
    case 'offline':
      return since === null ? 'Offline' : <>Offline for <Since at={since} />{!isShort && <> · since <At at={since} /></>}</>;
    case 'stopped':
      return <Stopped by={card.stoppedBy} at={moment(card.stoppedAt)} isShort={isShort} />;
    case 'idle':
      return 'Waits for somebody to start it';
    case 'never':
      return 'Nobody has served it yet';
    default:
      if (card.status === null) return card.health === 'unreadable' ? 'Its status cannot be read' : 'Nobody can tell how it is';
      if (connectedAt !== null) return <>Running for <Since at={connectedAt} />{!isShort && <> · connected <At at={connectedAt} /></>}</>;
      return since === null ? 'Not connected yet' : <>{isShort ? titled(card.status.connectionState) : `Not connected yet · ${card.status.connectionState}`} for <Since at={since} /></>;
  }
}

function Stopped({ by, at, isShort }: { by: string | null; at: number | null; isShort: boolean }): ReactNode {
  return (
    <>
      Stopped{by ? ` by ${by}` : ''}
      {at !== null && <> <Since at={at} /> ago{!isShort && <> · <At at={at} /></>}</>}
    </>
  );
}
