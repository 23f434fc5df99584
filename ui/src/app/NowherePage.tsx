/** An address that is none of ours. */

import type { ReactNode } from 'react';
import { Link } from '../ui/Link';
import { addressOf } from './places';

/** Says so, and where to go. */
export function NowherePage(): ReactNode {
  return (
    <div className="panel">
      <h1 className="panel-title">There is no such page</h1>
      <p>Perseus has nothing at {location.pathname}.</p>
      <p><Link to={addressOf({ page: 'network' })} className="button button-main">Go to the network</Link></p>
    </div>
  );
}
