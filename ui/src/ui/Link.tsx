/** A link to one of our pages: followed without loading anything anew. */

import type { MouseEvent, ReactNode } from 'react';
import { go } from './navigation';

type Shown = { to: string; children: ReactNode; className?: string; /** Whether it leads to where we are, or to what that belongs to. */ current?: 'page' | 'true' };

/** An ordinary link to who opens it in a new tab, copies it, or has it read aloud. */
export function Link({ to, children, className, current }: Shown): ReactNode {
  const follow = (event: MouseEvent): void => {
    if (event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    go(to);
    window.scrollTo(0, 0);
  };
  return (
    <a href={to} onClick={follow} className={className} aria-current={current}>
      {children}
    </a>
  );
}
