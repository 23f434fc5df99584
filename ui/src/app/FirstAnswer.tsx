/** The page before there was any answer: coming, or why it does not come. */

import type { ReactNode } from 'react';
import type { Link } from '../api/link';
import { FAULT_WORDS } from './faults';
import { signInAddress } from './places';

/** Empty cards while it loads, the reason when it fails. */
export function FirstAnswer({ link }: { link: Link }): ReactNode {
  if (link.kind !== 'lost' || link.fault === 'session') return <Loading isSignedOut={link.kind === 'lost'} />;
  return (
    <div className="panel blind">
      <h1 className="panel-title">Nothing is known yet</h1>
      <p>{FAULT_WORDS[link.fault]}</p>
      {link.fault !== 'server' && <p className="meta blind-text">{link.text}</p>}
      <p className="meta">Asking again every 2 s; this page comes back by itself. On the host, <code>perseus doctor</code> says what is wrong.</p>
    </div>
  );
}

function Loading({ isSignedOut }: { isSignedOut: boolean }): ReactNode {
  return (
    <div className="loading">
      <h1 className="unseen">Network</h1>
      <output className="unseen">Looking at the network</output>
      {isSignedOut ? <p>You are not signed in. <a href={signInAddress()}>Sign in</a></p> : <p className="bone bone-line" />}
      <div className="cards" aria-hidden="true">{[1, 2, 3].map((n) => <div key={n} className="bone bone-card" />)}</div>
    </div>
  );
}
