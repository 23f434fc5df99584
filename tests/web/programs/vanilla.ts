// What a program with @trpc/client is told by the generated types. Compiled, never run.
import { createTRPCClient, httpBatchLink, TRPCClientError } from '@trpc/client';
import type { inferRouterInputs, inferRouterOutputs } from '@trpc/server';
import type { AppRouter, Card, CardChange, EntryChange, Page } from './generated';

type Change = CardChange | EntryChange;

// An optional property loses its `undefined` on the way through the client.
type Plain<T> = T extends object ? { [K in keyof T]: Plain<Exclude<T[K], undefined>> } : T;
type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
declare function same<A, B>(yes: Same<Plain<A>, Plain<B>>): void;

const client = createTRPCClient<AppRouter>({ links: [httpBatchLink({ url: 'http://127.0.0.1:8777/trpc' })] });
type Inputs = inferRouterInputs<AppRouter>;
type Outputs = inferRouterOutputs<AppRouter>;

export async function outputs(): Promise<void> {
  const cards = await client.network.getCards.query();
  same<typeof cards, Card[]>(true);
  same<Outputs['network']['getCards'], Card[]>(true);
  const page = await client.network.getPage.query({ exchangeName: 'kraken', count: 20 });
  same<typeof page, Page>(true);
  same<(typeof page.entries)[number]['level'], 'info' | 'error'>(true);
  const nothing = await client.control.stop.mutate({ exchangeId: 4 });
  same<typeof nothing, undefined>(true);
  same<Outputs['network']['getCard'], Card | undefined>(true);
  // @ts-expect-error  a list has no such property
  void cards.instances;
  // @ts-expect-error  nor has a card
  void cards[0]?.nmae;
}

export async function inputs(): Promise<void> {
  await client.network.getPage.query({});
  await client.network.getPage.query({ exchangeName: null, cursor: undefined });
  await client.network.getCard.query();
  await client.network.getCard.query(undefined);
  await client.network.getCard.query({ exchangeId: 4 });
  same<Inputs['network']['getCards'], void>(true);
  // @ts-expect-error  this procedure takes nothing
  await client.network.getCards.query({ exchangeName: 'kraken' });
  // @ts-expect-error  this one takes something
  await client.network.getPage.query();
  // @ts-expect-error  a number, not text
  await client.network.getPage.query({ count: '20' });
  // @ts-expect-error  no such field
  await client.network.getPage.query({ exchange: 'kraken' });
  // @ts-expect-error  a required field
  await client.control.stop.mutate({});
  // @ts-expect-error  a query is not a mutation
  await client.network.getCards.mutate();
  // @ts-expect-error  no such procedure
  await client.network.getCrads.query();
  // @ts-expect-error  no such group
  await client.netwrok.getCards.query();
}

export function events(): void {
  client.network.onChange.subscribe(undefined, {
    onData(event) {
      same<typeof event, { id: string; data: Change }>(true);
      if (event.data.kind === 'card') same<typeof event.data.card, Card>(true);
      // @ts-expect-error  only where its kind says so
      void event.data.card;
    },
    onError(error) {
      same<typeof error, TRPCClientError<AppRouter>>(true);
    },
  });
  client.network.onChange.subscribe({ lastEventId: '1-0' }, {});
  client.network.onTick.subscribe(undefined, { onData: (tick) => same<typeof tick, number>(true) });
  // @ts-expect-error  an id is text
  client.network.onChange.subscribe({ lastEventId: 1 }, {});
}

export function errors(error: unknown): void {
  if (!(error instanceof TRPCClientError)) return;
  const data = (error as TRPCClientError<AppRouter>).data;
  const fields = data?.zodError?.fieldErrors['count'];
  same<typeof fields, string[] | undefined>(true);
  const form = data?.zodError?.formErrors;
  same<typeof form, string[] | undefined>(true);
  const observed = data?.observedAt;
  same<typeof observed, string | null | undefined>(true);
  const code = data?.code;
  // @ts-expect-error  there is no such code
  void (code === 'NO_SUCH_CODE');
  void (code === 'SERVICE_UNAVAILABLE');
  // @ts-expect-error  nor such a fact
  void data?.observedWhen;
}
