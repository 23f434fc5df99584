/** Durations and moments in words. Pure; all moments are Unix milliseconds. */

export type Zone = 'local' | 'utc';

const UNITS: readonly [number, string][] = [[86_400, 'd'], [3600, 'h'], [60, 'm'], [1, 's']];

/** The units of a duration that are not zero, largest first; at least one. */
function parts(ms: number): string[] {
  let seconds = Math.max(0, Math.floor(ms / 1000));
  const found: string[] = [];
  for (const [size, letter] of UNITS) {
    const count = Math.floor(seconds / size);
    seconds -= count * size;
    if (count > 0 || found.length > 0 || letter === 's') found.push(`${count}${letter}`);
  }
  return found;
}

/** `12s`, `4m 10s`, `4h 23m`, `3d 4h`: the two largest units. */
export function duration(ms: number): string {
  const [first = '0s', second] = parts(ms);
  return second === undefined || second.startsWith('0') ? first : `${first} ${second}`;
}

/** `12s`, `4m`, `3d`: the largest unit, for where a number that changes every second would only disturb. */
export function roughly(ms: number): string {
  return parts(ms)[0] ?? '0s';
}

/** Unix milliseconds of an ISO moment; null if there is none, or none that can be read. */
export function moment(text: string | null | undefined): number | null {
  const ms = text ? Date.parse(text) : Number.NaN;
  return Number.isNaN(ms) ? null : ms;
}

const FORMATS = new Map<string, Intl.DateTimeFormat>();

function format(name: string, zone: Zone, options: Intl.DateTimeFormatOptions): Intl.DateTimeFormat {
  const key = `${name} ${zone}`;
  let made = FORMATS.get(key);
  if (made === undefined) {
    made = new Intl.DateTimeFormat('en-GB', zone === 'utc' ? { ...options, timeZone: 'UTC' } : options);
    FORMATS.set(key, made);
  }
  return made;
}

/** `03:12:05`, with `Z` behind it in UTC. */
export function clockTime(ms: number, zone: Zone): string {
  const time = format('time', zone, { hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23' }).format(ms);
  return zone === 'utc' ? `${time}Z` : time;
}

/** `Tue 10 Feb 2026`. */
export function day(ms: number, zone: Zone): string {
  const options = { weekday: 'short', day: 'numeric', month: 'short', year: 'numeric' } as const;
  return format('day', zone, options).format(ms).replace(',', '');
}

/** `Today`, `Yesterday`, or the day. */
export function namedDay(ms: number, zone: Zone, nowMs: number): string {
  const named = day(ms, zone);
  if (named === day(nowMs, zone)) return 'Today';
  return named === day(nowMs - 86_400_000, zone) ? 'Yesterday' : named;
}

/** The moment as short as it can be told today: the time alone, or with its date. */
export function absolute(ms: number, zone: Zone, nowMs: number): string {
  const named = namedDay(ms, zone, nowMs);
  const time = clockTime(ms, zone);
  return named === 'Today' ? time : `${named === 'Yesterday' ? 'yesterday' : named} ${time}`;
}

/** Date, time and zone in full. */
export function inFull(ms: number, zone: Zone): string {
  return `${day(ms, zone)} ${clockTime(ms, zone)}${zone === 'local' ? ` (${new Date(ms).toISOString()})` : ''}`;
}
