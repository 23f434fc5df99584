/** The first line of the page: is anybody told? And what the notifier cannot do besides. */

import type { ReactNode } from 'react';
import type { Alerting, Known } from '../api/alerts';
import { Part } from '../network/SentencePart';
import { Glyph } from '../ui/Glyph';
import { At, Since } from '../ui/Moment';
import { moment } from '../ui/time';
import { channelWords, isPartly, UNKNOWN, verdictOf } from './wording';

type Shown = { alerts: Known<Alerting>; isLost: boolean; openCount: number | null };

/** `Alerts are being sent · 2 channels · by fra-1 since 4h · 1 open incident · observed 1s ago`. */
export function AlertsLine({ alerts: { data, atMs, fault }, isLost, openCount }: Shown): ReactNode {
  if (data === null && fault === null && !isLost) return <p className="bone bone-line"><span className="unseen">Looking at the alerts</span></p>;
  const isKnown = data !== null && fault === null && !isLost;
  const { look, word } = isKnown ? verdictOf(data) : UNKNOWN;
  const since = moment(data?.holder?.since);
  return (
    <div className="alerts-line">
      <p className="sentence times" data-look={look}>
        <Glyph picture={look} size={24} />
        <span>
          <strong className="sentence-verdict">{word}</strong>
          <span className="sentence-details">
            {data && !isKnown && <Part>when last seen: {verdictOf(data).word}</Part>}
            {data?.holder && (data.channels.length > 0 || data.alerts !== 'sent') && !isPartly(data) && <Part>{channelWords(data.channels)}</Part>}
            {data?.holder && <Part>by <span className="mono">{data.holder.hostname}</span>{since !== null && <> for <Since at={since} /></>}</Part>}
            {openCount !== null && openCount > 0 && <Part><a href="#open-title">{openCount} open {openCount === 1 ? 'incident' : 'incidents'}</a></Part>}
            {atMs !== null && <span className="sentence-observed"><Part>observed {isKnown ? <><Since at={atMs} /> ago</> : <At at={atMs} />}</Part></span>}
          </span>
        </span>
      </p>
      {isKnown && data.trouble && <output className="notice">{data.trouble}</output>}
      {fault !== null && !isLost && <output className="notice">{fault} Perseus is asked again by itself.</output>}
    </div>
  );
}
