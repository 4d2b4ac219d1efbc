// All workers, by host.

import { badge, bar, card, el, setAttr, setText } from '../dom.js';
import { MOST_WORKERS, need, trouble } from '../fleet.js';
import { ago, clip, clock, count, plural, shortEngine, shortWorker } from '../format.js';
import { now, state } from '../live.js';
import { pagedTable, sorted } from '../table.js';
import { outOf, sandboxOf, workerTone } from '../words.js';
import { badgeCell, choice, notice, primaryCell, remember, textFilter } from './parts.js';

export const title = 'Workers';

/** Hosts are folded at first if there are more, unless something is wrong there. */
const UNFOLDED = 12;
const STATES = [
  ['', 'all'], ['problem', 'with a problem'], ['available', 'available'], ['suspect', 'suspect'], ['paused', 'paused'],
  ['draining', 'draining'], ['trouble', 'in trouble'], ['insecure', 'insecure sandbox'],
];

const byName = new Intl.Collator('en', { numeric: true });
const isProblem = (worker) => worker.state !== 'available' || worker.secure !== true || Boolean(worker.trouble);

function matches(worker, filter) {
  if (filter.kind && worker.kind !== filter.kind) return false;
  if (filter.engine && worker.engine !== filter.engine) return false;
  if (filter.state === 'problem' ? !isProblem(worker)
    : filter.state === 'insecure' ? worker.secure === true
      : filter.state === 'trouble' ? !worker.trouble
        : filter.state && worker.state !== filter.state) return false;
  if (!filter.text) return true;
  return `${worker.host}\n${worker.id}\n${worker.version}\n${worker.engine}`.toLowerCase().includes(filter.text.toLowerCase());
}

/** Whether rows stand beneath the row of their host, which then has its name. */
const grouped = { byHost: true };

const COLUMNS = [
  {
    id: 'id', label: 'Worker', primary: true, sort: (w) => w.id,
    make(cell) {
      const set = primaryCell(cell, false);
      return (w) => set({
        text: shortWorker(w.id), title: w.id,
        beneath: [w.kind, grouped.byHost ? null : w.host, shortEngine(w.engine), w.version].filter(Boolean).join(' · '),
      });
    },
  },
  {
    id: 'kind', label: 'Kind', tier: 3, short: true, sort: (w) => w.kind,
    make: (cell) => (w) => setText(cell, w.kind),
  },
  {
    id: 'state', label: 'State', sort: (w) => w.state,
    make(cell) {
      const set = badgeCell(cell);
      return (w) => set(w.state, workerTone(w), w.trouble ?? '');
    },
  },
  {
    id: 'slots', label: 'Slots', numeric: true, sort: (w) => w.running / Math.max(w.slots, 1),
    make(cell) {
      const level = bar();
      const text = el('span', { class: 'value' });
      cell.classList.add('level');
      cell.append(level.node, text);
      return (w) => {
        level.update(w.slots > 0 ? w.running / w.slots : 0, 'accent');
        setText(text, [outOf(w.running, w.slots), w.staged > 0 ? `${count(w.staged)} staged` : null, w.fetching > 0 ? `${count(w.fetching)} fetching` : null].filter(Boolean).join(', '));
      };
    },
  },
  {
    id: 'sandbox', label: 'Sandbox', sort: (w) => sandboxOf(w).text,
    make(cell) {
      const set = badgeCell(cell);
      return (w) => {
        const sandbox = sandboxOf(w);
        set(sandbox.text, sandbox.tone, sandbox.missing.length ? `missing: ${sandbox.missing.join('; ')}` : '');
      };
    },
  },
  {
    id: 'engine', label: 'Engine', tier: 2, short: true, sort: (w) => w.engine,
    make: (cell) => {
      cell.classList.add('mono');
      return (w) => {
        setText(cell, shortEngine(w.engine));
        setAttr(cell, 'title', w.engine);
      };
    },
  },
  { id: 'version', label: 'Version', tier: 3, short: true, sort: (w) => w.version, make: (cell) => (w) => setText(cell, w.version) },
  {
    id: 'heard', label: 'Heard', tier: 2, numeric: true, sort: (w) => w.heard_ms_ago,
    make: (cell) => (w) => {
      // As of the answer: heartbeats come every second, the list every five.
      setText(cell, w.heard_ms_ago < 1000 ? 'under 1 s' : ago(w.heard_ms_ago));
      setAttr(cell, 'data-tone', w.heard_ms_ago > 3000 ? 'bad' : null);
    },
  },
  {
    id: 'joined', label: 'Joined', tier: 2, numeric: true, sort: (w) => w.joined_ms,
    make: (cell) => (w) => {
      setText(cell, ago(now() - w.joined_ms));
      setAttr(cell, 'title', clock(w.joined_ms));
    },
  },
];

/** The row of a host: a button that shows its workers, and their sum. */
function hostRow(toggle) {
  return {
    is: (row) => row.host !== undefined && row.workers !== undefined,
    make(cell) {
      const fold = el('span', { class: 'fold', 'aria-hidden': 'true' });
      const name = el('span', { class: 'name' });
      let host = null;
      const button = el('button', { type: 'button', class: 'host', click: () => toggle(host) }, fold, name);
      const workers = el('span', { class: 'muted' });
      const level = bar();
      const slots = el('span', { class: 'muted' });
      const marks = [badge(), badge(), badge()];
      cell.append(el('div', { class: 'hostline' }, button, workers, el('span', { class: 'meter' }, level.node, slots), ...marks.map(({ node }) => node)));
      return (row) => {
        host = row.host;
        setText(name, row.host);
        setText(fold, row.open ? '▾' : '▸');
        setAttr(button, 'aria-expanded', String(row.open));
        setText(workers, row.summary.text);
        level.update(row.summary.slots > 0 ? row.summary.running / row.summary.slots : 0, 'accent');
        setText(slots, `${outOf(row.summary.running, row.summary.slots)} slots`);
        marks.forEach((mark, n) => mark.update(...(row.summary.marks[n] ?? ['', 'plain'])));
      };
    },
  };
}

function summary(workers) {
  const sum = (value) => workers.reduce((all, worker) => all + value(worker), 0);
  const number = (is) => workers.filter(is).length;
  const states = ['paused', 'suspect', 'draining'].map((name) => [number((w) => w.state === name), name, workerTone({ state: name })]);
  const all = [...states, [number((w) => w.secure !== true), 'insecure', 'bad'], [number((w) => w.trouble && w.state === 'available'), 'in trouble', 'warn']];
  const versions = new Set(workers.map((worker) => worker.version));
  return {
    slots: sum((w) => w.slots), running: sum((w) => w.running),
    text: `${plural(workers.length, 'worker')}, version ${[...versions].slice(0, 3).map((version) => clip(version, 24)).join(' and ')}`,
    marks: all.filter(([n]) => n > 0).map(([n, name, tone]) => [`${n} ${name}`, tone]).slice(0, 3),
  };
}

export function mount(root, parameters) {
  need({ workersMs: 5_000 });
  const filter = { text: parameters.get('text') ?? parameters.get('host') ?? '', kind: parameters.get('kind') ?? '', state: parameters.get('state') ?? '', engine: parameters.get('engine') ?? '' };
  grouped.byHost = parameters.get('by') !== 'worker';
  const opened = new Map();
  let shown = null;
  let rows = [];

  const table = pagedTable({
    caption: 'Workers', columns: COLUMNS, key: (row) => (row.workers ? `host ${row.host}` : row.id), empty: 'No worker matches.',
    sorting: { id: 'id', descending: false }, onSort: () => refresh(), group: hostRow((host) => {
      opened.set(host, !isOpen(host));
      refresh();
    }),
  });
  const filtered = () => {
    table.first();
    remember('workers', { ...filter, by: grouped.byHost ? '' : 'worker' });
    refresh();
  };
  const set = (name) => (value) => {
    filter[name] = value;
    filtered();
  };
  const engines = choice('Engine', [['', 'all']], '', set('engine'));
  const grouping = el('input', {
    type: 'checkbox', checked: grouped.byHost,
    change: () => {
      grouped.byHost = grouping.checked;
      filtered();
    },
  });
  const sum = el('span', { class: 'sum' });
  const message = notice();
  const view = card('By host', el('div', { class: 'filters' },
    textFilter('Host, id or version', filter.text, set('text')).node,
    choice('Kind', [['', 'all'], ['execute', 'execute'], ['prepare', 'prepare']], filter.kind, set('kind')).node,
    choice('State', STATES, filter.state, set('state')).node, engines.node,
    el('label', { class: 'check' }, grouping, 'Group by host')), message.node, table.node);
  const heading = view.firstChild;
  heading.append(sum);
  root.append(view);

  function isOpen(host) {
    return opened.get(host) ?? unfolded.has(host);
  }

  let unfolded = new Set();

  /** Sorts and groups anew. Between the answers only ages change, and those need no new order. */
  function refresh() {
    const all = state.workers?.list ?? [];
    const list = sorted(all.filter((worker) => matches(worker, filter)), COLUMNS, table.sorting);
    setText(sum, list.length === all.length ? plural(all.length, 'worker') : `${outOf(list.length, all.length)} workers`);
    if (!grouped.byHost) rows = list;
    else {
      const hosts = new Map();
      for (const worker of list) {
        if (!hosts.has(worker.host)) hosts.set(worker.host, []);
        hosts.get(worker.host).push(worker);
      }
      const few = hosts.size <= UNFOLDED;
      unfolded = new Set([...hosts].filter(([, workers]) => few || workers.some(isProblem)).map(([host]) => host));
      rows = [];
      // Hosts with a problem come first; then by name, or as the first worker of each in the order of another column.
      const problems = ([, workers]) => (workers.some(isProblem) ? 0 : 1);
      const order = table.sorting.id !== 'id' ? () => 0
        : ([a], [b]) => (table.sorting.descending ? -1 : 1) * byName.compare(a, b);
      for (const [host, workers] of [...hosts].sort((a, b) => problems(a) - problems(b) || order(a, b))) {
        const open = isOpen(host);
        rows.push({ host, workers, open, summary: summary(workers) });
        if (open) rows.push(...workers);
      }
    }
    setText(heading.firstChild, grouped.byHost ? 'By host' : 'All workers');
    table.update(rows);
  }

  function updateEngines(list) {
    const names = [...new Set(list.map((worker) => worker.engine))].sort();
    if (filter.engine && !names.includes(filter.engine)) names.push(filter.engine);
    const before = [...engines.select.options].slice(1).map((option) => option.value);
    if (names.join('\n') === before.join('\n')) return;
    engines.select.replaceChildren(el('option', { value: '' }, 'all'), ...names.map((name) => el('option', { value: name }, shortEngine(name))));
    engines.select.value = filter.engine;
  }

  return {
    update() {
      const more = (state.workers?.total ?? 0) > MOST_WORKERS ? `${count(state.workers.total)} workers are registered; ${count(MOST_WORKERS)} are shown.` : '';
      message.update(trouble.workers || more);
      if (!state.workers) return;
      table.emptyText(state.workers.list.length ? 'No worker matches.' : 'No worker is registered. Start some with “pvf up”, or see docs/operate/deploy.md.');
      if (state.workers !== shown) {
        shown = state.workers;
        updateEngines(shown.list);
        refresh();
      } else table.update(rows);
    },
    end() {},
  };
}
