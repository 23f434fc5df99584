/** Whether anybody can see the page. */

import { useEffect, useState } from 'react';
import { storeNow } from '../api/clock';

export type Visibility = { isHidden: boolean; /** By the store's clock; 0: from the beginning. */ visibleSince: number };

/** Whether the page is hidden, and since when it is not. */
export function useVisibility(): Visibility {
  const [visibility, setVisibility] = useState<Visibility>({ isHidden: document.hidden, visibleSince: 0 });
  useEffect(() => {
    const look = (): void => setVisibility({ isHidden: document.hidden, visibleSince: storeNow() ?? 0 });
    document.addEventListener('visibilitychange', look);
    return () => document.removeEventListener('visibilitychange', look);
  }, []);
  return visibility;
}
