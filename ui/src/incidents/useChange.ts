/** What people do about an incident, sent to the API. Nothing is shown as done before the answer says so. */

import { useMutation, useQueryClient } from '@tanstack/react-query';
import { keepChange, openIncidents } from '../api/alerts';
import { api, faultOf, textOf } from '../api/client';
import type { IncidentRecord } from '../api/generated';
import { useSay } from '../ui/Saying';

export type Change = {
  run: () => void;
  isPending: boolean;
  /** Why it was not done, or that nobody can tell; null: nothing went wrong. */
  fault: string | null;
};

/** A change of an incident: `send` answers with the incident as it is then; `said`: what who cannot see it is told. */
export function useChange(send: () => Promise<IncidentRecord>, said: (changed: IncidentRecord) => string, done?: () => void): Change {
  const queries = useQueryClient();
  const say = useSay();
  const mutation = useMutation({
    mutationFn: send,
    onSuccess: async (changed) => {
      keepChange(changed);
      await queries.cancelQueries({ queryKey: openIncidents.queryKey }); // an answer of before must not undo this one
      queries.setQueryData(openIncidents.queryKey, (known) => known && { ...known, incidents: known.incidents.map((each) => (each.id === changed.id ? changed : each)) });
      say(said(changed));
      done?.();
    },
    onError: () => queries.invalidateQueries({ queryKey: openIncidents.queryKey }),
  });
  return { run: () => mutation.mutate(), isPending: mutation.isPending, fault: mutation.error === null ? null : faultWords(mutation.error) };
}

/** Let an incident be told of again. */
export function useUnmute(incident: IncidentRecord): Change {
  const { id } = incident;
  return useChange(() => api.notify.unmute.mutate({ incidentId: id }), (changed) => `${changed.displayName} is told of again`, () => focusIfLost(id));
}

/** The button that was pressed is gone: who uses a keyboard goes on at the incident. */
function focusIfLost(id: string): void {
  requestAnimationFrame(() => {
    if (document.activeElement === document.body) document.querySelector<HTMLElement>(`[data-incident="${CSS.escape(id)}"]`)?.focus();
  });
}

/** Why something was not done. Without an answer nobody can tell whether it was. */
export function faultWords(error: Error): string {
  if (faultOf(error) === 'server') return 'No answer came, so nobody can tell whether this was done. What the page shows next is what is true.';
  return `This was not done. ${textOf(error)}`;
}
