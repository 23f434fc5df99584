// The unmodified @trpc/client behind each of its links.
import {
  createTRPCClient,
  createWSClient,
  httpBatchLink,
  httpBatchStreamLink,
  httpLink,
  httpSubscriptionLink,
  retryLink,
  splitLink,
  wsLink,
} from '@trpc/client';
import { EventSource } from 'eventsource';
import WebSocket from 'ws';

import { Inbox } from './suite.mjs';

export const LINKS = ['httpLink', 'httpBatchLink', 'httpBatchStreamLink', 'wsLink'];
export const HTTP_LINKS = LINKS.slice(0, 3);
const HTTP = { httpLink, httpBatchLink, httpBatchStreamLink };

/** The server's own token, unless told otherwise (`null`: none). */
const tokenOf = (target, token) => (token === undefined ? target.token : token);

/** A client whose only link is `link`; `options` are the link's. `retries`: behind a retryLink, too. */
export function clientOf(target, link, { token, retries = 0, ...options } = {}) {
  const last = link === 'wsLink' ? webSocketLink(target, { token, ...options }) : httpLinkOf(target, link, { token, ...options });
  const retry = retryLink({ retry: ({ attempts }) => attempts <= retries });
  return createTRPCClient({ links: retries ? [retry, last] : [last] });
}

function httpLinkOf(target, link, { token, url = target.url, ...options }) {
  const bearer = tokenOf(target, token);
  return HTTP[link]({ url, headers: bearer ? { authorization: `Bearer ${bearer}` } : {}, ...options });
}

function webSocketLink(target, options) {
  return wsLink({ client: webSocketClient(target, options) });
}

/** The client's WebSocket, closed at the end of the check. */
export function webSocketClient(target, { token, url = target.webSocketUrl, ...options } = {}) {
  const bearer = tokenOf(target, token);
  const client = createWSClient({
    url,
    WebSocket,
    retryDelayMs: () => 30,
    ...(bearer ? { connectionParams: { token: bearer } } : {}),
    ...options,
  });
  target.defer(() => void client.close());
  return client;
}

/** The browser's way: calls through httpBatchLink, subscriptions through httpSubscriptionLink; told apart by splitLink. */
export function splitClient(target, { token, url = target.url, retries = 0, source = EventSource, sourceOptions } = {}) {
  const bearer = tokenOf(target, token);
  const events = httpSubscriptionLink({
    url,
    EventSource: source,
    eventSourceOptions: sourceOptions ?? { fetch: quickToReconnect },
    ...(bearer ? { connectionParams: { token: bearer } } : {}),
  });
  const retry = retryLink({ retry: ({ attempts }) => attempts <= retries });
  return createTRPCClient({
    links: [
      splitLink({
        condition: ({ type }) => type === 'subscription',
        true: retries ? [retry, events] : events,
        false: httpLinkOf(target, 'httpBatchLink', { token, url: target.url }),
      }),
    ],
  });
}

/** An EventSource waits 3 s before it connects again; this tells it, as a server may, to wait 30 ms. */
async function quickToReconnect(url, init) {
  const response = await fetch(url, init);
  const hint = new TextEncoder().encode('retry: 30\n\n');
  const hinted = new TransformStream({ start: (controller) => controller.enqueue(hint) });
  return { ...pick(response), body: response.body?.pipeThrough(hinted) ?? null };
}

const pick = ({ url, status, redirected, headers }) => ({ url, status, redirected, headers });

/** Subscribe, and keep all that is told: `values`, `states`, `started`, `stopped`, `completed` and `error`. */
export function follow(target, procedure, input, options = {}) {
  const told = { values: new Inbox(), states: [], errors: new Inbox(), started: new Inbox(), completed: new Inbox(), stopped: 0 };
  const subscription = procedure.subscribe(input, {
    onStarted: () => told.started.push(true),
    onData: (value) => told.values.push(value),
    onError: (error) => told.errors.push(error),
    onConnectionStateChange: ({ state }) => told.states.push(state),
    onStopped: () => (told.stopped += 1),
    onComplete: () => told.completed.push(true),
    ...options,
  });
  target.defer(() => subscription.unsubscribe());
  return Object.assign(told, { unsubscribe: () => subscription.unsubscribe() });
}
