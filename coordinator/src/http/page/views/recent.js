// The slowest and the failed requests and the last events, in short.

import { badge, card, el, keyedList, setAttr, setHidden, setText } from '../dom.js';
import { eventTone } from '../eventlog.js';
import { clip, duration, shortId } from '../format.js';
import { changed, now, state } from '../live.js';
import { Poller } from '../poll.js';
import { describe, nearest, outcomeTone, workOf } from '../words.js';
import { cpuMeter, moment } from './parts.js';

const MOST = 5;
const MOST_EVENTS = 8;

function requestItem() {
  const outcome = badge();
  const link = el('a', { class: 'mono' });
  const kind = el('span');
  const time = moment();
  const took = el('span');
  const meter = cpuMeter();
  const reason = el('p', { class: 'reason' });
  const node = el('li', {}, el('p', { class: 'line' }, outcome.node, link, kind, took, time.node), reason, meter.node);
  return {
    node,
    update(request) {
      outcome.update(request.outcome, outcomeTone(request.outcome));
      setText(link, shortId(request.request));
      setAttr(link, 'href', `#/requests/${encodeURIComponent(request.request)}`);
      setAttr(link, 'title', request.request);
      setText(kind, workOf(request));
      setText(took, duration(request.total_ms));
      time.update(request.ended_ms, now());
      const job = nearest(request.usage);
      setHidden(meter.node, !job);
      meter.update(job);
      setText(reason, clip(request.reason));
      setHidden(reason, !request.reason);
    },
  };
}

function requestList(title, show, empty) {
  const list = el('ul', { class: 'brief' });
  const update = keyedList(list, (request) => `${request.client} ${request.request} ${request.ended_ms}`, requestItem);
  const nothing = el('p', { class: 'nothing' }, empty);
  const node = card(title, list, nothing, el('p', { class: 'more' }, el('a', { href: `#/requests?show=${show}` }, show === 'slow' ? 'All slow requests' : 'All failed or invalid requests')));
  let requests = null;
  const poller = new Poller({
    path: () => `api/requests?state=${show}&limit=${MOST}`,
    everyMs: 10_000,
    data: (answer) => {
      requests = answer.requests ?? [];
      changed();
    },
  }).start();
  return {
    node,
    update() {
      update((requests ?? []).slice(0, MOST));
      setHidden(nothing, requests === null || requests.length > 0);
    },
    end: () => poller.stop(),
  };
}

function eventItem() {
  const kind = badge();
  const text = el('span', { class: 'text' });
  const time = moment();
  const node = el('li', {}, el('p', { class: 'line' }, kind.node, time.node), text);
  return {
    node,
    update(event) {
      kind.update(event.kind, eventTone(event));
      setText(text, describe(event));
      time.update(event.data.at_ms, now());
    },
  };
}

function events() {
  const list = el('ul', { class: 'brief' });
  const update = keyedList(list, (event) => event.key, eventItem);
  const nothing = el('p', { class: 'nothing' }, 'Nothing but verdicts has happened.');
  const node = card('Last events', list, nothing, el('p', { class: 'more' }, el('a', { href: '#/events' }, 'All events')));
  return {
    node,
    update() {
      const last = state.events.notices.slice(-MOST_EVENTS).reverse();
      update(last);
      setHidden(nothing, last.length > 0);
    },
  };
}

export function recent() {
  const parts = [
    requestList('Failed or invalid requests', 'failed', 'None among the requests that are kept.'),
    requestList('Slowest requests', 'slow', 'No request has ended yet.'),
    events(),
  ];
  return {
    node: el('div', { class: 'columns three' }, ...parts.map(({ node }) => node)),
    update() {
      for (const part of parts) part.update();
    },
    end() {
      for (const part of parts) part.end?.();
    },
  };
}
