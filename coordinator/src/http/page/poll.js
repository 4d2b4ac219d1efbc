// Polls what the stream of events does not have, while the view that shows it is visible.

import { getJson } from './net.js';
import { onConnected, state } from './live.js';

const active = new Set();

/** Asks again and again for one address. Only one request is under way at a time. */
export class Poller {
  #path;
  #everyMs;
  #data;
  #failed;
  #timer = null;
  #controller = null;
  #asked = null;
  #lastAt = 0;
  #missed = false;

  /** `path()` is the address, `everyMs` how long it waits after an answer (`Infinity`: it asks when it is told to),
   * `data(answer)` and `failed(error)` are told the answers. */
  constructor({ path, everyMs, data, failed = () => {} }) {
    this.#path = path;
    this.#everyMs = everyMs;
    this.#data = data;
    this.#failed = failed;
  }

  start() {
    active.add(this);
    this.refresh();
    return this;
  }

  stop() {
    active.delete(this);
    clearTimeout(this.#timer);
    this.#controller?.abort();
    this.#controller = null;
  }

  /** How often it asks from now on. */
  every(ms) {
    if (this.#everyMs === ms) return;
    this.#everyMs = ms;
    this.#plan();
  }

  /** Asks now; a request for another address that is under way is given up. */
  refresh() {
    clearTimeout(this.#timer);
    if (this.#path() !== this.#asked) {
      this.#controller?.abort();
      this.#controller = null;
    }
    this.#ask();
  }

  /** Asks now if it is time, or if it should have asked while the page was hidden. */
  resume() {
    if (this.#missed || Date.now() - this.#lastAt >= this.#everyMs) this.refresh();
    else this.#plan();
  }

  #plan() {
    clearTimeout(this.#timer);
    if (!active.has(this) || document.hidden || !Number.isFinite(this.#everyMs)) return;
    this.#timer = setTimeout(() => this.#ask(), Math.max(0, this.#lastAt + this.#everyMs - Date.now()));
  }

  async #ask() {
    if (this.#controller || !active.has(this) || state.link !== 'live') return;
    this.#missed = document.hidden;
    if (document.hidden) return;
    const controller = new AbortController();
    this.#controller = controller;
    this.#asked = this.#path();
    try {
      const answer = await getJson(this.#asked, controller.signal);
      if (this.#controller === controller) this.#data(answer);
    } catch (error) {
      if (this.#controller === controller) this.#failed(error);
    }
    if (this.#controller !== controller) return;
    this.#controller = null;
    this.#lastAt = Date.now();
    this.#plan();
  }
}

document.addEventListener('visibilitychange', () => {
  if (!document.hidden) for (const poller of active) poller.resume();
});

onConnected(() => {
  for (const poller of active) poller.refresh();
});
