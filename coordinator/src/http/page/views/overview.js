// The overview: what needs attention, the numbers of now, the queues, the plots, the coordinator.

import { attention } from '../attention.js';
import { badge, bar, card, el, keyedList, setHidden, setText } from '../dom.js';
import { need, trouble } from '../fleet.js';
import { bytes, clock, count, decimal, duration, plural } from '../format.js';
import { growth, now, state, total } from '../live.js';
import { empty } from './empty.js';
import { history } from './history.js';
import { queues } from './queues.js';
import { coordinator } from './coordinator.js';
import { recent } from './recent.js';

const TONE_WORDS = { bad: 'Problem', warn: 'Warning', info: 'Note' };

export const title = 'Overview';

export function mount(root) {
  need({ workersMs: 15_000, failedMs: 30_000, withHistory: true });
  const parts = [attentionCard(), empty(), tiles(), queues(), history(), recent(), coordinator()];
  root.append(...parts.map(({ node }) => node));
  return {
    update() {
      for (const part of parts) part.update();
    },
    end() {
      for (const part of parts) part.end?.();
    },
  };
}

function attentionCard() {
  const list = el('ul', { class: 'attention' });
  const update = keyedList(list, (item) => item.key, attentionItem);
  const calmText = el('span');
  const calm = el('p', { class: 'calm' }, el('span', { class: 'tick', 'aria-hidden': 'true' }, '✓'), calmText);
  const unread = el('p', { class: 'nothing' });
  const node = card('Needs attention', list, calm, unread);
  node.id = 'attention';
  return {
    node,
    update() {
      const items = attention(now());
      update(items);
      setText(calmText, state.link === 'down' ? 'Nothing needed attention when the connection was lost.' : 'Nothing needs attention.');
      setHidden(list, items.length === 0);
      setHidden(calm, items.length > 0 || !state.status);
      setHidden(unread, !trouble.workers);
      setText(unread, trouble.workers);
    },
  };
}

function attentionItem() {
  const tone = badge();
  const heading = el('strong');
  const detail = el('p');
  const hint = el('span', { class: 'hint' });
  const link = el('a');
  const node = el('li', {}, tone.node, el('div', {}, heading, detail, el('p', { class: 'more' }, link, hint)));
  return {
    node,
    update(item) {
      node.dataset.tone = item.tone;
      tone.update(TONE_WORDS[item.tone], item.tone);
      setText(heading, item.title);
      setText(detail, item.detail);
      setHidden(detail, !item.detail);
      setText(link, item.link ?? '');
      if (item.href && link.getAttribute('href') !== item.href) link.setAttribute('href', item.href);
      setHidden(link, !item.href);
      setText(hint, item.hint ? `See ${item.hint}` : '');
      setHidden(link.parentNode, !item.href && !item.hint);
    },
  };
}

function tile(label, withBar = false) {
  const value = el('strong', {}, '–');
  const detail = el('span', { class: 'detail' });
  const level = withBar ? bar() : null;
  return {
    node: el('li', {}, el('span', { class: 'label' }, label), value, level?.node, detail),
    update(text, below, ratio, tone) {
      setText(value, text);
      setText(detail, below);
      level?.update(ratio, tone);
    },
  };
}

/** The last sample in which requests ended. */
function lastLatency() {
  return state.samples?.list.findLast((sample) => total(sample.verdicts) > 0 && Number.isFinite(sample.total_ms?.p99)) ?? null;
}

function tiles() {
  const requests = tile('Open requests');
  const rate = tile('Executions');
  const latency = tile('Latency p50 / p99');
  const execute = tile('Execute slots busy', true);
  const prepare = tile('Prepare slots busy', true);
  const refused = tile('Refused in a minute');
  const artifacts = tile('Artifacts');
  const all = [requests, rate, latency, execute, prepare, refused, artifacts];
  const node = el('section', { 'aria-labelledby': 'now' }, el('h2', { class: 'unseen', id: 'now' }, 'Now'),
    el('ul', { class: 'tiles' }, ...all.map((one) => one.node)));
  const slots = (one, busy, slots_, workers) => {
    const ratio = slots_ > 0 ? busy / slots_ : 0;
    one.update(`${count(busy)} of ${count(slots_)}`, `on ${plural(workers, 'worker')}`, ratio, ratio >= 1 ? 'warn' : 'accent');
  };
  return {
    node,
    update() {
      const { status } = state;
      if (!status) return;
      requests.update(count(status.requests), `${plural(status.clients, 'client')}, ${bytes(status.request_bytes)} in memory`);
      const done = growth('executed', 10_000);
      rate.update(done ? `${decimal((done.by / done.ms) * 1000)} /s` : '–', `${count(status.executed)} since the start`);
      const last = lastLatency();
      const old = last ? now() - last.at_ms > 30_000 : false;
      latency.update(last ? `${duration(last.total_ms.p50)} / ${duration(last.total_ms.p99)}` : '–',
        last ? (old ? `at ${clock(last.at_ms)}, none since` : `to the verdict, of ${duration(state.samples.interval_ms)}`) : 'no verdict in the history');
      slots(execute, status.execute_busy ?? 0, status.execute_slots, status.execute_workers);
      slots(prepare, status.prepare_busy ?? 0, status.prepare_slots, status.prepare_workers);
      const no = growth('overloaded', 60_000);
      refused.update(no ? count(no.by) : '–', `${count(status.overloaded)} since the start`);
      artifacts.update(count(status.artifacts), bytes(status.artifact_bytes));
    },
  };
}
