/** Our pages and their addresses. */

import { useMemo } from 'react';
import { BASE } from '../api/client';
import { usePath } from '../ui/navigation';
import { type Place, placeOf } from './placeOf';

/** The address of a page. */
export function addressOf(place: Place): string {
  if (place.page === 'exchange') return `${BASE}network/${encodeURIComponent(place.name)}`;
  return place.page === 'notifications' ? `${BASE}notifications` : `${BASE}network`;
}

/** Where we are now. */
export function usePlace(): Place {
  const path = usePath();
  return useMemo(() => (path.startsWith(BASE) ? placeOf(path.slice(BASE.length)) : { page: 'nowhere' }), [path]);
}

/** The address at which to sign in and then come back here. */
export function signInAddress(): string {
  const here = `/${location.pathname.slice(BASE.length)}${location.search}`;
  return `${BASE}login?next=${encodeURIComponent(here)}`;
}
