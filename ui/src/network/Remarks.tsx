/** What a person should know besides: warm-up under way, last error, why something cannot be told. */

import type { ReactNode } from 'react';
import type { CardView } from '../api/generated';
import { Since } from '../ui/Moment';
import { factsOf } from './facts';
import { WarmupBar, warmupOf } from './WarmupBar';

/** The remarks below a card's facts. */
export function Remarks({ card, isLive }: { card: CardView; isLive: boolean }): ReactNode {
  const facts = factsOf(card);
  const warmup = isLive ? warmupOf(card) : null;
  return (
    <div className="remarks">
      {warmup && <WarmupBar warmup={warmup} />}
      {facts?.lastError && (
        <p className="remark">
          <span className="remark-name">Last error{facts.lastErrorAt !== null && <>, <Since at={facts.lastErrorAt} /> ago</>}</span>
          <span className="remark-text" title={facts.lastError}>{facts.lastError}</span>
        </p>
      )}
      {card.reason && (
        <p className="remark">
          <span className="remark-name">Why</span>
          <span className="remark-text" title={card.reason}>{card.reason}</span>
        </p>
      )}
      {card.health === 'never' && (
        <p className="remark">
          <span className="remark-name">Start it with</span>
          <span className="remark-text">your own program, or <code>perseus run {card.exchangeName}</code> where Perseus has an adapter</span>
        </p>
      )}
    </div>
  );
}
