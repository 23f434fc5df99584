/** One channel: how it is, when it last worked, what waits, what to do. */

import { type ReactNode, useId } from 'react';
import type { ChannelHealth } from '../api/generated';
import { Badge } from '../network/Badge';
import { Fact } from '../network/FactList';
import { Ago, Since } from '../ui/Moment';
import { moment } from '../ui/time';
import { TestButton } from './TestButton';
import { isInTrouble, stateOf, UNKNOWN } from './wording';

type Shown = { channel: ChannelHealth; host: string | null; isKnown: boolean; whyNot: string | null };

/** Never blank: what was known of it stays. */
export function ChannelCard({ channel, host, isKnown, whyNot }: Shown): ReactNode {
  const { look, word } = isKnown ? stateOf(channel) : { look: UNKNOWN.look, word: 'Unknown' };
  const success = moment(channel.lastSuccessAt);
  const oldest = moment(channel.oldestUnsentAt);
  const isIll = isInTrouble(channel);
  const titleId = useId();
  return (
    <article className={`card look-${look}`} data-channel={channel.name} data-state={isKnown ? channel.state : 'unknown'} aria-labelledby={titleId}>
      <header className="card-head">
        <h3 id={titleId} className="card-title">{channel.name}</h3>
        <Badge look={look} word={word} />
        {!isKnown && <p className="card-lasting meta">When last seen: {stateOf(channel).word}</p>}
      </header>
      <dl className="facts">
        <Fact name="Last success">{success === null ? 'never' : <Ago at={success} />}</Fact>
        <Fact name="Queued"><span className="times">{channel.queued}</span>{oldest !== null && <>, the oldest for <Since at={oldest} /></>}</Fact>
        {channel.dropped > 0 && <Fact name="Dropped"><span className="times">{channel.dropped}</span> {channel.dropped === 1 ? 'message was' : 'messages were'} given up: too old, or too many waited</Fact>}
      </dl>
      {(channel.reason || isIll) && (
        <div className="remarks">
          {channel.reason && <p className="remark"><span className="remark-name">Why</span><span className="channel-reason">{channel.reason}</span></p>}
          {isIll && <p className="remark"><span className="remark-name">What to do</span><span>{channel.state === 'dead' ? <Revive name={channel.name} host={host} /> : <Wait isQueued={channel.queued > 0} host={host} />}</span></p>}
        </div>
      )}
      <TestButton channel={channel.name} whyNot={whyNot} />
    </article>
  );
}

function Wait({ isQueued, host }: { isQueued: boolean; host: string | null }): ReactNode {
  const where = host === null ? 'the notifier’s host' : <code>{host}</code>;
  return <>{isQueued ? 'It is tried again by itself.' : 'Nothing waits to be sent; the next message tries it again, or a test.'} If Discord cannot be reached from {where} at all, see its network or its proxy.</>;
}

function Revive({ name, host }: { name: string; host: string | null }): ReactNode {
  return (
    <>
      Nothing is sent there any more. Make a new webhook in Discord, put its address behind <code>{name}=</code> in <code>PERSEUS_DISCORD_WEBHOOK_URLS</code>
      {host !== null && <> on <code>{host}</code></>}, and start <code>perseus serve</code> or <code>perseus up</code> again, whichever ran there. If nothing is wrong with it, a test that gets through brings it back.
    </>
  );
}
