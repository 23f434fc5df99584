/** Acknowledging and muting: what will follow, a reason for the others, and what came of it. */

import { type FormEvent, type ReactNode, useContext, useId, useState } from 'react';
import { api } from '../api/client';
import type { IncidentRecord } from '../api/generated';
import { useStoreNow } from '../api/now';
import { useLive } from '../app/live';
import { Choice } from '../ui/Choice';
import { Dialog } from '../ui/Dialog';
import { ZoneShown } from '../ui/Moment';
import { absolute } from '../ui/time';
import type { Decision } from './deciding';
import { type Change, useChange } from './useChange';
import { consequenceOf, mutedUntil } from './words';

const LONGEST_REASON = 500;
const MINUTES = { '15': '15 min', '60': '1 h', '480': '8 h', '1440': '1 day', '10080': '7 days' } as const;
type Minutes = keyof typeof MINUTES;

type Shown = { decision: Decision; close: () => void };

/** The dialog of a decision. */
export function DecisionDialog({ decision, close }: Shown): ReactNode {
  const Form = decision.kind === 'mute' ? Mute : Acknowledge;
  return <Form incident={decision.incident} close={close} />;
}

function Acknowledge({ incident, close }: { incident: IncidentRecord; close: () => void }): ReactNode {
  const [reason, setReason] = useState('');
  const zone = useContext(ZoneShown);
  const now = useStoreNow();
  const until = mutedUntil(useAsOfNow(incident), now);
  const change = useChange(() => api.notify.acknowledge.mutate({ incidentId: incident.id, reason }), () => `${incident.displayName} acknowledged`, close);
  return (
    <Frame incident={incident} title={`Acknowledge ${incident.displayName}`} verb="Acknowledge" change={change} close={close}>
      <p className="times">Everybody sees that you have it. {consequenceOf(until === null ? null : absolute(until, zone, now))}</p>
      <Reason reason={reason} setReason={setReason} example="Looking into it" />
    </Frame>
  );
}

function Mute({ incident, close }: { incident: IncidentRecord; close: () => void }): ReactNode {
  const [minutes, setMinutes] = useState<Minutes>('60');
  const [reason, setReason] = useState('');
  const zone = useContext(ZoneShown);
  const now = useStoreNow();
  const change = useChange(() => api.notify.mute.mutate({ incidentId: incident.id, minutes: Number(minutes), reason }), () => `${incident.displayName} muted`, close);
  return (
    <Frame incident={incident} title={`Mute ${incident.displayName}`} verb="Mute" change={change} close={close}>
      <Choice name="For" chosen={minutes} choose={setMinutes} choices={(Object.keys(MINUTES) as Minutes[]).map((each) => [each, MINUTES[each]])} />
      <p className="times">No new message about this incident until <strong>{absolute(now + Number(minutes) * 60_000, zone, now)}</strong>. If it is still open then and nobody has it, a reminder follows at once.</p>
      <Reason reason={reason} setReason={setReason} example="Maintenance of the venue" />
    </Frame>
  );
}

type Framed = { incident: IncidentRecord; title: string; verb: string; change: Change; close: () => void; children: ReactNode };

function Frame({ incident, title, verb, change, close, children }: Framed): ReactNode {
  const titleId = useId();
  const isOver = useIsOver(incident);
  const submit = (event: FormEvent): void => {
    event.preventDefault();
    change.run();
  };
  return (
    <Dialog titleId={titleId} close={close}>
      <form className="dialog-form" onSubmit={submit}>
        <h2 id={titleId} className="dialog-title">{title}</h2>
        {children}
        {isOver && <output className="notice">This incident is not open any more.</output>}
        {change.fault !== null && <p className="notice" role="alert">{change.fault}</p>}
        <div className="dialog-buttons">
          <button type="submit" className="button button-main" disabled={change.isPending || isOver}>{change.isPending ? 'One moment…' : verb}</button>
          <button type="button" className="button" onClick={close}>Cancel</button>
        </div>
      </form>
    </Dialog>
  );
}

function Reason({ reason, setReason, example }: { reason: string; setReason: (reason: string) => void; example: string }): ReactNode {
  return (
    <label className="dialog-field">
      <span className="meta">Reason, if you like; everybody sees it</span>
      <input className="field" type="text" maxLength={LONGEST_REASON} placeholder={example} value={reason} onChange={(event) => setReason(event.target.value)} />
    </label>
  );
}

/** The incident as it was last answered: somebody may mute it while the dialog is open. */
function useAsOfNow(incident: IncidentRecord): IncidentRecord {
  return useLive().incidents.data?.incidents.find((each) => each.id === incident.id) ?? incident;
}

/** Whether the incident ended while the dialog was open, as far as anybody can tell. */
function useIsOver(incident: IncidentRecord): boolean {
  const { data, fault } = useLive().incidents;
  return data !== null && fault === null && !data.incidents.some((each) => each.id === incident.id);
}
