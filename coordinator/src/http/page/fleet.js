// The lists that more than one view needs: all workers, the artifacts that could not be prepared, the history.

import { Poller } from './poll.js';
import { changed, onWorkersChanged, state } from './live.js';

/** The most workers that are asked for. */
export const MOST_WORKERS = 10_000;
/** After an event about a worker the list is asked for again, at most this often: a rack that goes is many events. */
const AFTER_EVENT_MS = 3_000;

/** Why the last request for the workers failed; empty if it did not. */
export const trouble = { workers: '', history: '' };

const workers = new Poller({
  path: () => `api/workers?limit=${MOST_WORKERS}`,
  everyMs: Infinity,
  data: (answer) => {
    state.workers = { at_ms: answer.at_ms, total: answer.total, list: answer.workers ?? [] };
    trouble.workers = '';
    changed();
  },
  failed: (error) => {
    trouble.workers = `The list of workers could not be read: ${error.message}`;
    changed();
  },
});

const failed = new Poller({
  path: () => 'api/artifacts?state=failed&limit=20',
  everyMs: Infinity,
  data: (answer) => {
    state.failed = { total: answer.total, list: answer.artifacts ?? [] };
    changed();
  },
});

const history = new Poller({
  path: () => 'api/history',
  everyMs: 10_000,
  data: (answer) => {
    state.samples = { interval_ms: answer.interval_ms, list: answer.samples ?? [] };
    trouble.history = '';
    changed();
  },
  failed: (error) => {
    trouble.history = `The history could not be read: ${error.message}`;
    changed();
  },
});

let asked = 0;
let later = null;

/** Starts what every view needs: what needs attention is counted in all of them. The lists are asked for once, and
 * again when an event says that they changed; the views that show them ask regularly. */
export function start() {
  workers.start();
  failed.start();
  onWorkersChanged(() => {
    if (later) return;
    later = setTimeout(() => {
      later = null;
      asked = Date.now();
      workers.refresh();
    }, Math.max(500, asked + AFTER_EVENT_MS - Date.now()));
  });
}

/** How often the view that is shown now needs the lists. */
export function need({ workersMs = Infinity, failedMs = Infinity, withHistory = false }) {
  workers.every(workersMs);
  failed.every(failedMs);
  if (withHistory) history.start();
  else history.stop();
}
