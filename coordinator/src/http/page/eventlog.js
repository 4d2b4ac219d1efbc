// The events that this page has heard of, bounded. Verdicts are kept apart: there is one for each request, and they
// would push out everything else.

import { parse } from './net.js';

const MOST_NOTICES = 1000;
const MOST_VERDICTS = 500;
/** How long a lost worker is named as a problem if it does not come back. */
const LOST_FOR_MS = 15 * 60_000;

export class EventLog {
  notices = [];
  verdicts = [];
  /** Events that were not sent to the page, because too many happened at once. */
  dropped = 0;
  #numbered = 0;
  #lost = new Map();

  /** Takes an event of the stream. */
  add(kind, text) {
    this.#numbered += 1;
    if (kind === 'verdict') {
      // Parsed when it is shown: a busy fleet has hundreds a second.
      this.verdicts.push({ key: this.#numbered, kind, text, parsed: null });
      if (this.verdicts.length > 2 * MOST_VERDICTS) this.verdicts.splice(0, this.verdicts.length - MOST_VERDICTS);
      return null;
    }
    let data;
    try {
      data = parse(text);
    } catch {
      return null;
    }
    if (data === null || typeof data !== 'object') return null;
    if (Number.isFinite(data.dropped)) this.dropped += data.dropped;
    const event = { key: this.#numbered, kind, data };
    this.notices.push(event);
    if (this.notices.length > 2 * MOST_NOTICES) this.notices.splice(0, this.notices.length - MOST_NOTICES);
    this.#follow(event);
    return event;
  }

  #follow({ kind, data }) {
    if (kind === 'worker-lost') this.#lost.set(String(data.worker), data);
    if (kind !== 'worker-joined') return;
    // A worker that starts again has another id: the next of its kind and host stands for it.
    for (const [id, lost] of this.#lost) {
      if (id === data.worker || (lost.host === data.host && kindOf(id) === kindOf(data.worker))) {
        this.#lost.delete(id);
        break;
      }
    }
  }

  /** Workers that were lost and have not come back. */
  lost(now) {
    for (const [id, lost] of this.#lost) if (now - lost.at_ms > LOST_FOR_MS) this.#lost.delete(id);
    return [...this.#lost.values()];
  }

  /** Events of these kinds within the last `ms`, the newest first. */
  recent(kinds, ms, now) {
    return this.notices.filter(({ kind, data }) => kinds.includes(kind) && now - data.at_ms <= ms).reverse();
  }

  /** The newest verdicts, the newest first, parsed. */
  newestVerdicts(most) {
    return this.verdicts.slice(-most).reverse().map(parsed).filter((event) => event.data);
  }
}

function parsed(event) {
  if (event.text !== null) {
    try {
      event.data = parse(event.text);
    } catch {
      event.data = null;
    }
    event.text = null;
  }
  return event;
}

function kindOf(worker) {
  return String(worker).split('.', 1)[0];
}

const TONES = {
  'opinions-differ': 'bad', inconsistent: 'bad', 'worker-lost': 'bad', 'no-prepare-worker': 'bad',
  'execution-quarantined': 'bad', 'preparation-quarantined': 'bad', 'preparation-failed': 'bad', 'request-refused': 'bad',
  'worker-suspect': 'warn', 'worker-paused': 'warn', 'job-retried': 'warn', 'no-second-opinion': 'warn',
  'client-gone': 'warn', 'worker-told-to-drain': 'warn', 'job-not-adopted': 'warn',
  'worker-joined': 'good', 'worker-recovered': 'good', 'worker-resumed': 'good',
};

/** How much an event matters. */
export function eventTone({ kind, data }) {
  if (kind !== 'verdict') return TONES[kind] ?? 'plain';
  const outcome = String(data?.outcome ?? '');
  return outcome === 'valid' || outcome === 'ok' ? 'good' : outcome === 'invalid' ? 'warn' : 'bad';
}
