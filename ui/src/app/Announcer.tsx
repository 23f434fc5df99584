/** What a screen reader says by itself: when the answer to "is anything wrong?" becomes another one, or somebody would not be told, and no more. */

import { type ReactNode, useEffect, useState } from 'react';
import { sentenceOf } from '../network/sentence';
import { verdictOf } from '../notifications/wording';
import { useLive } from './live';

const SETTLED_MS = 2500; // what lasts shorter is not worth interrupting anyone

/** A live region without durations, so that no second makes it speak. */
export function Announcer(): ReactNode {
  const { shown, link, pausedAt, alerts, incidents } = useLive();
  const sentence = shown && sentenceOf(shown.cards, 0, incidents.data?.incidents, false);
  const told = alerts.data && verdictOf(alerts.data);
  const untold = told !== null && told.look !== 'active' ? [told.word] : [];
  const says = link.kind === 'lost' ? 'Live view lost' : sentence && pausedAt === null ? [sentence.verdict, ...sentence.details, ...untold].join(', ') : null;
  const [said, setSaid] = useState('');
  useEffect(() => {
    if (says === null) return undefined;
    const timer = setTimeout(() => setSaid(says), SETTLED_MS);
    return () => clearTimeout(timer);
  }, [says]);
  return <output className="unseen">{said}</output>;
}
