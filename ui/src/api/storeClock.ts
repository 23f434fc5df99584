/**
 * What the store's clock says now, told from its answers alone: the browser's clock is never compared with it.
 *
 * An answer says when the network was read; it was read at some time before it came. So of several answers the one that
 * puts the store's clock furthest ahead of our stopwatch is nearest to the truth.
 */

const REMEMBERED = 12; // a minute of answers
const SET_BACK_MS = 10_000; // a store that is suddenly so much behind has another clock

export type Samples = readonly number[];

/** Take in an answer: when the store says it was read, and what our stopwatch said when it came. */
export function withSample(samples: Samples, storeMs: number, stopwatchMs: number): Samples {
  const offset = storeMs - stopwatchMs;
  const known = offsetOf(samples);
  if (known !== null && offset < known - SET_BACK_MS) return [offset];
  return [...samples.slice(1 - REMEMBERED), offset];
}

/** How far the store's clock is ahead of the stopwatch; null: not known yet. */
export function offsetOf(samples: Samples): number | null {
  return samples.length === 0 ? null : Math.max(...samples);
}
