/** What this browser remembers of how somebody likes the page: the theme, and the zone of times. */

import { createContext, type ReactNode, useContext, useLayoutEffect, useMemo, useState } from 'react';
import { ZoneShown } from '../ui/Moment';
import type { Zone } from '../ui/time';

export type Theme = 'system' | 'light' | 'dark';

type Known = { theme: Theme; setTheme: (theme: Theme) => void; setZone: (zone: Zone) => void };

const Context = createContext<Known | null>(null);

/** The theme, and how to change it and the zone. */
export function usePreferences(): Known {
  const known = useContext(Context);
  if (known === null) throw new Error('usePreferences is for what stands inside Preferences');
  return known;
}

/** Keeps the preferences, and shows what is inside by them. */
export function Preferences({ children }: { children: ReactNode }): ReactNode {
  const [theme, setTheme] = useKept<Theme>('theme', ['system', 'light', 'dark']);
  const [zone, setZone] = useKept<Zone>('zone', ['local', 'utc']);
  useLayoutEffect(() => {
    document.documentElement.dataset['theme'] = theme;
  }, [theme]);
  const known = useMemo(() => ({ theme, setTheme, setZone }), [theme, setTheme, setZone]);
  return (
    <Context value={known}>
      <ZoneShown value={zone}>{children}</ZoneShown>
    </Context>
  );
}

/** A choice that outlives the page; the first one until somebody chooses, and where nothing may be kept. */
function useKept<T extends string>(name: string, choices: readonly [T, ...T[]]): [T, (chosen: T) => void] {
  const key = `perseus.${name}`;
  const [kept, setKept] = useState<T>(() => choices.find((each) => each === read(key)) ?? choices[0]);
  const keep = useMemo(
    () => (chosen: T) => {
      setKept(chosen);
      write(key, chosen);
    },
    [key],
  );
  return [kept, keep];
}

function read(key: string): string | null {
  try {
    return localStorage.getItem(key);
  } catch {
    return null; // the browser keeps nothing for anyone
  }
}

function write(key: string, value: string): void {
  try {
    localStorage.setItem(key, value);
  } catch {
    // it holds until the page is left
  }
}
