/** The tab: its title answers "is anything wrong?", its picture shows it. */

import { type ReactNode, useEffect } from 'react';
import { useStoreNow } from '../api/now';
import type { Look } from '../network/health';
import { sentenceOf } from '../network/sentence';
import active from '../ui/icons/active.svg';
import calm from '../ui/icons/calm.svg';
import changing from '../ui/icons/changing.svg';
import late from '../ui/icons/late.svg';
import offline from '../ui/icons/offline.svg';
import unknown from '../ui/icons/unknown.svg';
import { IS_SIMULATED } from './kind';
import { useLive } from './live';
import type { Place } from './placeOf';

const ICONS: Record<Look, string> = { active, calm, changing, late, offline, unknown };

/** Shows nothing on the page. What it tells is always of now, also while the page is held still. */
export function TabSign({ place }: { place: Place }): ReactNode {
  const now = useStoreNow();
  const { latest, latestIncidents, link } = useLive();
  const sentence = latest && sentenceOf(latest.cards, now, latestIncidents.data?.incidents);
  const isLive = link.kind === 'live' && sentence !== null;
  const says = isLive ? [sentence.verdict, ...sentence.details].join(' · ') : link.kind === 'lost' ? 'Live view lost' : 'Connecting';
  const where = place.page === 'exchange' ? `${place.name} · ` : place.page === 'notifications' ? 'Notifications · ' : '';
  const title = `${IS_SIMULATED ? 'Simulated: ' : ''}${where}${says} · Perseus`;
  const icon = ICONS[isLive ? sentence.look : 'unknown'];
  useEffect(() => {
    document.title = title;
  }, [title]);
  useEffect(() => {
    document.querySelector('link[rel="icon"]')?.setAttribute('href', icon);
  }, [icon]);
  return null;
}
