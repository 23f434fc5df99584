/** What to leave out of the feed. */

import { type ReactNode, useEffect, useState } from 'react';
import type { CardView } from '../api/generated';
import type { Filters, Range } from './filters';
import { isFiltered, NO_FILTERS, RANGES } from './filters';
import { EventFilter } from './EventFilter';
import { MomentFields } from './MomentFields';

const TYPED_MS = 350;

type Shown = {
  filters: Filters;
  /** Those to choose from; null: there is no choice. */
  exchanges: readonly CardView[] | null;
  change: (changed: Partial<Filters>) => void;
};

/** One field for each filter. */
export function FilterBar({ filters, exchanges, change }: Shown): ReactNode {
  const isAny = isFiltered({ ...filters, exchange: exchanges ? filters.exchange : '' });
  return (
    <search className="filters" aria-label="Filter the activity">
      {exchanges && <ExchangeFilter chosen={filters.exchange} exchanges={exchanges} choose={(exchange) => change({ exchange })} />}
      <EventFilter chosen={filters.events} choose={(events) => change({ events })} />
      <select className="field" aria-label="Time range" value={filters.range} onChange={(event) => change({ range: event.target.value as Range, since: '', until: '' })}>
        {RANGES.map(({ range, name }) => <option key={range} value={range}>{name}</option>)}
      </select>
      {filters.range === 'custom' && <MomentFields filters={filters} change={change} />}
      <TextFilter text={filters.text} search={(text) => change({ text })} />
      {isAny && <button type="button" className="button button-plain" onClick={() => change(NO_FILTERS)}>Clear</button>}
    </search>
  );
}

type Choice = { chosen: string; exchanges: readonly CardView[]; choose: (name: string) => void };

function ExchangeFilter({ chosen, exchanges, choose }: Choice): ReactNode {
  const names = exchanges.map((card) => card.exchangeName);
  return (
    <select className="field" aria-label="Exchange" value={chosen} onChange={(event) => choose(event.target.value)}>
      <option value="">All exchanges</option>
      {exchanges.map((card) => <option key={card.exchangeId} value={card.exchangeName}>{card.displayName}</option>)}
      {chosen && !names.includes(chosen) && <option value={chosen}>{chosen}</option>}
    </select>
  );
}

/** Searches a moment after the last key. */
function TextFilter({ text, search }: { text: string; search: (text: string) => void }): ReactNode {
  const [typed, setTyped] = useState(text);
  const [known, setKnown] = useState(text);
  if (text !== known) {
    setKnown(text); // the address changed
    setTyped(text);
  }
  useEffect(() => {
    if (typed === text) return undefined;
    const timer = setTimeout(() => search(typed), TYPED_MS);
    return () => clearTimeout(timer);
  });
  return (
    <input
      className="field filter-text"
      type="search"
      aria-label="Text in any field: admin, host, error"
      placeholder="Admin, host, error…"
      maxLength={200}
      value={typed}
      onChange={(event) => setTyped(event.target.value)}
    />
  );
}
