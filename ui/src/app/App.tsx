/** The frame of every page: header, what is wrong with the view itself, the page, and what is read aloud. */

import { type ReactNode, useEffect, useRef } from 'react';
import { useLive } from './live';
import type { Place } from './placeOf';
import { addressOf, signInAddress, usePlace } from './places';
import { go } from '../ui/navigation';
import { ExchangePage } from '../network/ExchangePage';
import { NetworkPage } from '../network/NetworkPage';
import { Announcer } from './Announcer';
import { Header } from './Header';
import { LinkBar } from './LinkBar';
import { Deciding } from '../incidents/deciding';
import { AlertsBar } from '../notifications/AlertsBar';
import { NotificationsPage } from '../notifications/NotificationsPage';
import { NowherePage } from './NowherePage';
import { TabSign } from './TabSign';
import './app.css';

/** The page the address means. */
export function App(): ReactNode {
  const place = usePlace();
  const { latest, link } = useLive();
  const isSignedOut = latest === null && link.kind === 'lost' && link.fault === 'session';
  useEffect(() => {
    if (isSignedOut) location.replace(signInAddress());
  }, [isSignedOut]);
  useFocusAfterMoving(place);
  useEffect(() => {
    if (place.page === 'network' && !location.pathname.endsWith('/network')) go(`${addressOf(place)}${location.search}`, true);
  }, [place]);
  return (
    <Deciding>
      <a className="skip" href="#page">Skip to content</a>
      <Header place={place} />
      <LinkBar />
      {(place.page === 'network' || place.page === 'exchange') && <AlertsBar />}
      <TabSign place={place} />
      <Announcer />
      <main id="page" tabIndex={-1}>
        {place.page === 'network' && <NetworkPage />}
        {place.page === 'exchange' && <ExchangePage key={place.name} name={place.name} />}
        {place.page === 'notifications' && <NotificationsPage />}
        {place.page === 'nowhere' && <NowherePage />}
      </main>
    </Deciding>
  );
}

/** Who goes to another page begins at its top, also who has it read aloud. */
function useFocusAfterMoving(place: Place): void {
  const before = useRef(place);
  useEffect(() => {
    if (before.current !== place) document.getElementById('page')?.focus({ preventScroll: true });
    before.current = place;
  }, [place]);
}
