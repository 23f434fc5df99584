/** Which events to show: a list of boxes to tick, folded away. */

import { type ReactNode, useRef } from 'react';
import { useClosesOutside } from '../ui/useClosesOutside';
import { EVENTS } from './happened';

type Shown = { chosen: readonly string[]; choose: (events: string[]) => void };

/** None ticked: all are shown. */
export function EventFilter({ chosen, choose }: Shown): ReactNode {
  const box = useRef<HTMLDetailsElement>(null);
  useClosesOutside(box);
  const unknown = chosen.filter((event) => EVENTS.every((each) => each.event !== event));
  const offered = [...EVENTS, ...unknown.map((event) => ({ event, name: event }))];
  const toggle = (event: string): void => choose(chosen.includes(event) ? chosen.filter((each) => each !== event) : [...chosen, event]);
  const first = offered.find((each) => each.event === chosen[0])?.name ?? '';
  return (
    <details className="menu" ref={box}>
      <summary className="field">{chosen.length === 0 ? 'All events' : chosen.length === 1 ? first : `${chosen.length} kinds of events`}</summary>
      <fieldset className="menu-sheet">
        <legend className="unseen">Events</legend>
        {offered.map(({ event, name }) => (
          <label key={event} className="menu-item">
            <input type="checkbox" checked={chosen.includes(event)} onChange={() => toggle(event)} />
            {name}
          </label>
        ))}
      </fieldset>
    </details>
  );
}
