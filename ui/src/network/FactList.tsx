/** Who serves an exchange, from where, with how much, how fresh. */

import type { ReactNode } from 'react';
import type { CardView } from '../api/generated';
import { Ago } from '../ui/Moment';
import { factsOf } from './facts';
import { heartbeatOf } from './heartbeat';
import { HeartbeatLine } from './HeartbeatLine';

/** A name and what is to be said of it; unknown things say so. */
export function Fact({ name, children }: { name: string; children: ReactNode }): ReactNode {
  return (
    <div className="fact">
      <dt>{name}</dt>
      <dd>{children ?? <span className="meta">unknown</span>}</dd>
    </div>
  );
}

type Shown = { card: CardView; observedMs: number; isLive: boolean; isKnown: boolean };

/** The facts of a card, those of an exchange nobody serves labelled as last known. */
export function FactList({ card, observedMs, isLive, isKnown }: Shown): ReactNode {
  const facts = factsOf(card);
  if (facts === null) return null;
  const heartbeat = heartbeatOf(card, observedMs);
  const isLastKnown = facts.isLastKnown || !isKnown;
  return (
    <div className="facts-box" data-last-known={isLastKnown || undefined}>
      {isLastKnown && <p className="last-known">Last known</p>}
      <dl className="facts">
        {heartbeat ? (
          <Fact name="Heartbeat"><HeartbeatLine heartbeat={heartbeat} isLive={isLive} isKnown={isKnown} /></Fact>
        ) : (
          <Fact name="Last seen">{facts.lastSeenAt === null ? null : <Ago at={facts.lastSeenAt} />}</Fact>
        )}
        <Fact name="Host">{facts.hostname && <span className="mono">{facts.hostname}</span>}</Fact>
        <Fact name="IP">{facts.ip && <span className="mono">{facts.ip}</span>}</Fact>
        <Fact name="Admin">{facts.admin ?? <span className="meta">not set</span>}</Fact>
        <Fact name="Symbols">{facts.symbols === null ? null : <span className="times">{facts.symbols}</span>}</Fact>
        {facts.isLastKnown && facts.state && <Fact name="State">{facts.state}</Fact>}
      </dl>
    </div>
  );
}
