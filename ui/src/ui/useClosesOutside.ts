/** Folds a `<details>` that works as a menu when somebody goes on elsewhere. */

import { type RefObject, useEffect } from 'react';

/** Closes the menu at Escape, and at a press or a focus outside. */
export function useClosesOutside(menu: RefObject<HTMLDetailsElement | null>): void {
  useEffect(() => {
    const outside = (event: Event): void => {
      if (menu.current?.open && event.target instanceof Node && !menu.current.contains(event.target)) menu.current.open = false;
    };
    const escape = (event: KeyboardEvent): void => {
      if (event.key !== 'Escape' || !menu.current?.open) return;
      menu.current.open = false;
      menu.current.querySelector('summary')?.focus();
    };
    document.addEventListener('pointerdown', outside);
    document.addEventListener('focusin', outside);
    document.addEventListener('keydown', escape);
    return () => {
      document.removeEventListener('pointerdown', outside);
      document.removeEventListener('focusin', outside);
      document.removeEventListener('keydown', escape);
    };
  }, [menu]);
}
