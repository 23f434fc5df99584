/** How the last warm-up went, or how far the one under way is. */

import type { ReactNode } from 'react';
import type { WarmupProgress } from '../api/generated';
import { Ago } from '../ui/Moment';
import { duration, moment } from '../ui/time';
import { Fact } from './FactList';
import { WarmupBar } from './WarmupBar';

type Shown = { warmup: WarmupProgress | null; fault: string | null; isLive: boolean };

/** Numbers; and every symbol that failed, by name. */
export function WarmupReport({ warmup, fault, isLive }: Shown): ReactNode {
  if (warmup === null && fault === null) return null;
  const startedAt = moment(warmup?.startedAt);
  const finishedAt = moment(warmup?.finishedAt);
  return (
    <section className="panel report" aria-labelledby="warmup-title">
      <h2 id="warmup-title" className="section-title">{finishedAt === null && isLive && !fault ? 'Warming up' : 'Last warm-up'}</h2>
      {fault && <p className="notice">Its report cannot be read: {fault}</p>}
      {warmup && finishedAt === null && <WarmupBar warmup={warmup} />}
      {warmup && (
        <dl className="facts">
          {finishedAt !== null && <Fact name="Finished"><Ago at={finishedAt} /></Fact>}
          {finishedAt === null && startedAt !== null && <Fact name="Started"><Ago at={startedAt} /></Fact>}
          {finishedAt !== null && startedAt !== null && <Fact name="Took"><span className="times">{duration(finishedAt - startedAt)}</span></Fact>}
          <Fact name="Symbols"><span className="times">{warmup.done - warmup.failures.length} of {warmup.total} ready</span></Fact>
          <Fact name="Candles"><span className="times">{warmup.candlesFetched} fetched, {warmup.candlesKept} already there</span></Fact>
          {warmup.failures.length > 0 && <Fact name="Failed"><span className="mono">{warmup.failures.join(' ')}</span></Fact>}
        </dl>
      )}
    </section>
  );
}
