/** The theme, and the zone of times. */

import { type ReactNode, useContext } from 'react';
import { Choice } from '../ui/Choice';
import { ZoneShown } from '../ui/Moment';
import { usePreferences } from './preferences';

/** One choice below the other. */
export function PreferenceFields(): ReactNode {
  const { theme, setTheme, setZone } = usePreferences();
  const zone = useContext(ZoneShown);
  return (
    <>
      <Choice
        name="Theme"
        chosen={theme}
        choose={setTheme}
        choices={[['system', 'System'], ['light', 'Light'], ['dark', 'Dark']]}
      />
      <Choice name="Times" chosen={zone} choose={setZone} choices={[['local', 'Local'], ['utc', 'UTC']]} />
    </>
  );
}
