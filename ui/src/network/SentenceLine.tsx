/** The first line of the page: is anything wrong? */

import type { ReactNode } from 'react';
import type { CardView, IncidentRecord } from '../api/generated';
import { useNow } from '../api/now';
import { Glyph } from '../ui/Glyph';
import { At, Since } from '../ui/Moment';
import { sentenceOf } from './sentence';
import { Part } from './SentencePart';

/** `incidents`: the open ones; undefined: not known. */
type Shown = { cards: readonly CardView[]; incidents: readonly IncidentRecord[] | undefined; observedMs: number; isLive: boolean };

/** `2 of 8 need attention · kraken offline 4m · 6 active · observed 1s ago`. */
export function SentenceLine({ cards, incidents, observedMs, isLive }: Shown): ReactNode {
  const sentence = sentenceOf(cards, useNow(), incidents);
  const parts = isLive ? sentence.details : [`when last seen ${sentence.verdict}`, ...sentence.details];
  return (
    <p className="sentence times" data-look={isLive ? sentence.look : 'unknown'}>
      <Glyph picture={isLive ? sentence.look : 'unknown'} size={24} />
      <span>
        <strong className="sentence-verdict">{isLive ? sentence.verdict : 'Nobody can tell right now'}</strong>
        <span className="sentence-details">
          {parts.map((part) => <Part key={part}>{part}</Part>)}
          <span className="sentence-observed"><Part>{isLive ? <>observed <Since at={observedMs} /> ago</> : <>observed <At at={observedMs} /></>}</Part></span>
        </span>
      </span>
    </p>
  );
}
