/** The Admin UI: START HERE. */

import './ui/tokens.css';
import './ui/base.css';
import { QueryClientProvider } from '@tanstack/react-query';
import { StrictMode } from 'react';
import { createRoot } from 'react-dom/client';
import { newQueries } from './api/queries';
import { App } from './app/App';
import { LiveView } from './app/live';
import { Preferences } from './app/preferences';

const root = document.getElementById('root');
if (root) {
  createRoot(root).render(
    <StrictMode>
      <QueryClientProvider client={newQueries()}>
        <Preferences>
          <LiveView>
            <App />
          </LiveView>
        </Preferences>
      </QueryClientProvider>
    </StrictMode>,
  );
}
