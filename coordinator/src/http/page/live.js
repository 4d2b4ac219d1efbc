// What the page knows of the fleet, kept up to date by the stream of events. Views read `state` and are told when it
// changed, at most once a frame and never while the page is hidden.

import { EventLog } from './eventlog.js';
import { ApiError, getJson, parse, readEvents } from './net.js';

export const state = {
  /** 'connecting', 'live', 'down' or 'standby'. */
  link: 'connecting',
  /** Since when it is down, by this browser's clock. */
  since: null,
  /** Why it is down, or what the standby says. */
  why: '',
  /** The last status. */
  status: null,
  /** Counters of the status of the last minute, for rates. */
  ticks: [],
  /** When another coordinator took over while the page was open. */
  takeover: null,
  events: new EventLog(),
  /** All workers, `{at_ms, total, list}`; null before the first answer. */
  workers: null,
  /** Artifacts that could not be prepared, `{total, list}`. */
  failed: null,
  /** Samples of the history. */
  samples: null,
};

/** Nothing was heard for this long: what is shown is old. */
const SILENT_MS = 5_000;
/** Nothing was heard for this long: the connection is given up, and made again. */
const GIVEN_UP_MS = 15_000;
const TICKS_MS = 65_000;
const FIRST_RETRY_MS = 1_000;
const LAST_RETRY_MS = 8_000;

const listeners = new Set();
const connected = new Set();
const hidden = new Set();
let due = false;
let heardAt = 0;
let skew = 0;
let lastEventId = null;
let lastEventToken = null;
let stop = null;
let wake = null;

/** Calls the function after changes. Returns what ends that. */
export function subscribe(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/** Calls the function each time the page is connected (again). */
export function onConnected(listener) {
  connected.add(listener);
}

/** Calls the function once a second while the page is hidden: the title of its tab is seen then. */
export function whileHidden(listener) {
  hidden.add(listener);
}

/** The time by the coordinator's clock, which all its times are by. */
export function now() {
  return Date.now() + skew;
}

/** Tells the views, at the next frame. */
export function changed() {
  if (due) return;
  due = true;
  requestAnimationFrame(() => {
    due = false;
    if (!document.hidden) for (const listener of [...listeners]) listener(state);
  });
}

export function tryNow() {
  wake?.();
}

/** Connects, and stays connected. */
export async function run() {
  setInterval(watch, 1000);
  document.addEventListener('visibilitychange', () => {
    // A frame is not drawn while the page is hidden, so what changed since is told now.
    if (!document.hidden) changed();
  });
  for (let wait = FIRST_RETRY_MS; ; wait = Math.min(wait * 2, LAST_RETRY_MS)) {
    try {
      take(await getJson('api/status'));
      if (await stream()) wait = FIRST_RETRY_MS;
      down('the coordinator ended the connection');
    } catch (error) {
      if (error.standby) standby(error.message);
      else down(error.name === 'AbortError' ? `nothing was heard for ${GIVEN_UP_MS / 1000} s` : reason(error));
    }
    await pause(state.link === 'standby' ? 2000 : wait);
  }
}

function reason(error) {
  return error instanceof TypeError ? 'the coordinator cannot be reached' : error.message;
}

function pause(ms) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    wake = () => {
      clearTimeout(timer);
      resolve();
    };
  });
}

/** Reads the stream to its end. Returns whether anything came. */
async function stream() {
  const controller = new AbortController();
  let given = null;
  stop = (why = null) => {
    given = why;
    controller.abort();
  };
  const token = state.status?.token ?? null;
  // The ids of another coordinator's events say nothing to this one: it tells all that it has kept.
  const after = token === lastEventToken && lastEventId !== null ? lastEventId : '0';
  lastEventToken = token;
  let any = false;
  try {
    await readEvents('api/events?overview=1', after, controller.signal, {
      opened: () => up(),
      heard: () => {
        heardAt = Date.now();
        any = true;
        if (state.link === 'down') up();
      },
      message: ({ id, event, data }) => {
        if (id !== null) lastEventId = id;
        if (event === 'overview') overview(data);
        else if (event === 'missed') missed(data);
        else {
          const told = state.events.add(event, data);
          if (told && event.startsWith('worker-')) workersChanged();
          changed();
        }
      },
    });
  } catch (error) {
    throw given ?? error;
  } finally {
    stop = null;
  }
  return any;
}

function overview(data) {
  let status;
  try {
    status = parse(data);
  } catch {
    return;
  }
  // A coordinator that has lost the lease says so, and keeps the stream.
  if (status?.standby) {
    stop?.(new ApiError(String(status.error ?? ''), 503, true));
    return;
  }
  if (!status || !Number.isFinite(status.at_ms)) return;
  // The counters and the first workers are those of the last full status.
  take({ ...state.status, ...status });
}

/** The page has read more slowly than events happened. */
function missed(data) {
  try {
    state.events.dropped += Number(parse(data).missed) || 0;
  } catch {
    // Without a number there is nothing to add.
  }
  changed();
}

function take(status) {
  if (!status || typeof status !== 'object') return;
  const former = state.status;
  if (Number.isFinite(status.at_ms)) skew = status.at_ms - Date.now();
  if (former && former.token !== status.token) {
    state.takeover = { at_ms: status.at_ms, from: former.token };
    state.ticks = [];
    state.samples = null;
  }
  state.status = status;
  state.ticks.push({
    at_ms: status.at_ms, executed: status.executed, prepared: status.prepared, overloaded: status.overloaded,
    waiting: total(status.execute_queue),
  });
  while (state.ticks.length && status.at_ms - state.ticks[0].at_ms > TICKS_MS) state.ticks.shift();
  changed();
}

/** The sum of the numbers of an object. */
export function total(numbers) {
  return Object.values(numbers ?? {}).reduce((sum, n) => sum + (Number.isFinite(n) ? n : 0), 0);
}

/** By how much a counter has grown within the last `ms`, and in how long; null before the second status. */
export function growth(counter, ms) {
  const last = state.ticks.at(-1);
  const first = state.ticks.find((tick) => last.at_ms - tick.at_ms <= ms);
  if (!last || !first || last.at_ms <= first.at_ms) return null;
  return { by: Math.max(0, last[counter] - first[counter]), ms: last.at_ms - first.at_ms };
}

function up() {
  heardAt = Date.now();
  if (state.link !== 'live') {
    state.link = 'live';
    state.since = null;
    state.why = '';
    for (const listener of connected) listener();
  }
  changed();
}

function down(why) {
  if (state.link !== 'down') {
    state.since = state.link === 'live' && heardAt ? heardAt : Date.now();
    state.link = 'down';
  }
  state.why = why;
  changed();
}

function standby(why) {
  state.link = 'standby';
  state.since ??= Date.now();
  state.why = why;
  changed();
}

/** A connection can be dead without an end: the coordinator sends something every second. */
function watch() {
  if (document.hidden) for (const listener of hidden) listener();
  const silent = Date.now() - heardAt;
  if (stop && silent > GIVEN_UP_MS) stop(null);
  else if (state.link === 'live' && silent > SILENT_MS) down('nothing is heard of the coordinator');
  else if (state.link !== 'live') changed();
}

let workersChanged = () => {};

/** Sets what is done when an event says that something about a worker changed. */
export function onWorkersChanged(listener) {
  workersChanged = listener;
}
