/** Which kind of network this is: the server says it in the page itself, so it is known before any answer. */

/** Whether the exchanges are simulated, which every page says. */
export const IS_SIMULATED = document.documentElement.hasAttribute('data-simulated');
