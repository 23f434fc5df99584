/** Everything the filters select, as a file. */

import { type ReactNode, useRef, useState } from 'react';
import { api, textOf } from '../api/client';
import { storeNow } from '../api/clock';
import type { ActivityAsked, LogEntry } from '../api/generated';
import { useClosesOutside } from '../ui/useClosesOutside';
import { download } from '../ui/download';
import { fileName, fileOf, type Format } from './exporting';

const PAGE = 200;
const MOST = 50_000;
const TYPES: Record<Format, string> = { csv: 'text/csv', json: 'application/json' };

/** A menu of formats; then how far it is, and a way to stop it. */
export function ExportButton({ asked }: { asked: ActivityAsked }): ReactNode {
  const menu = useRef<HTMLDetailsElement>(null);
  const [progress, setProgress] = useState<string | null>(null);
  const [running, setRunning] = useState<AbortController | null>(null);
  useClosesOutside(menu);
  const start = async (format: Format): Promise<void> => {
    const stop = new AbortController();
    setRunning(stop);
    try {
      const entries = await readAll(asked, stop.signal, (count) => setProgress(`${count} entries…`));
      download(fileName(storeNow() ?? 0, format), TYPES[format], fileOf(entries, format));
      setProgress(entries.length >= MOST ? `Exported the newest ${MOST} entries` : null);
    } catch (error) {
      setProgress(stop.signal.aborted ? null : `Export failed: ${textOf(error)}`);
    } finally {
      setRunning(null);
    }
  };
  const choose = (format: Format): void => {
    if (menu.current) menu.current.open = false;
    setProgress('0 entries…');
    void start(format);
  };
  return (
    <div className="export">
      {progress !== null && <output className="meta">{progress}</output>}
      {running ? (
        <button type="button" className="button" onClick={() => running.abort()}>Cancel export</button>
      ) : (
        <details className="menu menu-right" ref={menu}>
          <summary className="button">Export</summary>
          <div className="menu-sheet">
            <button type="button" className="button button-plain menu-item" onClick={() => choose('csv')}>CSV, for spreadsheets</button>
            <button type="button" className="button button-plain menu-item" onClick={() => choose('json')}>JSON, as the API answers</button>
          </div>
        </details>
      )}
    </div>
  );
}

async function readAll(asked: ActivityAsked, signal: AbortSignal, tell: (count: number) => void): Promise<LogEntry[]> {
  const entries: LogEntry[] = [];
  let cursor: string | null = null;
  do {
    // oxlint-disable-next-line no-await-in-loop -- each page says where the next one begins
    const page = await api.network.getActivityLog.query({ ...asked, count: PAGE, cursor }, { signal });
    entries.push(...page.entries);
    tell(entries.length);
    cursor = page.nextCursor;
  } while (cursor !== null && entries.length < MOST);
  return entries.slice(0, MOST);
}
