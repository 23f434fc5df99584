/** A question across the page: nothing else can be done until it is answered or left. */

import { type ReactNode, useLayoutEffect, useRef } from 'react';
import './dialog.css';

type Shown = { /** The id of its heading. */ titleId: string; close: () => void; children: ReactNode };

/** Open as long as it stands. Escape leaves it; the focus goes back to where it came from. */
export function Dialog({ titleId, close, children }: Shown): ReactNode {
  const dialog = useRef<HTMLDialogElement>(null);
  useLayoutEffect(() => {
    const shown = dialog.current;
    shown?.showModal();
    return () => shown?.close();
  }, []);
  return (
    <dialog
      ref={dialog}
      className="dialog"
      aria-labelledby={titleId}
      onCancel={(event) => {
        event.preventDefault();
        close();
      }}
    >
      {children}
    </dialog>
  );
}
