/** Channels and alerts in words. Pure. */

import type { ChannelHealth, StatusView } from '../api/generated';
import type { Look } from '../network/health';

type Word = { look: Look; word: string };

// red is for outages of exchanges alone
const STATES: Record<ChannelHealth['state'], Word> = {
  ok: { look: 'active', word: 'Works' },
  unused: { look: 'calm', word: 'Not used yet' },
  waiting: { look: 'changing', word: 'Sending' },
  failing: { look: 'late', word: 'Failing' },
  dead: { look: 'late', word: 'Dead' },
};

const VERDICTS: Record<StatusView['alerts'], Word> = {
  sent: { look: 'active', word: 'Alerts are being sent' },
  failing: { look: 'late', word: 'Alerts do not get through' },
  none: { look: 'late', word: 'No alerts are being sent' },
};

/** What may be announced, as `PERSEUS_DISCORD_ANNOUNCE` calls it, and in words. */
export const KINDS: Readonly<Record<string, string>> = {
  started: 'starts',
  stopped: 'stops',
  offline: 'outages',
  recovered: 'recoveries',
  lease_lost: 'lost leases',
  promoted: 'promotions',
  handed_over: 'handoffs',
  error: 'errors',
};

export const UNKNOWN: Word = { look: 'unknown', word: 'Nobody can tell right now whether alerts are sent' };

/** How a channel is. */
export function stateOf(channel: Pick<ChannelHealth, 'state'>): Word {
  return STATES[channel.state];
}

/** Whether a channel takes nothing now. */
export function isInTrouble({ state }: Pick<ChannelHealth, 'state'>): boolean {
  return state === 'dead' || state === 'failing';
}

/** Whether people are told: well only while every channel works. */
export function verdictOf(status: Pick<StatusView, 'alerts' | 'channels'>): Word {
  const { alerts, channels } = status;
  if (!isPartly(status)) return VERDICTS[alerts];
  return { look: 'late', word: `Alerts are sent to ${workingOf(channels)} of ${channels.length} channels` };
}

/** Whether some channels are told and others are not: the verdict counts them then. */
export function isPartly({ alerts, channels }: Pick<StatusView, 'alerts' | 'channels'>): boolean {
  return alerts === 'sent' && workingOf(channels) < channels.length;
}

function workingOf(channels: readonly Pick<ChannelHealth, 'state'>[]): number {
  return channels.filter((channel) => !isInTrouble(channel)).length;
}

/** `2 channels`, `0 of 2 channels work`. */
export function channelWords(channels: readonly Pick<ChannelHealth, 'state'>[]): string {
  const working = workingOf(channels);
  if (channels.length === 0) return 'no channel';
  if (working === channels.length) return working === 1 ? '1 channel' : `${working} channels`;
  if (channels.length === 1) return 'its one channel does not work';
  return `${working} of ${channels.length} channels ${working === 1 ? 'works' : 'work'}`;
}

/** What of all there is people are told, and what they are not. */
export function announcedWords(announced: readonly string[]): { told: string[]; untold: string[] } {
  return {
    told: announced.map((kind) => KINDS[kind] ?? kind),
    untold: Object.entries(KINDS).flatMap(([kind, words]) => (announced.includes(kind) ? [] : [words])),
  };
}

/** Why nobody is told, without the verdict it begins with: `No alerts are being sent: no notifier runs.` */
export function reasonOf(why: string): string {
  const reason = why.replace(/^No alerts are being sent: /, '');
  return reason.charAt(0).toUpperCase() + reason.slice(1);
}

/** Why nobody is told: what to do about it differs. `other`: the reason itself says what. */
export type Silence = 'no notifier' | 'no channel' | 'all dead' | 'failing' | 'other';

/** Why nobody is told; null: somebody is. */
export function silenceOf({ alerts, holder, channels, why }: Pick<StatusView, 'alerts' | 'holder' | 'channels' | 'why'>): Silence | null {
  if (alerts === 'sent') return null;
  if (alerts === 'failing') return 'failing';
  if (channels.length > 0) return 'all dead';
  if (holder === null) return why?.includes('no notifier runs') ? 'no notifier' : 'other';
  return why?.includes('no Discord webhook is set') ? 'no channel' : 'other';
}
