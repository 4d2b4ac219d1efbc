// The artifacts that the coordinator knows.

import { card, el, setAttr, setHidden, setText } from '../dom.js';
import { need } from '../fleet.js';
import { bytes, clip, count, shortEngine, shortId } from '../format.js';
import { changed, now, state } from '../live.js';
import { query } from '../net.js';
import { Poller } from '../poll.js';
import { pagedTable, sorted } from '../table.js';
import { artifactTone } from '../words.js';
import { badgeCell, choice, moment, notice, partOf, primaryCell, remember, textFilter, wholeHash } from './parts.js';

export const title = 'Artifacts';

const FEW = 1000;
const MANY = 10_000;
const STATES = ['listed', 'looking-up', 'preparing', 'prepared', 'failed', 'abandoned', 'dropping'];
const SORTS = [['last_used', 'used last'], ['bytes', 'largest']];

const COLUMNS = [
  {
    id: 'code', label: 'Code', primary: true, sort: (a) => a.code,
    make(cell) {
      const set = primaryCell(cell, false);
      return (a) => set({
        text: shortId(a.code), title: a.id,
        beneath: [bytes(a.bytes), shortEngine(a.engine)].join(' · '),
      });
    },
  },
  {
    id: 'state', label: 'State', sort: (a) => a.state,
    make(cell) {
      const set = badgeCell(cell);
      return (a) => {
        set(a.state, artifactTone(a), [a.pinned ? 'pinned: it is kept' : '', clip(a.error, 300)].filter(Boolean).join('; '));
        setAttr(cell, 'title', a.error);
      };
    },
  },
  { id: 'bytes', label: 'Size', tier: 3, numeric: true, sort: (a) => a.bytes, make: (cell) => (a) => setText(cell, a.bytes > 0 ? bytes(a.bytes) : '–') },
  {
    id: 'engine', label: 'Engine', tier: 3, short: true, sort: (a) => a.engine,
    make: (cell) => {
      cell.classList.add('mono');
      return (a) => {
        setText(cell, shortEngine(a.engine));
        setAttr(cell, 'title', a.engine);
      };
    },
  },
  {
    id: 'prep', label: 'Parameters', tier: 2, short: true, sort: (a) => a.prep,
    make: (cell) => {
      cell.classList.add('mono');
      return (a) => {
        setText(cell, shortId(a.prep));
        setAttr(cell, 'title', a.prep);
      };
    },
  },
  { id: 'holders', label: 'Workers', tier: 3, numeric: true, sort: (a) => a.holders, make: (cell) => (a) => setText(cell, count(a.holders)) },
  { id: 'users', label: 'Requests', tier: 2, numeric: true, sort: (a) => (a.users ?? 0) + (a.waiters ?? 0), make: (cell) => (a) => setText(cell, count((a.users ?? 0) + (a.waiters ?? 0))) },
  {
    id: 'used', label: 'Last use', numeric: true, sort: (a) => a.last_used_ms,
    make(cell) {
      const time = moment();
      cell.append(time.node);
      return (a) => time.update(a.last_used_ms, now());
    },
  },
];

export function mount(root, parameters) {
  need({});
  const filter = { state: parameters.get('state') ?? '', engine: parameters.get('engine') ?? '', code: parameters.get('code') ?? '', sort: parameters.get('sort') ?? 'last_used' };
  let limit = FEW;
  let answer = null;
  let isStale = true;
  let rows = [];

  const poller = new Poller({
    path: () => `api/artifacts${query({ ...filter, code: wholeHash(filter.code), limit })}`,
    everyMs: 15_000,
    data(body) {
      answer = body;
      isStale = true;
      // The whole list of a large fleet is some megabytes.
      poller.every(limit === MANY ? 60_000 : 15_000);
      message.update('');
      updateEngines();
      changed();
    },
    failed(error) {
      message.update(`The artifacts could not be read: ${error.message}`);
      changed();
    },
  });
  const table = pagedTable({
    caption: 'Artifacts', columns: COLUMNS, key: (a) => a.id, empty: 'Reading …',
    onSort: () => {
      isStale = true;
      update();
    },
  });
  const set = (name) => (value) => {
    filter[name] = value;
    isStale = true;
    table.first();
    remember('artifacts', { ...filter, sort: filter.sort === 'last_used' ? '' : filter.sort });
    poller.refresh();
  };
  const engines = choice('Engine', [['', 'all']], '', set('engine'));
  const message = notice();
  const sum = el('span', { class: 'sum' });
  const part = el('span');
  const more = el('button', {
    type: 'button',
    click: () => {
      limit = MANY;
      setHidden(more, true);
      poller.refresh();
    },
  }, `Load up to ${count(MANY)}`);
  const below = el('p', { class: 'more', hidden: true }, part, ' ', more);
  const view = card('Artifacts', el('div', { class: 'filters' },
    choice('State', [['', 'all'], ...STATES.map((name) => [name, name])], filter.state, set('state')).node,
    engines.node,
    textFilter('Code', filter.code, set('code'), '0x…').node,
    choice('Order', SORTS, filter.sort, set('sort')).node), message.node, below, table.node);
  view.firstChild.append(sum);
  root.append(view);
  poller.start();

  function updateEngines() {
    const seen = [...(answer?.artifacts ?? []).map((a) => a.engine), ...(state.workers?.list ?? []).map((w) => w.engine)];
    if (filter.engine) seen.push(filter.engine);
    const names = [...new Set(seen)].sort().slice(0, 100);
    const before = [...engines.select.options].slice(1).map((option) => option.value);
    if (names.join('\n') === before.join('\n')) return;
    engines.select.replaceChildren(el('option', { value: '' }, 'all'), ...names.map((name) => el('option', { value: name }, shortEngine(name))));
    engines.select.value = filter.engine;
  }

  function update() {
    if (!answer) return;
    const all = answer.artifacts ?? [];
    // Thousands of rows are sorted when they or their order changed, not each second.
    if (isStale) {
      isStale = false;
      rows = sorted(all.filter((a) => partOf(a.code, filter.code)), COLUMNS, table.sorting);
    }
    const filtered = filter.state || filter.engine || filter.code;
    table.emptyText(filtered ? 'No artifact matches.' : 'No artifact yet. The first request for a code has it prepared.');
    table.update(rows);
    setText(sum, `${answer.complete === false ? 'over ' : ''}${count(answer.total)}, ${bytes(answer.bytes)}`);
    const partly = all.length < answer.total;
    setHidden(below, !partly);
    setText(part, partly ? `The ${count(all.length)} ${filter.sort === 'bytes' ? 'largest' : 'that were used last'} of ${count(answer.total)} are listed; sorting and pages are among these.` : '');
  }

  return {
    update,
    end: () => poller.stop(),
  };
}
