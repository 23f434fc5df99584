// The types of the Perseus API, written by `perseus types`. Do not edit.

import type {
  TRPCBuiltRouter,
  TRPCDefaultErrorShape,
  TRPCMutationProcedure,
  TRPCQueryProcedure,
  TRPCSubscriptionProcedure,
} from '@trpc/server';

/** An incident somebody knows of, and why nobody need be reminded. */
export type AcknowledgeAsked = {
  /** Length at most 100. */
  incidentId: string;
  /** Length at most 500. */
  reason?: string | undefined;
};

/**
 * A page of the activity log: of one exchange or all, `count` entries going on from `cursor`.
 *
 * `events`: only these; `since`, `until`: ISO times with zone, both inclusive; `text`: in any field, in any case.
 */
export type ActivityAsked = {
  exchangeName?: string | null | undefined;
  /** At least 1; at most 200; default 50. */
  count?: number | undefined;
  cursor?: string | null | undefined;
  events?: string[] | null | undefined;
  since?: string | null | undefined;
  until?: string | null | undefined;
  text?: string | null | undefined;
};

/** A card as JSON: an item of `network.getInstances` and of `perseus status --json`. */
export type CardView = {
  exchangeId: number;
  exchangeName: string;
  displayName: string;
  online: boolean;
  status: InstanceStatus | null;
  health: Health;
  lastKnown: LastKnown | null;
  offlineSince: string | null;
  stoppedBy: string | null;
  stoppedAt: string | null;
  reason: string | null;
  heartbeatAgeMs: number | null;
  expiresInMs: number | null;
  shouldRun: boolean;
  warmup: WarmupProgress | null;
};

/** The cards that changed. */
export type CardsChange = {
  kind: 'cards';
  cards: CardView[];
  serverTime: string;
};

/** Changes from here on, or behind the last one received. */
export type ChangesAsked = {
  lastEventId?: string | null | undefined;
};

/** How one channel is. `reason`: why it is failing or dead; `dropped`: messages it will never get. */
export type ChannelHealth = {
  name: string;
  state: 'dead' | 'failing' | 'ok' | 'unused' | 'waiting';
  lastSuccessAt: string | null;
  queued: number;
  oldestUnsentAt: string | null;
  reason: string | null;
  dropped: number;
};

/** What an instance says of itself. */
export type ConnectionState = 'idle' | 'starting' | 'warming' | 'active' | 'stopping' | 'stopped';

/** What an admin last asked for, kept in `last` so that it outlives the process. */
export type DesiredState = {
  state: string;
  by: string;
  at: string;
};

/** What an admin last asked for, kept in `last` so that it outlives the process. */
export type DesiredStateReceived = {
  state: string;
  by?: string | undefined;
  at?: string | undefined;
};

/** One entry that came to a log. */
export type EntryChange = {
  kind: 'entry';
  entry: LogEntry;
};

/** One exchange, by its id. */
export type ExchangeAsked = {
  exchangeId: number;
};

/** The answer of `network.getExchangeStatus`: the card, and the store's time it was read at. */
export type ExchangeStatus = {
  exchangeId: number;
  exchangeName: string;
  displayName: string;
  online: boolean;
  status: InstanceStatus | null;
  health: Health;
  lastKnown: LastKnown | null;
  offlineSince: string | null;
  stoppedBy: string | null;
  stoppedAt: string | null;
  reason: string | null;
  heartbeatAgeMs: number | null;
  expiresInMs: number | null;
  shouldRun: boolean;
  warmup: WarmupProgress | null;
  serverTime: string;
};

/** The answer of `network.getActivityLog`. `unreadable`: by exchange, why its entries are missing. */
export type FeedPageView = {
  entries: LogEntry[];
  nextCursor: string | null;
  unreadable: Record<string, string>;
};

/** What an observer concludes about an exchange. */
export type Health =
  | 'active'
  | 'transition'
  | 'late'
  | 'offline'
  | 'stopped'
  | 'idle'
  | 'never'
  | 'unreadable'
  | 'unknown';

/** Which server tells people, and since when. */
export type HolderView = {
  hostname: string;
  since: string;
  instanceId: string;
  version: string;
};

/**
 * An exchange that was not served although it should have been; open until it is resolved.
 *
 * Since when, when that was noticed, who served it then. Flapping: it went down and came back so many times. What
 * people did about it comes last; a mute may have passed. The display name is the exchange's as it is now.
 */
export type IncidentRecord = {
  id: string;
  exchangeId: number;
  exchangeName: string;
  displayName: string;
  cause: 'lease_lapsed' | 'lease_lost' | 'offline';
  since: string;
  openedAt: string;
  hostname: string;
  ip: string;
  adminEmail: string;
  lastState: string;
  detail: string;
  isFlapping: boolean;
  changes: number;
  resolvedAt: string | null;
  resolution: 'recovered' | 'stopped' | 'switched_off' | 'unknown' | null;
  acknowledgedAt: string | null;
  acknowledgedBy: string | null;
  acknowledgedReason: string | null;
  mutedUntil: string | null;
  mutedBy: string | null;
  mutedReason: string | null;
};

/** A page of incidents: of one exchange or all, only open or only resolved ones, going on from `cursor`. */
export type IncidentsAsked = {
  exchangeId?: number | null | undefined;
  isOpen?: boolean | null | undefined;
  /** At least 1; at most 100; default 50. */
  count?: number | undefined;
  cursor?: string | null | undefined;
};

/** A page of incidents, newest first. The next one's cursor is null at the end, and only there. */
export type IncidentsView = {
  incidents: IncidentRecord[];
  nextCursor: string | null;
};

/** The status payload. Readers need only the first eleven fields; other programs write it too. */
export type InstanceStatus = {
  exchangeId: number;
  exchangeName: string;
  connectionState: ConnectionState;
  connectedAt: string | null;
  lastHeartbeat: string;
  symbolCount: number;
  adminEmail: string;
  adminDisplayName: string;
  ipAddress: string | null;
  hostname: string;
  lastError: string | null;
  instanceId?: string | null | undefined;
  epoch?: number | null | undefined;
  claimId?: string | null | undefined;
  rev?: number | null | undefined;
  registeredAt?: string | null | undefined;
  lastStateChange?: string | null | undefined;
  lastErrorAt?: string | null | undefined;
  countryCode?: string | null | undefined;
  heartbeatIntervalMs?: number | null | undefined;
  ttlMs?: number | null | undefined;
  version?: string | null | undefined;
  pid?: number | null | undefined;
  bootId?: string | null | undefined;
  lockFile?: string | null | undefined;
  startedAt?: string | null | undefined;
  lastMessageAt?: string | null | undefined;
  desiredState?: DesiredStateReceived | null | undefined;
  handoffTo?: Record<string, unknown> | null | undefined;
  releasedAt?: string | null | undefined;
  releasedBy?: string | null | undefined;
};

/** All cards: at first, after the network could not be seen, and when exchanges were added or switched off. */
export type InstancesChange = {
  kind: 'instances';
  instances: CardView[];
  serverTime: string;
};

/** The shape of `network.getInstances` and `perseus status --json`. */
export type InstancesView = {
  instances: CardView[];
  serverTime: string;
};

/**
 * What is known of the instance last seen; what is not known is absent.
 *
 * `source`: `last`, its own last snapshot; `status`, its status as this observer saw it; `log`, its newest entry,
 * which tells identity, state and its own `timestamp` only.
 */
export type LastKnown = {
  source: string;
  connectionState?: string | null | undefined;
  connectedAt?: string | null | undefined;
  lastHeartbeat?: string | null | undefined;
  timestamp?: string | null | undefined;
  symbolCount?: number | null | undefined;
  adminEmail?: string | null | undefined;
  adminDisplayName?: string | null | undefined;
  ipAddress?: string | null | undefined;
  hostname?: string | null | undefined;
  lastError?: string | null | undefined;
  lastErrorAt?: string | null | undefined;
  lastStateChange?: string | null | undefined;
  instanceId?: string | null | undefined;
  epoch?: number | null | undefined;
  ttlMs?: number | null | undefined;
  heartbeatIntervalMs?: number | null | undefined;
  version?: string | null | undefined;
  releasedAt?: string | null | undefined;
  releasedBy?: string | null | undefined;
  desiredState?: DesiredState | null | undefined;
};

/** An entry as programs read it: all values are text. Which of the later fields it has depends on `event`. */
export type LogEntry = {
  id: string;
  event: string;
  timestamp: string;
  exchangeId: string;
  exchangeName: string;
  hostname: string;
  ip: string;
  adminEmail: string;
  instanceId?: string | undefined;
  epoch?: string | undefined;
  seq?: string | undefined;
  fromState?: string | undefined;
  toState?: string | undefined;
  reason?: string | undefined;
  error?: string | undefined;
  state?: string | undefined;
  count?: string | undefined;
  lastHeartbeat?: string | undefined;
  detectedBy?: string | undefined;
  holder?: string | undefined;
  newEpoch?: string | undefined;
  toInstance?: string | undefined;
  gapMs?: string | undefined;
  commandId?: string | undefined;
  command?: string | undefined;
  issuedBy?: string | undefined;
  outcome?: string | undefined;
  dropped?: string | undefined;
};

/** An incident nothing new is to be sent about for so many minutes, and why. */
export type MuteAsked = {
  /** Length at most 100. */
  incidentId: string;
  /** At least 1; at most 43200. */
  minutes: number;
  /** Length at most 500. */
  reason?: string | undefined;
};

/** Entries were missed: read the activity log anew. What comes from here on is complete again. */
export type ResyncChange = {
  kind: 'resync';
};

/**
 * Whether alerts are sent, in JSON. `why` not all of them are, in sentences; `announced`: of what people are told.
 *
 * `trouble`: what the notifier cannot do besides, a sentence.
 */
export type StatusView = {
  alerts: 'failing' | 'none' | 'sent';
  why: string | null;
  holder: HolderView | null;
  channels: ChannelHealth[];
  announced: string[];
  trouble: string | null;
  serverTime: string;
};

/** A channel to send a test message to, by its name. */
export type TestAsked = {
  /** Length at least 1; length at most 100. */
  channel: string;
};

/** What became of a test message. */
export type TestOutcome = {
  outcome: 'delivered' | 'failed' | 'waiting';
  reason: string | null;
};

/** The network cannot be seen: what was told is of `observed_at` and says nothing about now. */
export type UnavailableChange = {
  kind: 'unavailable';
  observedAt: string | null;
  message: string;
};

/** An incident to be told of again. */
export type UnmuteAsked = {
  /** Length at most 100. */
  incidentId: string;
};

/** The `warmup` key: progress while warming, the report afterwards. Units: symbols, seconds. */
export type WarmupProgress = {
  percent: number;
  etaSeconds: number | null;
  currentSymbol: string | null;
  done: number;
  total: number;
  failures: string[];
  startedAt: string;
  finishedAt: string | null;
  candlesFetched: number;
  candlesKept: number;
};

/** The answer of `network.getWarmupStats`: progress, or the report; `reason`: why it cannot be read. */
export type WarmupStats = {
  stats: WarmupProgress | null;
  reason: string | null;
};

/** What is wrong with an input, as a whole and by field, as zod's `flatten()` says it. */
export type FieldErrors = { formErrors: string[]; fieldErrors: Record<string, string[] | undefined> };

/** What the `data` of an error says besides code, status and path. */
export type ErrorData = {
  /** Of BAD_REQUEST: what is wrong with the input. */
  zodError?: FieldErrors | null | undefined;
  /** Of SERVICE_UNAVAILABLE: when the network was last read. What was true then is not known to be true now. */
  observedAt?: string | null | undefined;
  /** Of UNAUTHORIZED: why, in one word. */
  reason?: string | undefined;
  /** Of FORBIDDEN: the least role that may. */
  needed?: string | undefined;
  /** Of FORBIDDEN: the caller's role. */
  role?: string | undefined;
  /** Of TOO_MANY_REQUESTS: seconds to wait. */
  retryAfter?: number | undefined;
};

type ErrorShape = Omit<TRPCDefaultErrorShape, 'data'> & { data: TRPCDefaultErrorShape['data'] & ErrorData };
type Root = { ctx: object; meta: object; errorShape: ErrorShape; transformer: false };
type Definition<I, O> = { input: I; output: O; meta: object; errorShape: ErrorShape };
type Query<I, O> = TRPCQueryProcedure<Definition<I, O>>;
type Mutation<I, O> = TRPCMutationProcedure<Definition<I, O>>;
type Subscription<I, E> = TRPCSubscriptionProcedure<Definition<I, AsyncIterable<E, void, unknown>>>;
type Tracked<E> = { id: string; data: E };

export type AppRouter = TRPCBuiltRouter<
  Root,
  {
    network: {
      /** Every active exchange with who serves it and how it is. */
      getInstances: Query<void, InstancesView>;
      /** One exchange, also one that is switched off. */
      getExchangeStatus: Query<ExchangeAsked, ExchangeStatus>;
      /** What happened, newest first. */
      getActivityLog: Query<ActivityAsked | undefined, FeedPageView>;
      /** The progress of a warm-up, or its report. */
      getWarmupStats: Query<ExchangeAsked, WarmupStats>;
      /** What changes, from here on: all cards, then those that change and the entries that come. */
      onChange: Subscription<
        ChangesAsked | undefined,
        Tracked<InstancesChange | CardsChange | EntryChange | ResyncChange | UnavailableChange>
      >;
    };
    notify: {
      /** Whether alerts are sent, by which server, and how each channel is. Every server answers the same. */
      getStatus: Query<void, StatusView>;
      /** What is wrong, and what was, newest first. */
      getIncidents: Query<IncidentsAsked | undefined, IncidentsView>;
      /** Say that somebody knows of an open incident; nobody is reminded of it any more. */
      acknowledge: Mutation<AcknowledgeAsked, IncidentRecord>;
      /** Send nothing new about an open incident for a while. */
      mute: Mutation<MuteAsked, IncidentRecord>;
      /** Let an open incident be told of again. */
      unmute: Mutation<UnmuteAsked, IncidentRecord>;
      /** Have a test message sent to a channel, and say what became of it; "waiting": it is not known yet. */
      test: Mutation<TestAsked, TestOutcome>;
    };
  }
>;
