/** The store's time in this page: one clock, one tick a second for everything that counts. */

import { offsetOf, type Samples, withSample } from './storeClock';

const SECOND_MS = 1000;
const JUMP_MS = 3000; // the machine slept, or somebody set its clock

let samples: Samples = [];
let ticked: number | null = null;
let timer: ReturnType<typeof setTimeout> | undefined;
let lead = Date.now() - performance.now();
const listeners = new Set<() => void>();
const wakers = new Set<() => void>();

/** What the store's clock says now, Unix milliseconds; null: no answer has told yet. */
export function storeNow(): number | null {
  const offset = offsetOf(samples);
  return offset === null ? null : performance.now() + offset;
}

/** An answer says that the network was read at this moment of the store's clock. */
export function hearStoreTime(storeMs: number): void {
  const isFirst = samples.length === 0;
  samples = withSample(samples, storeMs, performance.now());
  if (isFirst) tick();
}

/** Call `listener` every second. Returns how to stop. */
export function onTick(listener: () => void): () => void {
  listeners.add(listener);
  if (listeners.size === 1) tick();
  return () => {
    listeners.delete(listener);
    if (listeners.size === 0) clearTimeout(timer);
  };
}

/** Call `waker` when the stopwatch may have stood still. Returns how to stop. */
export function onWake(waker: () => void): () => void {
  wakers.add(waker);
  return () => wakers.delete(waker);
}

/** The store's time as of the last tick: the same for everything shown. */
export function tickedNow(): number | null {
  return ticked;
}

function tick(): void {
  clearTimeout(timer);
  const now = storeNow();
  ticked = now;
  for (const listener of listeners) listener();
  const leadNow = Date.now() - performance.now();
  if (Math.abs(leadNow - lead) > JUMP_MS) for (const waker of wakers) waker();
  lead = leadNow;
  timer = setTimeout(tick, SECOND_MS - ((now ?? 0) % SECOND_MS));
}
