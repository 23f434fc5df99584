/** Why somebody cannot act on what is shown. Pure. */

const MAY_ACT: ReadonlySet<string> = new Set(['operator', 'owner']);

type Asked = {
  /** Null: not known yet; the server decides then. */
  role: string | null;
  isLost: boolean;
  isPaused: boolean;
};

/** A sentence; null: they can. */
export function whyNotOf({ role, isLost, isPaused }: Asked): string | null {
  if (role !== null && !MAY_ACT.has(role)) return `Needs the role operator; yours is ${role}.`;
  if (isLost) return 'Not while the live view is lost.';
  return isPaused ? 'Paused. Resume to act on what is so now.' : null;
}
