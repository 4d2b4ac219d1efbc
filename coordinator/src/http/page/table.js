// A table of many rows: it is shown in pages, rows keep their element from one update to the next, and only cells whose
// text changed are touched. So the size of the page does not depend on the size of the fleet.

import { el, setAttr, setChildren, setHidden, setText } from './dom.js';
import { count } from './format.js';

/** Rows on one page. */
export const PAGE_ROWS = 50;

/**
 * Columns: `{id, label, sort, tier, numeric, short, primary, make}`. `make(cell)` fills a new cell and returns the function
 * that updates it for a row. `sort(row)` is the value to sort by. Columns of tier 3 are hidden on phones, those of tier
 * 2 on every narrow screen. A `short` one stays on one line.
 *
 * `group` (`{is(row), make(cell)}`) makes rows that span all columns. `key(row)` names a row.
 */
export function pagedTable({ caption, columns, key, empty, group = null, sorting = null, onSort = () => {}, rows: perPage = PAGE_ROWS }) {
  let rows = [];
  let page = 0;
  let sort = sorting;
  const kept = new Map();
  // The roles are those that the elements have anyway: on phones rows are blocks, and some browsers forget them then.
  const body = el('tbody', { role: 'rowgroup' });
  const heads = columns.map((column) => head(column));
  const table = el('table', { role: 'table' }, el('caption', { class: 'unseen' }, caption),
    el('thead', { role: 'rowgroup' }, el('tr', { role: 'row' }, ...heads.map(({ node }) => node))), body);
  const nothing = el('p', { class: 'nothing' }, empty);
  const scroller = el('div', { class: 'scroller' }, table);
  const pager = makePager((to) => {
    if (to < 0 || to * perPage >= rows.length) return;
    page = to;
    draw();
    scroller.scrollIntoView({ block: 'nearest' });
  });
  const node = el('div', { class: 'paged' }, scroller, nothing, pager.node);

  function head(column) {
    const cell = el('th', { scope: 'col', role: 'columnheader', 'data-tier': column.tier, class: column.numeric ? 'number' : null });
    if (!column.sort) {
      cell.append(column.label);
      return { node: cell, update() {} };
    }
    const mark = el('span', { class: 'mark', 'aria-hidden': 'true' });
    cell.append(el('button', {
      type: 'button', class: 'sort',
      click() {
        // The first press shows the largest numbers, or the first names; the next ones the other way round.
        const descending = sort?.id === column.id ? !sort.descending : Boolean(column.numeric);
        sort = { id: column.id, descending };
        page = 0;
        onSort(sort);
        draw();
      },
    }, column.label, mark));
    return {
      node: cell,
      update() {
        const here = sort?.id === column.id;
        setAttr(cell, 'aria-sort', here ? (sort.descending ? 'descending' : 'ascending') : 'none');
        setText(mark, here ? (sort.descending ? '▾' : '▴') : '');
      },
    };
  }

  function makeRow(row) {
    if (group?.is(row)) {
      const cell = el('th', { scope: 'rowgroup', role: 'rowheader', colspan: columns.length });
      return { node: el('tr', { class: 'group', role: 'row' }, cell), updates: [group.make(cell)] };
    }
    const updates = [];
    const cells = columns.map((column) => {
      const attributes = { 'data-tier': column.tier, class: column.numeric ? 'number' : column.primary ? 'primary' : column.short ? 'short' : null };
      const cell = column.primary ? el('th', { scope: 'row', role: 'rowheader', ...attributes })
        : el('td', { role: 'cell', 'data-label': column.label, ...attributes });
      updates.push(column.make(cell));
      return cell;
    });
    return { node: el('tr', { role: 'row' }, ...cells), updates };
  }

  function draw() {
    const pages = Math.max(1, Math.ceil(rows.length / perPage));
    page = Math.min(page, pages - 1);
    const children = [];
    const seen = new Set();
    for (const row of rows.slice(page * perPage, (page + 1) * perPage)) {
      const id = key(row);
      if (seen.has(id)) continue;
      seen.add(id);
      let shown = kept.get(id);
      if (!shown) kept.set(id, (shown = makeRow(row)));
      for (const update of shown.updates) update(row);
      children.push(shown.node);
    }
    for (const id of kept.keys()) if (!seen.has(id)) kept.delete(id);
    setChildren(body, children);
    for (const { update } of heads) update();
    setHidden(scroller, rows.length === 0);
    setHidden(nothing, rows.length > 0);
    pager.update(page, pages, rows.length, perPage);
  }

  return {
    node,
    /** The order that the reader has chosen, `{id, descending}`. */
    get sorting() { return sort; },
    /** Shows these rows, which are in their order. */
    update(all) {
      rows = all;
      draw();
    },
    /** Goes to the first page, where what is shown is something else from now on. */
    first() { page = 0; },
    emptyText(text) { setText(nothing, text); },
  };
}

function makePager(go) {
  let page = 0;
  const where = el('span', { role: 'status' });
  const before = el('button', { type: 'button', click: () => go(page - 1) }, 'Previous');
  const after = el('button', { type: 'button', click: () => go(page + 1) }, 'Next');
  const node = el('nav', { class: 'pager', 'aria-label': 'Pages of the table' }, before, where, after);
  return {
    node,
    update(at, pages, rows, perPage) {
      page = at;
      setHidden(node, pages <= 1);
      // Not `disabled`: the button would lose the focus when the last page is reached.
      for (const [button, ends] of [[before, at === 0], [after, at === pages - 1]]) {
        setAttr(button, 'aria-disabled', ends ? 'true' : null);
      }
      setText(where, `${count(at * perPage + 1)} to ${count(Math.min(rows, (at + 1) * perPage))} of ${count(rows)}`);
    },
  };
}

/** Sorts a copy by a column of a table. Equal rows stay in the order in which they were; absent values come last. */
export function sorted(rows, columns, sorting) {
  const value = columns.find((column) => column.id === sorting?.id)?.sort;
  if (!value) return rows;
  const sign = sorting.descending ? -1 : 1;
  const keyed = rows.map((row) => ({ row, at: value(row) }));
  const absent = (at) => at === null || at === undefined;
  keyed.sort((a, b) => {
    if (absent(a.at) || absent(b.at)) return absent(a.at) - absent(b.at);
    return a.at < b.at ? -sign : a.at > b.at ? sign : 0;
  });
  return keyed.map(({ row }) => row);
}
