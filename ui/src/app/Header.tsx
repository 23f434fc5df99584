/** The header: where one can go, whether the view moves, how it looks, who one is. */

import { useQuery } from '@tanstack/react-query';
import { type ReactNode, useRef } from 'react';
import { BASE } from '../api/client';
import { session } from '../api/queries';
import { Link } from '../ui/Link';
import { useClosesOutside } from '../ui/useClosesOutside';
import { LiveSwitch } from './LiveSwitch';
import { IS_SIMULATED } from './kind';
import { addressOf } from './places';
import type { Place } from './placeOf';
import { PreferenceFields } from './PreferenceFields';

/** Stands on every page. */
export function Header({ place }: { place: Place }): ReactNode {
  return (
    <header className="top">
      <div className="top-inner">
        <Link to={addressOf({ page: 'network' })} className="brand">
          <svg viewBox="0 0 24 24" width="22" height="22" aria-hidden="true">
            <circle cx="12" cy="4.5" r="2.5" /><circle cx="5" cy="18" r="2.5" /><circle cx="19" cy="18" r="2.5" /><circle cx="12" cy="12.5" r="1.75" />
            <path d="M12 7v4M10.5 13.5 7 16.5M13.5 13.5l3.5 3" />
          </svg>
          Perseus
          {IS_SIMULATED && <span className="simulated">Simulated<span className="unseen"> network</span></span>}
        </Link>
        <nav aria-label="Pages" className="top-pages">
          <Link to={addressOf({ page: 'network' })} className="top-page" {...((place.page === 'network' || place.page === 'exchange') && { current: place.page === 'network' ? 'page' : 'true' })}>Network</Link>
          <Link to={addressOf({ page: 'notifications' })} className="top-page" {...(place.page === 'notifications' && { current: 'page' })}>Notifications</Link>
        </nav>
        <LiveSwitch />
        <AccountMenu />
      </div>
    </header>
  );
}

function AccountMenu(): ReactNode {
  const menu = useRef<HTMLDetailsElement>(null);
  const { data: who } = useQuery(session);
  useClosesOutside(menu);
  return (
    <details className="menu menu-right" ref={menu}>
      <summary className="button" aria-label={who ? `Account and view: ${who.email}` : 'Account and view'}>
        <span className="initial" aria-hidden="true">{(who?.displayName || who?.email || '·').charAt(0).toUpperCase()}</span>
      </summary>
      <div className="menu-sheet account">
        {who && (
          <div className="account-who">
            {who.displayName && <p>{who.displayName}</p>}
            <p className={who.displayName ? 'meta' : ''}>{who.email}</p>
            <p className="meta">{who.role}</p>
          </div>
        )}
        <PreferenceFields />
        <form method="post" action={`${BASE}logout`}>
          <button type="submit" className="button account-out">Sign out</button>
        </form>
      </div>
    </details>
  );
}
