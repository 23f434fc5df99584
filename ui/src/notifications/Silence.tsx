/** Why nobody is told of anything, and exactly what to do. */

import type { ReactNode } from 'react';
import type { StatusView } from '../api/generated';
import { Prose } from '../ui/Prose';
import { reasonOf, type Silence as Why } from './wording';

type Shown = { silence: Why; status: StatusView };

/** The panel that stands there while nothing is sent; the line above it has said that nothing is. */
export function Silence({ silence, status }: Shown): ReactNode {
  return (
    <section className="panel silence" aria-labelledby="silence-title">
      <h2 id="silence-title" className="panel-title">{silence === 'failing' ? 'What happens to the messages' : 'How to be told'}</h2>
      {status.why && <p className="silence-why"><Prose>{reasonOf(status.why)}</Prose></p>}
      <Steps silence={silence} host={status.holder?.hostname ?? null} />
    </section>
  );
}

function Steps({ silence, host }: { silence: Why; host: string | null }): ReactNode {
  if (silence === 'other') return null;
  if (silence === 'failing') return <p>Each says then that it is late. A test message tells what Discord answers now.</p>;
  const where = host === null ? <>On a host of this network</> : <>On <code>{host}</code>, and every other host with <code>perseus serve</code> or <code>perseus up</code></>;
  if (silence === 'no notifier') {
    return (
      <ol className="steps">
        <li><p>{where}, start a server that tells people; <code>perseus up</code> has one, too. One is enough; of several one does it, and another takes over when it is gone.</p><pre><code>perseus serve</code></pre></li>
        <li><p>If one runs, it says in its log why it cannot be the notifier; so does</p><pre><code>perseus doctor</code></pre></li>
      </ol>
    );
  }
  return (
    <ol className="steps">
      <li><p>In Discord: the channel’s settings, Integrations, Webhooks, New Webhook, Copy Webhook URL. Whoever has this address can write there: keep it as a secret.</p></li>
      <li>
        <p>{where}, put it into the environment{silence === 'all dead' && ', in place of the dead one'}. <code>ops</code> is a name of your choice; several go behind each other, separated by commas.</p>
        <pre><code>PERSEUS_DISCORD_WEBHOOK_URLS=ops=<wbr />https://discord.com/api/webhooks/…</code></pre>
      </li>
      <li><p>Start <code>perseus serve</code> or <code>perseus up</code> again, whichever ran there. Its channel appears here; press its button to test it.</p></li>
    </ol>
  );
}
