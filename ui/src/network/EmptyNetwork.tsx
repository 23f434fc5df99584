/** A network nobody has served yet: how to connect a process, with what to type filled in. */

import type { ReactNode } from 'react';
import type { CardView } from '../api/generated';
import { BASE } from '../api/client';

/** The commands, for the first exchange there is. */
export function EmptyNetwork({ cards }: { cards: readonly CardView[] }): ReactNode {
  const name = cards.find((card) => card.exchangeName === 'binance')?.exchangeName ?? cards[0]?.exchangeName ?? 'binance';
  const here = `${location.origin}${BASE.replace(/\/$/, '')}`;
  return (
    <section className="panel empty" aria-labelledby="empty-title">
      <h2 id="empty-title" className="panel-title">Connect a first process</h2>
      {cards.length === 0 && <p>This Perseus has no active exchange. Add one: <code>perseus exchanges add {name} --id 2</code></p>}
      <ol className="steps">
        <li>
          <p>On the host that is to serve an exchange, name the store this page reads, as its <code>perseus serve</code> does. On one machine with the embedded store there is nothing to name.</p>
          <pre><code>export PERSEUS_STORE_URL=redis://…</code></pre>
        </li>
        <li>
          <p>Serve an exchange there for which Perseus has an adapter, or run any program of yours under its lease.</p>
          <pre><code>perseus run {name}{'\n'}perseus up --simulate     # without a real exchange, all on one machine</code></pre>
        </li>
        <li>
          <p>It appears here by itself, within 5 s. Programs read the same from the API:</p>
          <pre><code>{here}/trpc/network.getInstances</code></pre>
        </li>
      </ol>
    </section>
  );
}
