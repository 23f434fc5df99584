/** What is observed of an exchange, in a glyph and a word. */

import type { ReactNode } from 'react';
import { Glyph, type Picture } from '../ui/Glyph';

/** `word` stands beside the picture of its look. */
export function Badge({ look, word }: { look: Picture; word: string }): ReactNode {
  return (
    <span className="badge" data-look={look}>
      <Glyph picture={look} />
      {word}
    </span>
  );
}
