/** Which page a path means. Pure. */

export type Place = { page: 'network' } | { page: 'exchange'; name: string } | { page: 'notifications' } | { page: 'nowhere' };

/** The page that a path below our base means. */
export function placeOf(path: string): Place {
  const [first = '', second, ...more] = path.split('/').filter((part) => part !== '');
  if (first === 'notifications' && second === undefined) return { page: 'notifications' };
  if (more.length > 0 || (first !== '' && first !== 'network')) return { page: 'nowhere' };
  return second === undefined ? { page: 'network' } : { page: 'exchange', name: second };
}
