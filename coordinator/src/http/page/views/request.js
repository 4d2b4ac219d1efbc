// One request: what it is, its way through the fleet, its attempts, why it is where it is, and how to run it again.

import { badge, card, el, facts, keyedList, setAttr, setHidden, setText } from '../dom.js';
import { need } from '../fleet.js';
import { bytes, clock, count, duration, iso } from '../format.js';
import { changed, now } from '../live.js';
import { Poller } from '../poll.js';
import { compiled, outcomeMeaning, outcomeTone, stateMeaning, workOf } from '../words.js';
import { bundles } from './bundle.js';
import { cpuMeter, notice } from './parts.js';

export const title = 'Request';

const STAGES = [['queued_ms', 'Queued', 'muted'], ['prepare_ms', 'Preparation', 'warn'], ['execute_ms', 'Execution', 'accent']];
const REASONS = {
  'not-begun': 'it did not begin', ambiguous: 'ambiguous: the candidate or the machine', internal: 'the fleet failed', 'worker-lost': 'the worker was lost',
};
const OPINIONS = {
  agreed: 'A second machine agreed.', disagreed: 'A second machine disagreed: neither is believed.', missing: 'No second machine was there in time: the first opinion stands.',
};

export function mount(root, parameters, id) {
  need({});
  let request = null;
  const message = notice();
  const parts = [summary(id), why(), timeline(), attempts(), bundles(id)];
  const body = el('div', { class: 'stack', hidden: true }, ...parts.map(({ node }) => node));
  root.append(el('p', { class: 'back' }, el('a', { href: '#/requests' }, 'All requests')), message.node, body);

  const poller = new Poller({
    path: () => `api/requests/${encodeURIComponent(id)}`,
    everyMs: 2000,
    data(answer) {
      request = answer;
      // An ended request does not change any more.
      poller.every(request.state === 'ended' ? Infinity : 2000);
      message.update('');
      changed();
    },
    failed(error) {
      poller.every(10_000);
      message.update(error.status === 404
        ? `The coordinator does not know request ${id}: it is not open, and not among the last 1,000 that have ended, or another coordinator was active then. Its client has the verdict, and logs of the workers have its id.`
        : `The request could not be read: ${error.message}`);
      changed();
    },
  }).start();

  return {
    update() {
      if (!request) return;
      setHidden(body, false);
      for (const part of parts) part.update(request);
    },
    end: () => poller.stop(),
  };
}

function summary(id) {
  const state = badge();
  const reason = el('p', { class: 'reason' });
  const meaning = el('p', { class: 'note' });
  const list = facts(['Work', 'Client', 'Code', 'Artifact', 'Worker', 'Host', 'Attempts', 'Clients that wait', 'Compiled', 'Waited', 'Expires', 'Ended', 'Total', 'Second opinion']);
  const code = el('a', { class: 'mono' });
  const node = card('', el('p', { class: 'line' }, state.node), reason, meaning, list.node);
  node.firstChild.append(el('span', { class: 'mono' }, id));
  return {
    node,
    update(r) {
      const open = r.state !== 'ended';
      state.update(open ? r.state : r.outcome, open ? 'info' : outcomeTone(r.outcome));
      setText(reason, r.reason);
      setHidden(reason, !r.reason);
      setText(meaning, open ? stateMeaning(r.state) : outcomeMeaning(r.outcome));
      setText(code, r.code);
      setAttr(code, 'href', `#/artifacts?code=${encodeURIComponent(r.code)}`);
      const left = r.deadline_ms - now();
      list.update([
        r.work === 'execute' ? `execution, ${workOf(r)}` : workOf(r), r.client, code, r.artifact, r.worker, r.host, count(r.attempts),
        open && r.waiters > 1 ? count(r.waiters) : null,
        open ? compiled(r) || null : null,
        open ? duration(now() - r.arrived_ms) : null,
        open && Number.isFinite(r.deadline_ms) ? `${clock(r.deadline_ms)} (${left > 0 ? `in ${duration(left)}` : 'now'})` : null,
        open ? null : clock(r.ended_ms), open ? null : duration(r.total_ms), OPINIONS[r.second_opinion] ?? null,
      ]);
    },
  };
}

function why() {
  const list = el('ul', { class: 'sentences' });
  const update = keyedList(list, ({ n }) => n, () => {
    const node = el('li');
    return { node, update: ({ sentence }) => setText(node, sentence) };
  });
  const node = card('Why', list);
  return {
    node,
    update(r) {
      const sentences = (Array.isArray(r.why) ? r.why : []).map((sentence, n) => ({ n, sentence }));
      update(sentences);
      setHidden(node, sentences.length === 0);
    },
  };
}

function timeline() {
  const stages = STAGES.map(([key, label, tone]) => {
    const part = el('span', { class: 'part', 'data-tone': tone });
    const value = el('b');
    return { key, part, value, item: el('li', {}, el('span', { class: 'key', 'data-tone': tone, 'aria-hidden': 'true' }), `${label} `, value) };
  });
  const track = el('div', { class: 'track', 'aria-hidden': 'true' }, ...stages.map(({ part }) => part));
  const legend = el('ul', { class: 'legend' }, ...stages.map(({ item }) => item));
  const list = el('ol', { class: 'timeline' });
  const update = keyedList(list, (entry) => entry.key, () => {
    const time = el('time');
    const text = el('span');
    const node = el('li', {}, time, text);
    return {
      node,
      update(entry) {
        setText(time, Number.isFinite(entry.at_ms) ? clock(entry.at_ms) : '–');
        setAttr(time, 'datetime', iso(entry.at_ms));
        setText(text, entry.text);
        setAttr(node, 'data-tone', entry.tone);
      },
    };
  });
  const node = card('Timeline', track, legend, list);
  return {
    node,
    update(r) {
      const times = stages.map(({ key }) => r[key]);
      const known = times.some(Number.isFinite);
      const whole = Math.max(r.total_ms ?? 0, times.reduce((sum, ms) => sum + (Number.isFinite(ms) ? ms : 0), 0), 0.001);
      stages.forEach(({ key, part, value }) => {
        const ms = Number.isFinite(r[key]) ? r[key] : 0;
        part.style.width = `${Math.round((ms / whole) * 1000) / 10}%`;
        setText(value, Number.isFinite(r[key]) ? duration(r[key]) : '–');
      });
      setHidden(track, !known);
      setHidden(legend, !known);
      update(moments(r));
    },
  };
}

/** What happened to a request, in its order. */
function moments(r) {
  const open = r.state !== 'ended';
  const arrived = open ? r.arrived_ms : Number.isFinite(r.ended_ms) && Number.isFinite(r.total_ms) ? r.ended_ms - r.total_ms : null;
  const entries = [{ key: 'arrived', at_ms: arrived, text: 'The coordinator accepted it.' }];
  (Array.isArray(r.retries) ? r.retries : []).forEach((retry, n) => {
    entries.push({
      key: `retry ${n}`, at_ms: retry.at_ms, tone: 'warn',
      text: `Attempt ${retry.attempt} at ${retry.worker ?? 'a worker'}${retry.host ? ` on ${retry.host}` : ''} ended, and it is tried again: ${REASONS[retry.reason] ?? retry.reason}${retry.detail ? `: ${retry.detail}` : ''}`,
    });
  });
  if (open) {
    entries.push({ key: 'now', at_ms: now(), tone: 'info', text: `${r.state}${r.worker ? ` at ${r.worker}${r.host ? ` on ${r.host}` : ''}` : ''}. ${stateMeaning(r.state)}` });
    if (Number.isFinite(r.deadline_ms)) entries.push({ key: 'deadline', at_ms: r.deadline_ms, text: 'It expires if it has no verdict by then.' });
  } else {
    entries.push({ key: 'ended', at_ms: r.ended_ms, tone: outcomeTone(r.outcome), text: `It ended as ${r.outcome}${r.worker ? `, decided by ${r.worker}${r.host ? ` on ${r.host}` : ''}` : ''}.` });
  }
  return entries.sort((a, b) => (a.at_ms ?? 0) - (b.at_ms ?? 0));
}

const HEADS = ['Job', 'End', 'CPU of limit', 'Wall clock', 'Memory', 'Worker'];

function attempts() {
  const body = el('tbody', { role: 'rowgroup' });
  const update = keyedList(body, (job) => job.key, jobRow);
  const table = el('table', { class: 'jobs', role: 'table' }, el('caption', { class: 'unseen' }, 'Jobs of the request and what they used'),
    el('thead', { role: 'rowgroup' }, el('tr', { role: 'row' }, ...HEADS.map((head) => el('th', { scope: 'col', role: 'columnheader' }, head)))), body);
  const nothing = el('p', { class: 'nothing' });
  const node = card('Attempts and what they used', el('div', { class: 'scroller paged' }, table), nothing);
  return {
    node,
    update(r) {
      const list = jobsOf(r);
      update(list);
      setHidden(table.parentNode, list.length === 0);
      setText(nothing, r.state === 'ended' ? 'No attempt was reported.' : 'No attempt has ended yet.');
      setHidden(nothing, list.length > 0);
    },
  };
}

/** The preparation, the attempts that were reported, and those that are only known from their retry. */
function jobsOf(r) {
  const executions = Array.isArray(r.usage?.executions) ? r.usage.executions : [];
  const jobs = executions.map((job) => ({ ...job, key: `attempt ${job.attempt}`, name: `Attempt ${job.attempt}`, end: job.outcome }));
  (Array.isArray(r.retries) ? r.retries : []).forEach((retry, n) => {
    const same = jobs.find((job) => job.attempt === retry.attempt);
    const why = [REASONS[retry.reason] ?? retry.reason, retry.detail].filter(Boolean).join(': ');
    if (same) Object.assign(same, { retried: why, host: same.host ?? retry.host });
    else jobs.push({ key: `retry ${n}`, name: `Attempt ${retry.attempt}`, attempt: retry.attempt, worker: retry.worker, host: retry.host, end: retry.reason, retried: why });
  });
  jobs.sort((a, b) => (a.attempt ?? 0) - (b.attempt ?? 0));
  const preparation = r.usage?.preparation;
  for (const job of jobs) if (job.worker && job.worker === r.worker) job.host ??= r.host;
  return preparation ? [{ ...preparation, key: 'preparation', name: 'Preparation', end: '' }, ...jobs] : jobs;
}

function jobRow() {
  const name = el('th', { scope: 'row', role: 'rowheader', class: 'primary' });
  const end = badge();
  const retried = el('span', { class: 'beneath' });
  const meter = cpuMeter();
  const [, used, wall, memory, worker] = HEADS.slice(1).map((head) => el('td', { role: 'cell', 'data-label': head }));
  used.append(meter.node);
  worker.classList.add('mono');
  const node = el('tr', { role: 'row' }, name, el('td', { role: 'cell' }, end.node, retried), used, wall, memory, worker);
  return {
    node,
    update(job) {
      setText(name, job.name);
      end.update(job.end, job.retried && job.end !== 'valid' && job.end !== 'invalid' ? 'warn' : outcomeTone(job.end));
      setText(retried, job.retried ? `tried again: ${job.retried}` : '');
      setHidden(retried, !job.retried);
      meter.update(job);
      setText(wall, Number.isFinite(job.wall_ms) ? duration(job.wall_ms) : '–');
      const pages = Number.isFinite(job.memory_pages) ? `${count(job.memory_pages)}${job.memory_pages_limit ? ` of ${count(job.memory_pages_limit)}` : ''} pages` : null;
      setText(memory, [Number.isFinite(job.max_rss_bytes) ? bytes(job.max_rss_bytes) : null, pages].filter(Boolean).join(', ') || '–');
      setText(worker, `${job.worker ?? '–'}${job.host ? ` on ${job.host}` : ''}`);
    },
  };
}
