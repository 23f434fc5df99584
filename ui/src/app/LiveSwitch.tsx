/** Whether the view moves, and the button that holds it still. */

import type { ReactNode } from 'react';
import { POLL_EVERY_MS } from '../api/polling';
import { useLive } from './live';

/** A label and a button. */
export function LiveSwitch(): ReactNode {
  const { link, pausedAt, latest, setPaused } = useLive();
  const isPaused = pausedAt !== null;
  const says = isPaused ? 'Paused' : link.kind === 'live' ? `Live, every ${POLL_EVERY_MS / 1000} s` : link.kind === 'first' ? 'Connecting' : 'Not live';
  return (
    <div className="live" data-live={isPaused ? 'paused' : link.kind}>
      <span className="live-says meta">{says}</span>
      <button type="button" className="button" disabled={latest === null} onClick={() => setPaused(!isPaused)}>
        <svg viewBox="0 0 12 12" width="12" height="12" aria-hidden="true" fill="currentColor">
          {isPaused ? <path d="M2.5 1v10l8-5z" /> : <path d="M2 1h3v10H2zM7 1h3v10H7z" />}
        </svg>
        <span>{isPaused ? 'Resume' : 'Pause'}<span className="unseen"> live updates</span></span>
      </button>
    </div>
  );
}
