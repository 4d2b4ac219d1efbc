// Lists of requests: the open ones, the failed ones, the slowest, the latest.

import { card, el, setAttr, setText } from '../dom.js';
import { need } from '../fleet.js';
import { age, clip, count, duration, plural, shortId, shortWorker } from '../format.js';
import { changed, now } from '../live.js';
import { query } from '../net.js';
import { Poller } from '../poll.js';
import { pagedTable, sorted } from '../table.js';
import { compiled, nearest, outcomeTone, stateMeaning, workOf } from '../words.js';
import { badgeCell, choice, cpuMeter, moment, notice, partOf, primaryCell, remember, tabs, textFilter, wholeHash } from './parts.js';

export const title = 'Requests';

const FEW = 200;
const MANY = 1000;
const SHOWS = [['open', 'Open'], ['failed', 'Failed or invalid'], ['slow', 'Slowest'], ['latest', 'Latest']];
const KINDS = [['', 'all'], ['dispute', 'dispute'], ['approval', 'approval'], ['backing-system', 'backing, system'], ['backing', 'backing']];
const EMPTY = {
  open: 'No request is open.',
  failed: 'No request has failed since this coordinator is active.',
  slow: 'No request has ended yet.',
  latest: 'No request is open, and none has ended yet. “pvf execute runtime.wasm --params params.scale” makes one.',
};

const KEPT = {
  open: '',
  failed: 'The last 200 that failed are kept.',
  slow: 'The 100 slowest of the last 30 minutes are kept.',
  latest: 'The last 1,000 that have ended are kept.',
};

const isOpen = (request) => request.state !== 'ended';
const place = (request) => (request.worker ? `${shortWorker(request.worker)}${request.host ? ` on ${request.host}` : ''}` : '');

const primary = {
  id: 'request', label: 'Request', primary: true,
  make(cell) {
    const set = primaryCell(cell, true);
    return (r) => set({
      text: shortId(r.request), title: r.request, href: `#/requests/${encodeURIComponent(r.request)}`,
      beneath: [workOf(r), isOpen(r) ? `attempt ${r.attempts}` : duration(r.total_ms), place(r)].filter(Boolean).join(' · '),
    });
  },
};
const kind = { id: 'kind', label: 'Kind', tier: 3, short: true, sort: workOf, make: (cell) => (r) => setText(cell, workOf(r)) };
const code = {
  id: 'code', label: 'Code', tier: 2, short: true, sort: (r) => r.code,
  make: (cell) => {
    cell.classList.add('mono');
    return (r) => {
      setText(cell, shortId(r.code));
      setAttr(cell, 'title', r.code);
    };
  },
};
const worker = {
  id: 'worker', label: 'Host', tier: 2, short: true, sort: (r) => r.host ?? r.worker,
  make: (cell) => (r) => {
    setText(cell, r.host ?? (r.worker ? shortWorker(r.worker) : '–'));
    setAttr(cell, 'title', place(r) || null);
  },
};
const number = (id, label, value, text, tier) => ({ id, label, tier, numeric: true, sort: value, make: (cell) => (r) => setText(cell, text(value(r))) });
const attempts = number('attempts', 'Attempts', (r) => r.attempts, count, 2);
const ms = (id, label, tier) => number(id, label, (r) => r[id], (n) => (Number.isFinite(n) ? duration(n) : '–'), tier);

const state = {
  id: 'state', label: 'State', sort: (r) => r.state ?? '',
  make(cell) {
    const set = badgeCell(cell);
    return (r) => {
      if (isOpen(r)) set(r.state, r.state === 'running' || r.state === 'preparing' ? 'info' : 'plain', compiled(r));
      else set(r.outcome, outcomeTone(r.outcome), clip(r.reason, 240));
      setAttr(cell, 'title', isOpen(r) ? stateMeaning(r.state) : r.reason);
    };
  },
};
const outcome = { ...state, id: 'outcome', label: 'Outcome and reason', sort: (r) => r.outcome ?? r.state };
const cpu = {
  id: 'cpu', label: 'CPU of limit', numeric: true, sort: (r) => nearest(r.usage)?.ratio ?? null,
  make(cell) {
    const meter = cpuMeter();
    cell.append(meter.node);
    return (r) => meter.update(nearest(r.usage));
  },
};
const ended = {
  id: 'ended', label: 'Ended', numeric: true, tier: 3, sort: (r) => r.ended_ms ?? null,
  make(cell) {
    const time = moment();
    cell.append(time.node);
    return (r) => time.update(r.ended_ms, now());
  },
};
const waited = number('waited', 'Waited', (r) => now() - r.arrived_ms, duration);
const left = number('left', 'Expires in', (r) => (Number.isFinite(r.deadline_ms) ? r.deadline_ms - now() : null), (n) => (n === null ? '–' : n <= 0 ? 'expired' : age(n)), 3);
const waiters = number('waiters', 'Clients', (r) => r.waiters, count, 2);

const TABLES = {
  open: [primary, kind, state, waited, left, worker, attempts, waiters, code],
  failed: [primary, kind, outcome, cpu, worker, attempts, { ...ms('total_ms', 'Total'), tier: 3 }, ended],
  slow: [primary, kind, outcome, ms('queued_ms', 'Queued', 2), ms('prepare_ms', 'Prepared', 2), ms('execute_ms', 'Executed', 2), ms('total_ms', 'Total'), cpu, worker, ended],
  latest: [primary, kind, outcome, { ...ms('total_ms', 'Total'), tier: 3 }, cpu, worker, ended],
};

/** The coordinator looks for users; a client is a user and a session. */
function user(client) {
  return client.includes('.') ? client.slice(0, client.lastIndexOf('.')) : client;
}

export function mount(root, parameters) {
  need({});
  const given = parameters.get('show') ?? '';
  const show = Object.hasOwn(TABLES, given) ? given : 'open';
  const filter = { kind: parameters.get('kind') ?? '', code: parameters.get('code') ?? '', client: parameters.get('client') ?? '' };
  let limit = FEW;
  let answer = null;
  const columns = TABLES[show];

  const poller = new Poller({
    path: () => `api/requests${query({ state: show === 'latest' ? '' : show, kind: filter.kind, code: wholeHash(filter.code), client: user(filter.client), limit })}`,
    everyMs: show === 'open' ? 2000 : 5000,
    data(body) {
      answer = body;
      message.update('');
      changed();
    },
    failed(error) {
      message.update(`The requests could not be read: ${error.message}`);
      changed();
    },
  });
  const table = pagedTable({
    caption: `${SHOWS.find(([id]) => id === show)[1]} requests`, columns, key: (r) => `${r.client} ${r.request} ${r.ended_ms ?? 'open'}`, empty: 'Reading …',
    onSort: () => update(),
  });
  const set = (name) => (value) => {
    filter[name] = value;
    table.first();
    remember('requests', { show, ...filter });
    poller.refresh();
  };
  const tab = tabs('Which requests', SHOWS.map(([id, text]) => [id, text, `#/requests?${new URLSearchParams({ show: id, ...(filter.kind && { kind: filter.kind }) })}`]));
  tab.update(show);
  const message = notice();
  const more = el('button', {
    type: 'button',
    click: () => {
      limit = MANY;
      more.remove();
      poller.refresh();
    },
  }, `Show up to ${count(MANY)}`);
  const sum = el('span');
  const below = el('p', { class: 'more' }, sum);
  const view = card(`${SHOWS.find(([id]) => id === show)[1]} requests`, el('div', { class: 'filters' },
    choice('Kind', KINDS, filter.kind, set('kind')).node,
    textFilter('Code', filter.code, set('code'), '0x…').node,
    textFilter('User or client', filter.client, set('client')).node), message.node, table.node, below);
  root.append(tab.node, view);
  poller.start();

  function update() {
    if (!answer) return;
    const all = answer.requests ?? [];
    const requests = all.filter((r) => partOf(r.code, filter.code) && (!filter.client.includes('.') || r.client === filter.client));
    table.emptyText(filter.kind || filter.code || filter.client ? 'No request matches.' : EMPTY[show]);
    table.update(sorted(requests, columns, table.sorting));
    const open = show === 'open' || show === 'latest' ? `${plural(answer.open_total ?? 0, 'request')} open${answer.complete === false ? ' of those that were looked at, which are not all' : ''}. ` : '';
    const part = filter.code && !wholeHash(filter.code) ? ' A part of a hash is looked for among those that are listed.' : '';
    setText(sum, `${open}${KEPT[show]}${part}`);
    const full = all.length >= limit && limit === FEW;
    if (full && !more.isConnected) below.append(more);
    else if (!full && more.isConnected) more.remove();
  }

  return {
    update,
    end: () => poller.stop(),
  };
}
