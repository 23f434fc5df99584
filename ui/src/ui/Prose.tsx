/** A sentence of the server's, with what stands between backticks as code. */

import type { ReactNode } from 'react';

/** Shows `perseus serve` as what it is: something to type. */
export function Prose({ children }: { children: string }): ReactNode {
  // oxlint-disable-next-line react/no-array-index-key -- the parts of one sentence have no other name
  return children.split('`').map((part, index) => (index % 2 === 1 ? <code key={index}>{part}</code> : part));
}
