/** The heartbeat: how old, and what is left of the lease. Its colour alone follows the age (DIFF-02). */

import type { ReactNode } from 'react';
import { useNow } from '../api/now';
import { At } from '../ui/Moment';
import { duration } from '../ui/time';
import { budget, freshnessOf, type Heartbeat, leaseLeft } from './heartbeat';

type Shown = {
  heartbeat: Heartbeat;
  /** Off: what is shown is of another moment, and has no colour. */
  isLive: boolean;
  /** Off: nobody can tell what became of the lease since. */
  isKnown: boolean;
};

/** `12s ago · offline in 33s`, and the same as a bar. */
export function HeartbeatLine({ heartbeat, isLive, isKnown }: Shown): ReactNode {
  const now = useNow();
  if (!isKnown) return <span className="times">{duration(now - heartbeat.at)} old at <At at={now} /></span>;
  const freshness = isLive && !heartbeat.isStopped ? freshnessOf(now - heartbeat.at, heartbeat.intervalMs) : 'unknown';
  return (
    <span className="heartbeat times" data-freshness={freshness}>
      {budget(heartbeat, now)}
      {!heartbeat.isStopped && (
        <svg className="lease" viewBox="0 0 100 4" preserveAspectRatio="none" aria-hidden="true">
          <rect className="lease-all" width="100" height="4" />
          <rect className="lease-left" width={100 * leaseLeft(heartbeat, now)} height="4" />
        </svg>
      )}
    </span>
  );
}
