/** The feed: pages downwards as far as somebody scrolls, and what arrives on top, held back until it is wanted. */

import { type InfiniteData, infiniteQueryOptions, type QueryClient, queryOptions, useInfiniteQuery, useQuery, useQueryClient } from '@tanstack/react-query';
import { useEffect, useMemo, useState } from 'react';
import { api } from '../api/client';
import type { ActivityAsked, FeedPageView, LogEntry } from '../api/generated';
import { LIVE } from '../api/polling';
import { catchUp, notBelow } from './catchUp';
import { isNewer } from './order';

const PAGE = 50;
const KEPT = 1000; // with more a page that is left open for days begins anew at the top

const read = (asked: ActivityAsked, cursor: string | null, signal: AbortSignal): Promise<FeedPageView> =>
  api.network.getActivityLog.query({ ...asked, count: PAGE, cursor }, { signal });

const historyOf = (asked: ActivityAsked) =>
  infiniteQueryOptions({
    queryKey: ['activity', 'history', asked],
    queryFn: ({ pageParam, signal }) => read(asked, pageParam, signal),
    initialPageParam: null as string | null,
    getNextPageParam: (last) => last.nextCursor,
  });

const headKey = (asked: ActivityAsked) => ['activity', 'head', asked];

/** What arrived since the history was read, newest first. */
const headOf = (asked: ActivityAsked, queries: QueryClient) =>
  queryOptions({
    queryKey: headKey(asked),
    queryFn: async ({ signal }): Promise<LogEntry[]> => {
      const before = queries.getQueryData<LogEntry[]>(headKey(asked)) ?? [];
      const history = queries.getQueryData(historyOf(asked).queryKey);
      const known = before[0] ?? history?.pages.flatMap((page) => page.entries)[0];
      const above = notBelow(asked, known?.id, history?.pages[0]?.nextCursor); // down to there the first page had them all
      const caught = await catchUp(known, (cursor) => read(above, cursor, signal));
      if (caught.isWhole) return [...caught.fresh, ...before];
      beginWith(queries, asked, caught.newest);
      return [];
    },
    initialData: [], // the history has just told what there is
    meta: LIVE,
  });

function beginWith(queries: QueryClient, asked: ActivityAsked, page: FeedPageView): void {
  const anew: InfiniteData<FeedPageView, string | null> = { pages: [page], pageParams: [null] };
  queries.setQueryData(historyOf(asked).queryKey, anew);
}

export type Feed = {
  entries: LogEntry[];
  /** How many have arrived that are not shown. */
  waiting: number;
  showWaiting: () => void;
  unreadable: Record<string, string>;
  isLoading: boolean;
  isLoadingMore: boolean;
  hasMore: boolean;
  loadMore: () => void;
  error: Error | null;
};

/** The feed of what is asked for. `isFollowing`: what arrives is shown at once. */
export function useFeed(asked: ActivityAsked, isFollowing: boolean): Feed {
  const queries = useQueryClient();
  const history = useInfiniteQuery(historyOf(asked));
  const isOpen = !asked.until && history.isSuccess;
  const { data: head, error: headError } = useQuery({ ...headOf(asked, queries), enabled: isOpen });
  const below = useMemo(() => history.data?.pages.flatMap((page) => page.entries) ?? [], [history.data]);
  const [shownTo, setShownTo] = useState<LogEntry | null>(null);
  const top = head[0] ?? null;
  if (isFollowing && top !== shownTo) setShownTo(top);
  const shown = useMemo(() => (isFollowing ? head : head.filter((entry) => shownTo !== null && !isNewer(entry, shownTo))), [head, isFollowing, shownTo]);
  const entries = useMemo(() => {
    const [newest] = below; // a feed that begins anew may meet an answer that was under way
    return [...(newest ? shown.filter((entry) => isNewer(entry, newest)) : shown), ...below];
  }, [shown, below]);
  useEffect(() => {
    if (isFollowing && entries.length > KEPT) restart(queries, asked).catch(() => undefined); // there is time: later, then
  }, [isFollowing, entries.length, queries, asked]);
  return {
    entries,
    waiting: head.length - shown.length,
    showWaiting: () => setShownTo(top),
    unreadable: history.data?.pages[0]?.unreadable ?? {},
    isLoading: history.isPending,
    isLoadingMore: history.isFetchingNextPage,
    hasMore: history.hasNextPage,
    loadMore: () => void history.fetchNextPage(),
    error: history.error ?? headError,
  };
}

async function restart(queries: QueryClient, asked: ActivityAsked): Promise<void> {
  const page = await read(asked, null, new AbortController().signal);
  beginWith(queries, asked, page);
  queries.setQueryData(headKey(asked), []);
}
