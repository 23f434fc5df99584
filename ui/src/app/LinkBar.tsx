/** The bar across the page while what it shows is not what is: the view is lost, or held still. */

import { type ReactNode, useContext } from 'react';
import { useStoreNow } from '../api/now';
import { ZoneShown } from '../ui/Moment';
import { absolute, duration } from '../ui/time';
import { FAULT_WORDS } from './faults';
import { type Live, useLive } from './live';
import { signInAddress } from './places';

/** Nothing while the view is live. */
export function LinkBar(): ReactNode {
  const live = useLive();
  if (live.link.kind === 'lost' && live.latest !== null) return <LostBar live={live} fault={live.link.fault} text={live.link.text} />;
  if (live.pausedAt !== null) return <PausedBar live={live} at={live.pausedAt} />;
  return null;
}

type Lost = { live: Live; fault: keyof typeof FAULT_WORDS; text: string };

function LostBar({ live, fault, text }: Lost): ReactNode {
  const now = useStoreNow();
  const zone = useContext(ZoneShown);
  const observedMs = live.latest?.observedMs ?? 0;
  const frozenAt = absolute(live.shown?.observedMs ?? observedMs, zone, now);
  const isOut = fault === 'session';
  return (
    <section className="bar bar-lost" aria-label="State of the live view">
      <p className="bar-says times">
        <strong>Live view lost {duration(now - observedMs)} ago</strong>, {isOut ? 'your session ended' : 'reconnecting'}, data frozen at {frozenAt}
      </p>
      <p className="bar-why">{FAULT_WORDS[fault]}</p>
      {(fault === 'store' || fault === 'bug') && (
        <details className="bar-more">
          <summary>Details</summary>
          {text}
        </details>
      )}
      {isOut && <a className="button button-main" href={signInAddress()}>Sign in again</a>}
    </section>
  );
}

function PausedBar({ live, at }: { live: Live; at: number }): ReactNode {
  const zone = useContext(ZoneShown);
  const changed = changedSince(live);
  return (
    <section className="bar bar-paused" aria-label="State of the live view">
      <p className="bar-says times"><strong>Paused.</strong> What you see is of {absolute(at, zone, at)}.</p>
      <p className="bar-why">{changed === 0 ? 'Nothing has changed since.' : `${changed} ${changed === 1 ? 'exchange has' : 'exchanges have'} changed since.`}</p>
      <button type="button" className="button" onClick={() => live.setPaused(false)}>Resume</button>
    </section>
  );
}

/** How many exchanges are otherwise than shown. */
function changedSince({ shown, latest }: Live): number {
  const before = new Map(shown?.cards.map((card) => [card.exchangeId, card.health]));
  return latest?.cards.filter((card) => before.get(card.exchangeId) !== card.health).length ?? 0;
}
