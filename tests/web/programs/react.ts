// What a React program with @trpc/tanstack-react-query is told by the generated types. Compiled, never run.
import { useInfiniteQuery, useMutation, useQuery } from '@tanstack/react-query';
import { createTRPCContext, useSubscription } from '@trpc/tanstack-react-query';
import type { AppRouter, Card, CardChange, EntryChange, Page } from './generated';

type Change = CardChange | EntryChange;

// An optional property loses its `undefined` on the way through the client.
type Plain<T> = T extends object ? { [K in keyof T]: Plain<Exclude<T[K], undefined>> } : T;
type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
declare function same<A, B>(yes: Same<Plain<A>, Plain<B>>): void;

const { useTRPC } = createTRPCContext<AppRouter>();

export function useQueries(): void {
  const trpc = useTRPC();
  const cards = useQuery(trpc.network.getCards.queryOptions(undefined, { refetchInterval: 5000 }));
  same<typeof cards.data, Card[] | undefined>(true);
  const observed = cards.error?.data?.observedAt;
  same<typeof observed, string | null | undefined>(true);
  const fields = cards.error?.data?.zodError?.fieldErrors['count'];
  same<typeof fields, string[] | undefined>(true);
  const page = useQuery(trpc.network.getPage.queryOptions({ count: 20 }));
  same<typeof page.data, Page | undefined>(true);
  // @ts-expect-error  a number, not text
  useQuery(trpc.network.getPage.queryOptions({ count: '20' }));
  // @ts-expect-error  no such procedure
  trpc.network.getCrads.queryOptions();
}

export function useFeed(): void {
  const trpc = useTRPC();
  const feed = useInfiniteQuery(
    trpc.network.getPage.infiniteQueryOptions({ count: 20 }, { getNextPageParam: (last) => last.nextCursor }),
  );
  same<NonNullable<typeof feed.data>['pages'], Page[]>(true);
  // @ts-expect-error  without a cursor in its input nothing can be asked for page by page
  trpc.network.getCards.infiniteQueryOptions();
}

export function useStop(): void {
  const trpc = useTRPC();
  const stop = useMutation(trpc.control.stop.mutationOptions());
  stop.mutate({ exchangeId: 4, reason: 'upgrade' });
  // @ts-expect-error  an id, not a name
  stop.mutate({ exchangeId: 'kraken' });
}

export function useChanges(): void {
  const trpc = useTRPC();
  const change = useSubscription(trpc.network.onChange.subscriptionOptions());
  same<typeof change.data, { id: string; data: Change } | undefined>(true);
  // @ts-expect-error  an id is text
  useSubscription(trpc.network.onChange.subscriptionOptions({ lastEventId: 1 }));
}
