/** What a person is about to do about an incident: one dialog for the whole page, which outlives the card it was opened on. */

import { useQuery } from '@tanstack/react-query';
import { createContext, type ReactNode, useContext, useMemo, useState } from 'react';
import type { IncidentRecord } from '../api/generated';
import { session } from '../api/queries';
import { useLive } from '../app/live';
import { Saying } from '../ui/Saying';
import { DecisionDialog } from './DecisionDialog';
import { whyNotOf } from './whyNot';

export type Decision = { kind: 'acknowledge' | 'mute'; incident: IncidentRecord };

type Deciding = {
  decide: (kind: Decision['kind'], incident: IncidentRecord) => void;
  /** Why nothing can be done at the moment; null: it can. */
  whyNot: string | null;
  /** The address of who is signed in; null: not known yet. */
  email: string | null;
};

const Context = createContext<Deciding | null>(null);

/** How to act, and why not. */
export function useDeciding(): Deciding {
  const deciding = useContext(Context);
  if (deciding === null) throw new Error('useDeciding is for what stands inside Deciding');
  return deciding;
}

/** Holds the dialog. */
export function Deciding({ children }: { children: ReactNode }): ReactNode {
  const [decision, setDecision] = useState<Decision | null>(null);
  const { link, pausedAt } = useLive();
  const { data: who } = useQuery(session);
  const whyNot = whyNotOf({ role: who?.role ?? null, isLost: link.kind === 'lost', isPaused: pausedAt !== null });
  const email = who?.email ?? null;
  const deciding = useMemo<Deciding>(() => ({ decide: (kind, incident) => setDecision({ kind, incident }), whyNot, email }), [whyNot, email]);
  return (
    <Context value={deciding}>
      <Saying>
        {children}
        {decision && <DecisionDialog decision={decision} close={() => setDecision(null)} />}
      </Saying>
    </Context>
  );
}
