// The two queues by kind: how much waits, for how long, and which share of the dispatches each kind has.

import { bar, card, el, setAttr, setText } from '../dom.js';
import { age, count, plural } from '../format.js';
import { state, total } from '../live.js';

const EXECUTE = [['dispute', 'Dispute'], ['approval', 'Approval'], ['backing_system', 'Backing, system'], ['backing', 'Backing']];
const PREPARE = [['critical', 'Critical'], ['normal', 'Normal'], ['background', 'Background']];
/** From when on the oldest one of a kind stands out. */
const LATE_MS = { dispute: 1000, approval: 5000, critical: 30_000 };

function row(key, label, withShares) {
  const level = bar();
  const waiting = el('span', { class: 'value' });
  const oldest = el('td', { class: 'number' });
  const share = withShares ? el('td', { class: 'number' }) : null;
  const selected = withShares ? el('td', { class: 'number', 'data-tier': 3 }) : null;
  const node = el('tr', {}, el('th', { scope: 'row' }, label),
    el('td', { class: 'number level' }, level.node, waiting), oldest, share, selected);
  return {
    key,
    node,
    update({ queued, most, oldestMs, percent, dispatched }) {
      setText(waiting, count(queued));
      level.update(most > 0 ? queued / most : 0, queued > 0 ? 'accent' : 'plain');
      setText(oldest, Number.isFinite(oldestMs) ? (oldestMs < 1000 ? 'under 1 s' : age(oldestMs)) : '–');
      setAttr(oldest, 'data-tone', oldestMs > (LATE_MS[key] ?? Infinity) ? 'bad' : null);
      if (share) setText(share, Number.isFinite(percent) ? `${percent} %` : '–');
      if (selected) setText(selected, count(dispatched));
    },
  };
}

function queue(title, kinds, heads, withShares) {
  const rows = kinds.map(([key, label]) => row(key, label, withShares));
  const sum = el('span', { class: 'sum' });
  const note = el('p', { class: 'note' });
  const node = card(title, el('div', { class: 'scroller' }, el('table', { class: 'queue' }, el('caption', { class: 'unseen' }, `${title} by kind`),
    el('thead', {}, el('tr', {}, ...heads.map((head, n) => el('th', { scope: 'col', class: n ? 'number' : null, 'data-tier': n === 4 ? 3 : null }, head)))),
    el('tbody', {}, ...rows.map((one) => one.node)))), note);
  node.firstChild.append(sum);
  return { node, rows, sum, note };
}

export function queues() {
  const execute = queue('Execute queue', EXECUTE, ['Kind', 'Waiting', 'Oldest', 'Share', 'Dispatched'], true);
  const prepare = queue('Prepare queue', PREPARE, ['Priority', 'Waiting', 'Oldest'], false);
  setText(prepare.note, 'Critical: for disputes and approvals. Normal: for backing and prechecks. Background: heads-ups.');
  return {
    node: el('div', { class: 'columns' }, execute.node, prepare.node),
    update() {
      const { status } = state;
      if (!status) return;
      for (const [shown, queued, oldest] of [
        [execute, status.execute_queue ?? {}, status.execute_oldest_ms ?? {}],
        [prepare, status.prepare_queue ?? {}, status.prepare_oldest_ms ?? {}],
      ]) {
        const most = Math.max(1, ...Object.values(queued).filter(Number.isFinite));
        for (const one of shown.rows) {
          one.update({
            queued: queued[one.key] ?? 0, most, oldestMs: oldest[one.key],
            percent: status.shares?.percent?.[one.key], dispatched: status.execute_selected?.[one.key],
          });
        }
        setText(shown.sum, `${count(total(queued))} waiting`);
      }
      const window = status.shares?.window;
      setText(execute.note, Number.isFinite(window)
        ? `Share: of the last ${plural(window, 'dispatch', 'dispatches')} of an engine, those of a kind may be this part of those of it and all less urgent kinds, before less urgent ones go first.`
        : '');
    },
  };
}
