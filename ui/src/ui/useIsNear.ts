/** Whether an element can be seen, or soon will be. */

import { type RefObject, useEffect, useState } from 'react';

/** Whether the element is within `margin` of what can be seen. */
export function useIsNear(element: RefObject<Element | null>, margin = '600px'): boolean {
  const [isNear, setIsNear] = useState(false);
  useEffect(() => {
    const watched = element.current;
    if (!watched) return undefined;
    const observer = new IntersectionObserver(([seen]) => setIsNear(seen?.isIntersecting ?? false), { rootMargin: margin });
    observer.observe(watched);
    return () => observer.disconnect();
  }, [element, margin]);
  return isNear;
}
