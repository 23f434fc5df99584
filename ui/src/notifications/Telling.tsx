/** Who tells people, and of what. */

import type { ReactNode } from 'react';
import type { StatusView } from '../api/generated';
import { Fact } from '../network/FactList';
import { Ago } from '../ui/Moment';
import { moment } from '../ui/time';
import { announcedWords } from './wording';

/** The facts of the notifier. */
export function Telling({ status: { holder, announced } }: { status: StatusView }): ReactNode {
  const since = moment(holder?.since);
  const { told, untold } = announcedWords(announced);
  return (
    <section className="panel report" aria-labelledby="telling-title">
      <h2 id="telling-title" className="section-title">Who tells, and of what</h2>
      <dl className="facts">
        <Fact name="Notifier">{holder === null ? 'nobody' : <span className="mono">{holder.hostname}</span>}</Fact>
        {holder && <Fact name="Since">{since === null ? null : <Ago at={since} />}</Fact>}
        {holder && <Fact name="Version">{holder.version}</Fact>}
        {holder && <Fact name="Instance"><span className="mono">{holder.instanceId}</span></Fact>}
        {told.length > 0 && <Fact name="Announced">{told.join(', ')}</Fact>}
        {told.length > 0 && untold.length > 0 && <Fact name="Not announced">{untold.join(', ')}; <code>PERSEUS_DISCORD_ANNOUNCE</code> changes that</Fact>}
      </dl>
    </section>
  );
}
