/** What is said to who cannot see the page, once, when something they did has happened. */

import { createContext, type ReactNode, useContext, useState } from 'react';

const Context = createContext<(said: string) => void>(() => undefined);

/** How to say something. */
export function useSay(): (said: string) => void {
  return useContext(Context);
}

/** Says it for all that is inside. */
export function Saying({ children }: { children: ReactNode }): ReactNode {
  const [said, setSaid] = useState('');
  return (
    <Context value={setSaid}>
      {children}
      <output className="unseen">{said}</output>
    </Context>
  );
}
