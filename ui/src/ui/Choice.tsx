/** One of a few, all of them in sight. */

import { type ReactNode, useId } from 'react';
import './choice.css';

type Shown<T extends string> = {
  name: string;
  chosen: T;
  choose: (choice: T) => void;
  choices: readonly (readonly [T, string])[];
};

/** Radio buttons that look like a switch. */
export function Choice<T extends string>({ name, chosen, choose, choices }: Shown<T>): ReactNode {
  const group = useId();
  return (
    <fieldset className="choice">
      <legend className="meta">{name}</legend>
      <div className="choice-row">
        {choices.map(([choice, label]) => (
          <label key={choice} className="choice-one">
            <input type="radio" className="unseen" name={group} checked={choice === chosen} onChange={() => choose(choice)} />
            <span>{label}</span>
          </label>
        ))}
      </div>
    </fieldset>
  );
}
