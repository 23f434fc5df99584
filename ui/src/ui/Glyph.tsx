/** The six looks as pictures: told apart by shape as well as by colour. */

import type { ReactNode } from 'react';
import './glyph.css';

export type Picture = 'active' | 'changing' | 'late' | 'offline' | 'calm' | 'unknown';

const SHAPES: Record<Picture, ReactNode> = {
  active: (
    <>
      <circle cx="8" cy="8" r="7.5" fill="currentColor" />
      <path d="m4.6 8.3 2.3 2.3 4.5-4.9" className="glyph-cut" />
    </>
  ),
  changing: (
    <>
      <circle cx="8" cy="8" r="6.25" className="glyph-ring-faint" />
      <path d="M8 1.75a6.25 6.25 0 0 1 0 12.5" className="glyph-ring" />
    </>
  ),
  late: (
    <>
      <path d="M8 1.2 15.4 14a.6.6 0 0 1-.5.9H1.1a.6.6 0 0 1-.5-.9z" fill="currentColor" />
      <path d="M8 6v4.2M8 12.3v.3" className="glyph-cut" />
    </>
  ),
  offline: (
    <>
      <path d="M4.9.5h6.2l4.4 4.4v6.2l-4.4 4.4H4.9L.5 11.1V4.9z" fill="currentColor" />
      <path d="m5.3 5.3 5.4 5.4m0-5.4-5.4 5.4" className="glyph-cut" />
    </>
  ),
  calm: <rect x="1" y="5.5" width="14" height="5" rx="1.5" fill="currentColor" />,
  unknown: (
    <>
      <circle cx="8" cy="8" r="7" className="glyph-hatched" />
      <path d="M5.9 6.3a2.1 2.1 0 1 1 3 1.9c-.7.3-.9.7-.9 1.3M8 11.6v.3" className="glyph-mark" />
    </>
  ),
};

/** A picture beside its word: it says nothing to who cannot see it. */
export function Glyph({ picture, size = 16 }: { picture: Picture; size?: number }): ReactNode {
  return (
    <svg className={`glyph look-${picture}`} viewBox="0 0 16 16" width={size} height={size} aria-hidden="true" focusable="false">
      {SHAPES[picture]}
    </svg>
  );
}
