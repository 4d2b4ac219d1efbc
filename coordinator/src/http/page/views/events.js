// What happened since the page was opened, and what the coordinator had kept before.

import { badge, card, el, setAttr, setHidden, setText } from '../dom.js';
import { eventTone } from '../eventlog.js';
import { need } from '../fleet.js';
import { clock, count, iso, plural, shortId } from '../format.js';
import { changed, state } from '../live.js';
import { pagedTable } from '../table.js';
import { describe } from '../words.js';
import { notice, remember, tabs, textFilter } from './parts.js';

export const title = 'Events';

/** Verdicts that are looked through: they are parsed when they are shown. */
const MOST_VERDICTS = 500;
const SHOWS = [['all', 'All but verdicts'], ['problems', 'Problems'], ['workers', 'Workers'], ['verdicts', 'Verdicts']];
const EMPTY = {
  all: 'Nothing but verdicts has happened since the page was opened.',
  problems: 'No problem was told since the page was opened.',
  workers: 'No worker has come or gone since the page was opened.',
  verdicts: 'No verdict since the page was opened.',
};

const COLUMNS = [
  {
    id: 'time', label: 'Time', primary: true,
    make(cell) {
      const time = el('time', { class: 'mono' });
      cell.append(time);
      return ({ data }) => {
        setText(time, clock(data.at_ms));
        setAttr(time, 'datetime', iso(data.at_ms));
      };
    },
  },
  {
    id: 'event', label: 'Event',
    make(cell) {
      const kind = badge();
      const text = el('span', { class: 'eventtext' });
      const link = el('a', { class: 'mono' });
      cell.append(kind.node, text, link);
      return (event) => {
        kind.update(event.kind, eventTone(event));
        setText(text, describe(event));
        const id = event.data.request;
        setHidden(link, !id);
        if (!id) return;
        setText(link, shortId(id));
        setAttr(link, 'href', `#/requests/${encodeURIComponent(id)}`);
        setAttr(link, 'title', `request ${id}`);
      };
    },
  },
];

export function mount(root, parameters) {
  need({});
  const given = parameters.get('show') ?? '';
  const show = Object.hasOwn(EMPTY, given) ? given : 'all';
  let text = parameters.get('text') ?? '';
  let frozen = null;

  const table = pagedTable({ caption: 'Events, the newest first', columns: COLUMNS, key: (event) => event.key, empty: EMPTY[show] });
  const tab = tabs('Which events', SHOWS.map(([id, label]) => [id, label, `#/events?show=${id}`]));
  tab.update(show);
  const sum = el('span', { class: 'sum' });
  const message = notice();
  const pause = el('button', {
    type: 'button', 'aria-pressed': 'false',
    click: () => {
      frozen = frozen ? null : rows();
      setAttr(pause, 'aria-pressed', String(Boolean(frozen)));
      setText(pause, frozen ? 'Go on' : 'Pause');
      changed();
    },
  }, 'Pause');
  const filter = textFilter('Text', text, (value) => {
    text = value;
    table.first();
    remember('events', { show: show === 'all' ? '' : show, text });
    changed();
  });
  const view = card('Events', el('div', { class: 'filters' }, filter.node, pause), message.node, table.node);
  view.firstChild.append(sum);
  root.append(tab.node, view);

  function rows() {
    const { events } = state;
    let list = show === 'verdicts' ? events.newestVerdicts(MOST_VERDICTS) : [...events.notices].reverse();
    if (show === 'problems') list = list.filter((event) => ['bad', 'warn'].includes(eventTone(event)));
    if (show === 'workers') list = list.filter((event) => event.kind.startsWith('worker-'));
    if (!text) return list;
    const wanted = text.toLowerCase();
    return list.filter((event) => `${event.kind} ${JSON.stringify(event.data)}`.toLowerCase().includes(wanted));
  }

  return {
    update() {
      const list = frozen ?? rows();
      table.emptyText(text ? 'No event matches.' : EMPTY[show]);
      table.update(list);
      setText(sum, frozen ? `${plural(list.length, 'event')}, paused` : plural(list.length, 'event'));
      message.update(state.events.dropped > 0 ? `${count(state.events.dropped)} events were dropped by the coordinator, because too many happened at once.` : '');
    },
    end() {},
  };
}
