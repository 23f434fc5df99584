/** Whether somebody is about to do something with an element: nothing in it should move then. */

import { type RefObject, useEffect, useState } from 'react';

/** Whether the pointer or the focus is inside. A finger points at nothing once it is lifted. */
export function useIsHeld(element: RefObject<Element | null>): boolean {
  const [isPointed, setIsPointed] = useState(false);
  const [hasFocus, setHasFocus] = useState(false);
  useEffect(() => {
    const held = element.current;
    if (!held) return undefined;
    const stop = new AbortController();
    const listen = (name: string, listener: (event: Event) => void): void => held.addEventListener(name, listener, { signal: stop.signal });
    listen('pointerenter', () => setIsPointed(true));
    listen('pointerleave', () => setIsPointed(false));
    listen('focusin', () => setHasFocus(true));
    listen('focusout', (event) => setHasFocus(event instanceof FocusEvent && event.relatedTarget instanceof Node && held.contains(event.relatedTarget)));
    return () => stop.abort();
  }, [element]);
  return isPointed || hasFocus;
}
