/** Why the view is not live, in the words of the page. */

import type { Fault } from '../api/client';

export const FAULT_WORDS: Record<Fault, string> = {
  store: 'The store cannot be read. That says nothing about the exchanges.',
  server: 'Perseus does not answer. That says nothing about the exchanges.',
  session: 'You are not signed in any more.',
  rights: 'You may not see the network. Ask an owner of this Perseus.',
  busy: 'Too many requests came from this address. Perseus is asked again in a moment.',
  input: 'Perseus and this page do not understand each other. Load the page anew.',
  bug: 'Perseus failed to answer.',
};
