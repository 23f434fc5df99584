/** Moments and durations on the page. What ticks is a leaf, so that a second redraws a few words and nothing else. */

import { createContext, type ReactNode, useContext } from 'react';
import { useNow } from '../api/now';
import { absolute, duration, inFull, type Zone } from './time';

/** The zone moments are told in. */
export const ZoneShown = createContext<Zone>('local');

/** `4m 10s`: how long ago it was, counting. */
export function Since({ at }: { at: number }): ReactNode {
  return <span className="times">{duration(useNow() - at)}</span>;
}

/** `03:12:05`, or with its day; the whole of it when pointed at. */
export function At({ at }: { at: number }): ReactNode {
  const zone = useContext(ZoneShown);
  const now = useNow();
  return (
    <time className="times" dateTime={new Date(at).toISOString()} title={inFull(at, zone)}>
      {absolute(at, zone, now)}
    </time>
  );
}

/** `4m 10s ago, 03:12:05`. */
export function Ago({ at }: { at: number }): ReactNode {
  return (
    <>
      <Since at={at} /> ago<span className="meta"> · <At at={at} /></span>
    </>
  );
}
