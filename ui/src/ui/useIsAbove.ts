/** Whether an element was scrolled out at the top. */

import { type RefObject, useEffect, useState } from 'react';

/** Whether the element is above what can be seen. */
export function useIsAbove(element: RefObject<Element | null>): boolean {
  const [isAbove, setIsAbove] = useState(false);
  useEffect(() => {
    const watched = element.current;
    if (!watched) return undefined;
    // everything below counts as in sight: a jump from there to above is told, too
    const observer = new IntersectionObserver(([seen]) => setIsAbove(seen !== undefined && !seen.isIntersecting), { rootMargin: '0px 0px 1000000px 0px' });
    observer.observe(watched);
    return () => observer.disconnect();
  }, [element]);
  return isAbove;
}
