/** Sends a test message to a channel, and says what became of it where it was pressed. */

import { useMutation, useQueryClient } from '@tanstack/react-query';
import { type ReactNode, useId } from 'react';
import { alerting } from '../api/alerts';
import { api } from '../api/client';
import { storeNow } from '../api/clock';
import type { TestOutcome } from '../api/generated';
import { faultWords } from '../incidents/useChange';
import type { Look } from '../network/health';
import { Glyph } from '../ui/Glyph';
import { At } from '../ui/Moment';

const OUTCOMES: Record<TestOutcome['outcome'], { look: Look; says: string }> = {
  delivered: { look: 'active', says: 'Delivered' },
  waiting: { look: 'changing', says: 'Not delivered yet' },
  failed: { look: 'late', says: 'Not delivered' },
};

/** `whyNot`: why it cannot be pressed. */
export function TestButton({ channel, whyNot }: { channel: string; whyNot: string | null }): ReactNode {
  const queries = useQueryClient();
  const why = useId();
  const test = useMutation({
    mutationFn: async () => ({ ...(await api.notify.test.mutate({ channel })), atMs: storeNow() }),
    onSettled: () => queries.invalidateQueries({ queryKey: alerting.queryKey }),
  });
  return (
    <div className="test">
      <button type="button" className="button" disabled={whyNot !== null || test.isPending} aria-describedby={whyNot === null ? undefined : why} onClick={() => test.mutate()}>
        {test.isPending ? 'Sending a test message…' : 'Send a test message'}<span className="unseen"> to {channel}</span>
      </button>
      {whyNot !== null && <p id={why} className="meta">{whyNot}</p>}
      <output className="test-outcome">
        {test.isPending && <><Glyph picture="changing" /><span>Under way; it may take 10 s.</span></>}
        {test.data && !test.isPending && <Outcome {...test.data} />}
        {test.error && <><Glyph picture="unknown" /><span>{faultWords(test.error)}</span></>}
      </output>
    </div>
  );
}

function Outcome({ outcome, reason, atMs }: TestOutcome & { atMs: number | null }): ReactNode {
  const { look, says } = OUTCOMES[outcome];
  return (
    <>
      <Glyph picture={look} />
      <span>{says}{atMs !== null && <> at <At at={atMs} /></>}{reason && `: ${reason}`}</span>
    </>
  );
}
