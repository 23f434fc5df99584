/** What the feed shows, as the query of the address holds it. Pure. */

import type { ActivityAsked } from '../api/generated';

export type Range = 'all' | '1h' | '24h' | '7d' | '30d' | 'custom';

export type Filters = {
  exchange: string;
  events: string[];
  text: string;
  range: Range;
  /** Of the range `custom`: ISO moments, empty: no bound. */
  since: string;
  until: string;
};

export const NO_FILTERS: Filters = { exchange: '', events: [], text: '', range: 'all', since: '', until: '' };

export const RANGES: readonly { range: Range; name: string; ms: number | null }[] = [
  { range: 'all', name: 'All 90 days', ms: null },
  { range: '1h', name: 'Last hour', ms: 3_600_000 },
  { range: '24h', name: 'Last 24 hours', ms: 86_400_000 },
  { range: '7d', name: 'Last 7 days', ms: 7 * 86_400_000 },
  { range: '30d', name: 'Last 30 days', ms: 30 * 86_400_000 },
  { range: 'custom', name: 'From … to …', ms: null },
];

/** The filters in a query. What is not understood counts as not said. */
export function filtersOf(query: string): Filters {
  const said = new URLSearchParams(query);
  const since = said.get('since') ?? '';
  const until = said.get('until') ?? '';
  const range = RANGES.find((each) => each.range === said.get('range'))?.range ?? 'all';
  return {
    exchange: said.get('exchange') ?? '',
    events: [...new Set(said.getAll('event').filter(Boolean))],
    text: said.get('text') ?? '',
    range: since || until ? 'custom' : range,
    since,
    until,
  };
}

/** The query that says these filters; empty: none. */
export function queryOf(filters: Filters): string {
  const said = new URLSearchParams();
  if (filters.exchange) said.set('exchange', filters.exchange);
  for (const event of filters.events) said.append('event', event);
  if (filters.text) said.set('text', filters.text);
  if (filters.range !== 'all') said.set('range', filters.range);
  if (filters.range === 'custom' && filters.since) said.set('since', filters.since);
  if (filters.range === 'custom' && filters.until) said.set('until', filters.until);
  return said.toString();
}

/** Whether anything is left out. */
export function isFiltered(filters: Filters): boolean {
  return queryOf({ ...filters, range: filters.since || filters.until || filters.range !== 'custom' ? filters.range : 'all' }) !== '';
}

/** What to ask the API for. */
export function askedOf(filters: Filters, nowMs: number): ActivityAsked {
  const back = rangeMs(filters);
  const since = back === null ? filters.since : new Date(nowMs - back).toISOString();
  return {
    ...(filters.exchange && { exchangeName: filters.exchange }),
    ...(filters.events.length > 0 && { events: filters.events }),
    ...(filters.text && { text: filters.text }),
    ...(since && { since }),
    ...(filters.until && { until: filters.until }),
  };
}

function rangeMs(filters: Filters): number | null {
  return RANGES.find((each) => each.range === filters.range)?.ms ?? null;
}
