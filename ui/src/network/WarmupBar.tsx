/** The progress of a warm-up. */

import type { ReactNode } from 'react';
import type { WarmupProgress } from '../api/generated';
import { duration } from '../ui/time';

/** `44 % · 11 of 25 symbols · BTC-USDT · 12s left · 1 failed`. */
export function warmupWords(warmup: WarmupProgress): string {
  const parts = [`${Math.floor(warmup.percent)} %`, `${warmup.done} of ${warmup.total} symbols`];
  if (warmup.currentSymbol) parts.push(warmup.currentSymbol);
  if (warmup.etaSeconds !== null && warmup.finishedAt === null) parts.push(`${duration(warmup.etaSeconds * 1000)} left`);
  if (warmup.failures.length > 0) parts.push(`${warmup.failures.length} failed`);
  return parts.join(' · ');
}

/** A bar and its words. */
export function WarmupBar({ warmup }: { warmup: WarmupProgress }): ReactNode {
  return (
    <div className="warmup look-changing">
      <progress max={100} value={warmup.percent} aria-label="Warm-up" />
      <span className="meta times">{warmupWords(warmup)}</span>
    </div>
  );
}
