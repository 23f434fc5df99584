import { expect, test } from 'vitest';
import { placeOf } from '../src/app/placeOf';

test.each([
  ['', { page: 'network' }],
  ['network', { page: 'network' }],
  ['network/kraken', { page: 'exchange', name: 'kraken' }],
  ['network/kraken/more', { page: 'nowhere' }],
  ['notifications', { page: 'notifications' }],
  ['notifications/', { page: 'notifications' }],
  ['notifications/ops', { page: 'nowhere' }],
  ['commands', { page: 'nowhere' }],
])('%s is %o', (path, place) => {
  expect(placeOf(path)).toEqual(place);
});
