/** A part of the first line of a page. */

import type { ReactNode } from 'react';

/** What is said in one breath stays on one line. */
export function Part({ children }: { children: ReactNode }): ReactNode {
  return <span><span className="sentence-dot"> · </span><span className="sentence-part">{children}</span></span>;
}
