/** The progress of a warm-up. */

import type { ReactNode } from 'react';
import type { CardView, WarmupProgress } from '../api/generated';
import { duration } from '../ui/time';

/** The warm-up that is under way, as far as it tells; what is left of the one before is none. */
export function warmupOf(card: CardView): WarmupProgress | null {
  const isNow = card.health === 'transition' && card.status?.connectionState === 'warming';
  return isNow && card.warmup?.finishedAt === null ? card.warmup : null;
}

/** `44 % · 11 of 25 symbols · BTC-USDT · 12s left · 1 failed`; `Loading symbols` until it is known how many. */
export function warmupWords(warmup: WarmupProgress): string {
  if (isLoading(warmup)) return 'Loading symbols';
  const parts = [`${Math.floor(warmup.percent)} %`, `${warmup.done} of ${warmup.total} symbols`];
  if (warmup.currentSymbol) parts.push(warmup.currentSymbol);
  if (warmup.etaSeconds !== null && warmup.finishedAt === null) parts.push(`${duration(warmup.etaSeconds * 1000)} left`);
  if (warmup.failures.length > 0) parts.push(`${warmup.failures.length} failed`);
  return parts.join(' · ');
}

function isLoading(warmup: WarmupProgress): boolean {
  return warmup.total === 0 && warmup.finishedAt === null;
}

/** A bar and its words; one without a beginning until it is known how many symbols there are. */
export function WarmupBar({ warmup }: { warmup: WarmupProgress }): ReactNode {
  return (
    <div className="warmup look-changing">
      <progress max={100} value={isLoading(warmup) ? undefined : warmup.percent} aria-label="Warm-up" />
      <span className="meta times">{warmupWords(warmup)}</span>
    </div>
  );
}
