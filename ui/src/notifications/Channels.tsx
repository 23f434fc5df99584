/** Where people are told, and how each of these places is. */

import type { ReactNode } from 'react';
import type { StatusView } from '../api/generated';
import { ChannelCard } from './ChannelCard';
import { isInTrouble } from './wording';

type Shown = {
  status: StatusView;
  /** Off while what is shown may not be so any more. */
  isKnown: boolean;
  /** Why no test can be sent; null: one can. */
  whyNot: string | null;
};

/** A card for each channel, those that take nothing first. */
export function Channels({ status, isKnown, whyNot }: Shown): ReactNode {
  return (
    <section className="channels" aria-labelledby="channels-title">
      <h2 id="channels-title" className="section-title">Channels</h2>
      <ul className="cards">
        {status.channels.toSorted((one, other) => Number(isInTrouble(other)) - Number(isInTrouble(one))).map((channel) => (
          <li key={channel.name}>
            <ChannelCard channel={channel} host={status.holder?.hostname ?? null} isKnown={isKnown} whyNot={whyNot} />
          </li>
        ))}
      </ul>
    </section>
  );
}
