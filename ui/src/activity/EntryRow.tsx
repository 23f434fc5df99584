/** One row of the feed: when, which exchange, what happened, where. Repeats unfold. */

import { memo, type ReactNode, useState } from 'react';
import type { LogEntry } from '../api/generated';
import { addressOf } from '../app/places';
import { Glyph } from '../ui/Glyph';
import { Link } from '../ui/Link';
import { clockTime, inFull, type Zone } from '../ui/time';
import { happened, pictureOf } from './happened';
import { happenedAt, keyOf } from './order';
import type { Row } from './rows';

type Shown = { row: Row; zone: Zone; showsExchange: boolean };

/** The row of an entry; under it, when asked for, those it stands for. */
export const EntryRow = memo(function EntryRow({ row, zone, showsExchange }: Shown): ReactNode {
  const [isOpen, setIsOpen] = useState(false);
  const { entry, repeats } = row;
  const { what, details } = happened(entry, zone);
  const host = [entry.hostname, entry.ip && `(${entry.ip})`].filter(Boolean).join(' ');
  const oldest = repeats.at(-1);
  return (
    <li className="entry" data-event={entry.event} data-id={keyOf(entry)}>
      <Clock entry={entry} zone={zone} />
      {showsExchange && (
        <span className="entry-exchange">
          <Link to={addressOf({ page: 'exchange', name: entry.exchangeName })}>{entry.exchangeName}</Link>
        </span>
      )}
      <span className="entry-what">
        <Glyph picture={pictureOf(entry)} />
        <span className="entry-text">
          <span className="entry-name">{what}</span>
          {details && <span className="entry-details">{details}</span>}
          {oldest && (
            <button type="button" className="button entry-repeats times" aria-expanded={isOpen} onClick={() => setIsOpen(!isOpen)}>
              × {repeats.length + 1} since {clockTime(happenedAt(oldest), zone)}
            </button>
          )}
        </span>
      </span>
      <span className="entry-who" title={entry.adminEmail ? `admin ${entry.adminEmail}` : undefined}>
        {host && <span className="mono">{host}</span>}
      </span>
      {isOpen && (
        <ol className="entry-folded">
          {repeats.map((repeat) => (
            <li key={keyOf(repeat)}><Clock entry={repeat} zone={zone} /></li>
          ))}
        </ol>
      )}
    </li>
  );
});

function Clock({ entry, zone }: { entry: LogEntry; zone: Zone }): ReactNode {
  const at = happenedAt(entry);
  return (
    <time className="entry-time times" dateTime={new Date(at).toISOString()} title={inFull(at, zone)}>
      {clockTime(at, zone)}
    </time>
  );
}
