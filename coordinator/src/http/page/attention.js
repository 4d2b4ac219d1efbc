// What needs attention, the worst first. Everything is computed from what the API says; nothing here draws.

import { age, clip, clock, count, decimal, duration, percent, plural, shortWorker } from './format.js';
import { growth, state, total } from './live.js';

/** How long a dispute may wait: one that waits longer endangers the finality of the relay chain. */
const DISPUTE_MS = 1_000;
const APPROVAL_MS = 5_000;
const CRITICAL_PREPARATION_MS = 30_000;
/** The queue is deep if it has so many executions for each slot. */
const DEEP = 20;
const RECENT_MS = 5 * 60_000;
const MINUTE_MS = 60_000;
const NEAR_LIMIT = 0.8;

const ORDER = ['bad', 'warn', 'info'];

/** The list: `{key, tone, title, detail, hint, href, link}`. */
export function attention(now) {
  const { status } = state;
  if (!status) return [];
  const items = [
    ...queues(status), ...defects(status, now), ...capacity(status), ...workers(status, now), ...preparations(now), ...verdicts(now),
  ];
  if (state.takeover && now - state.takeover.at_ms < RECENT_MS) {
    items.push({
      key: 'takeover', tone: 'info', title: 'Another coordinator took over',
      detail: `Since ${clock(state.takeover.at_ms)}. Its counters and its history begin then; jobs that were running go on.`,
      hint: 'docs/operate/failover.md',
    });
  }
  return items.sort((a, b) => ORDER.indexOf(a.tone) - ORDER.indexOf(b.tone));
}

function defects(status, now) {
  const items = [];
  if (status.inconsistencies > 0) {
    items.push({
      key: 'inconsistent', tone: 'bad', title: `${plural(status.inconsistencies, 'inconsistency', 'inconsistencies')} in the coordinator's state`,
      detail: 'This is a bug in the coordinator. Please report it with the log.', href: '#/events?show=problems', link: 'Events',
    });
  }
  const differ = state.events.recent(['opinions-differ'], 60 * MINUTE_MS, now);
  if (differ.length) {
    const hosts = (differ[0].data.opinions ?? []).map((opinion) => opinion?.host).filter(Boolean).join(' and ');
    items.push({
      key: 'differ', tone: 'bad', title: `Machines disagree about ${plural(differ.length, 'candidate')}`,
      detail: `${hosts ? `${hosts} gave different verdicts. ` : ''}One of them is broken or lies: run the candidate on a third machine, and take the one that was wrong out of the fleet.`,
      hint: 'docs/operate/second-opinions.md', href: '#/events?show=problems', link: 'Events',
    });
  }
  const quarantined = state.events.recent(['execution-quarantined', 'preparation-quarantined'], 60 * MINUTE_MS, now);
  if (quarantined.length) {
    items.push({
      key: 'quarantined', tone: 'bad', title: `${plural(quarantined.length, 'job')} quarantined within an hour`,
      detail: 'A validation or a code takes workers down, on more than one machine. It is not run again by itself.',
      href: '#/events?show=problems', link: 'Events',
    });
  }
  return items;
}

function capacity(status) {
  const items = [];
  if (status.execute_workers === 0 && status.prepare_workers === 0 && status.requests === 0) {
    items.push({
      key: 'no-worker', tone: 'warn', title: 'No worker is registered',
      detail: 'Nothing can be prepared or executed.', hint: 'docs/operate/deploy.md',
    });
  }
  const waiting = total(status.execute_queue);
  const preparing = total(status.prepare_queue);
  if (status.execute_workers === 0 && (status.requests > 0 || status.prepare_workers > 0)) {
    items.push({
      key: 'no-execute', tone: status.requests > 0 ? 'bad' : 'warn', title: 'No execute worker is registered',
      detail: `Nothing can be executed${status.requests > 0 ? `, and ${plural(status.requests, 'request')} wait` : ''}. Start pvf-execute-worker on a machine that reaches the bus and the store.`,
      hint: 'docs/operate/deploy.md',
    });
  }
  if (status.prepare_workers === 0 && (status.requests > 0 || status.execute_workers > 0)) {
    items.push({
      key: 'no-prepare', tone: preparing > 0 ? 'bad' : 'warn', title: 'No prepare worker is registered',
      detail: `Code that has no artifact yet cannot be compiled${preparing > 0 ? `, and ${plural(preparing, 'preparation')} wait` : ''}. Start pvf-prepare-worker.`,
      hint: 'docs/operate/deploy.md',
    });
  }
  for (const engine of status.prepare_workers > 0 ? (status.not_compiled_for ?? []).slice(0, 8) : []) {
    items.push({
      key: `engine ${engine}`, tone: 'bad', title: 'No prepare worker compiles for an engine that execute workers have',
      detail: `Execute workers of ${engine} get no new artifacts. Start a prepare worker of the same version on a machine with at least the same CPU baseline.`,
      hint: 'docs/design/artifacts.md', href: `#/workers?engine=${encodeURIComponent(engine)}`, link: 'Its workers',
    });
  }
  if (status.execute_slots > 0 && waiting > 0 && status.execute_busy >= status.execute_slots) {
    items.push({
      key: 'no-slot', tone: 'warn', title: 'No execute slot is free',
      detail: `${count(status.execute_slots)} of ${count(status.execute_slots)} slots are busy, and ${plural(waiting, 'execution')} wait${drained(waiting)}. More execute workers help, or more slots where cores are idle.`,
    });
  }
  if (status.prepare_slots > 0 && preparing > 0 && status.prepare_busy >= status.prepare_slots) {
    items.push({
      key: 'no-prepare-slot', tone: 'info', title: 'No prepare slot is free',
      detail: `${count(status.prepare_slots)} of ${count(status.prepare_slots)} slots are busy, and ${plural(preparing, 'preparation')} wait.`,
    });
  }
  return items;
}

/** How long it takes to work the queue off at the rate of the last seconds. */
function drained(waiting) {
  const done = growth('executed', 20_000);
  if (!done || done.by === 0) return '';
  const rate = (done.by / done.ms) * 1000;
  return `: about ${duration((waiting / rate) * 1000)} of work at ${decimal(rate)} a second`;
}

function queues(status) {
  const items = [];
  const waiting = total(status.execute_queue);
  const refused = growth('overloaded', MINUTE_MS);
  if (refused && refused.by > 0) {
    items.push({
      key: 'refused', tone: 'bad', title: `Overloaded: ${plural(refused.by, 'request')} refused in the last ${age(refused.ms)}`,
      detail: 'A limit for requests of a user or of a kind is reached. Clients try again by themselves, and their requests may expire meanwhile.',
      hint: '[policy] per_user, users and per_kind in the coordinator’s settings', href: '#/events?show=problems', link: 'Events',
    });
  }
  if (status.execute_slots > 0 && waiting > DEEP * status.execute_slots) {
    items.push({
      key: 'deep', tone: 'bad', title: `The queue is deep: ${count(waiting)} executions for ${plural(status.execute_slots, 'slot')}`,
      detail: `The fleet is too small for what is asked of it${drained(waiting)}.`, href: '#/requests?show=open', link: 'Open requests',
    });
  }
  const oldest = status.execute_oldest_ms ?? {};
  const late = [['dispute', DISPUTE_MS, 'bad'], ['approval', APPROVAL_MS, 'warn']];
  for (const [kind, limit, tone] of late) {
    if (!(oldest[kind] > limit)) continue;
    items.push({
      key: `oldest ${kind}`, tone, title: `The oldest ${kind} has waited for ${age(oldest[kind])}`,
      detail: `${plural(status.execute_queue?.[kind] ?? 0, kind)} in the queue.`, href: `#/requests?show=open&kind=${kind}`, link: 'Open requests',
    });
  }
  const preparation = status.prepare_oldest_ms?.critical;
  if (preparation > CRITICAL_PREPARATION_MS) {
    items.push({
      key: 'oldest preparation', tone: 'warn', title: `The oldest critical preparation has waited for ${age(preparation)}`,
      detail: 'Disputes or approvals wait for this artifact.', href: '#/requests?show=open', link: 'Open requests',
    });
  }
  return items;
}

/** Names of some workers, and how many more there are. */
function named(list) {
  const shown = list.slice(0, 3).map((worker) => `${shortWorker(worker.id ?? worker.worker)} on ${clip(worker.host, 60)}`);
  return list.length > 3 ? `${shown.join('; ')}; and ${count(list.length - 3)} more` : shown.join('; ');
}

function workers(status, now) {
  const items = [];
  const lost = state.events.lost(now);
  if (lost.length) {
    const jobs = lost.reduce((sum, event) => sum + (Number.isFinite(event.jobs) ? event.jobs : 0), 0);
    const newest = Math.max(...lost.map((event) => event.at_ms));
    items.push({
      key: 'lost', tone: 'bad', title: `${plural(lost.length, 'worker')} lost and not back`,
      detail: `${named(lost)}. ${lost.length > 1 ? 'The last one was lost' : 'Lost'} at ${clock(newest)}, ${jobs === 0 ? 'without jobs.' : `with ${plural(jobs, 'job')}, which ${jobs === 1 ? 'is' : 'are'} tried elsewhere.`}`,
      hint: 'docs/operate/troubleshooting.md', href: '#/events?show=workers', link: 'Events',
    });
  }
  const groups = [
    ['insecure', 'bad', (w) => w.secure === false, 'without a complete sandbox', 'Jobs there are not fully contained. pvf doctor on the machine says which mechanism is missing, why, and what helps.', '#/workers?state=insecure'],
    ['paused', 'bad', (w) => w.state === 'paused', 'paused', 'Jobs fail there again and again. Run pvf doctor on the machine.', '#/workers?state=paused'],
    ['suspect', 'warn', (w) => w.state === 'suspect', 'suspect', 'They refused or missed a command, and get no jobs until they are heard from.', '#/workers?state=suspect'],
    ['trouble', 'warn', (w) => Boolean(w.trouble) && w.state !== 'paused' && w.state !== 'suspect', 'in trouble', '', '#/workers?state=trouble'],
    ['draining', 'info', (w) => w.state === 'draining', 'draining', 'They finish what they have, and take no new jobs.', '#/workers?state=draining'],
  ];
  for (const [key, tone, is, what, meaning, href] of groups) {
    const list = (state.workers?.list ?? []).filter(is);
    if (!list.length) continue;
    const trouble = list.find((worker) => worker.trouble)?.trouble ?? (key === 'insecure' ? list[0].missing_security?.[0] : null);
    const why = trouble ? ` One says: “${clip(trouble)}”.` : '';
    items.push({ key, tone, title: `${plural(list.length, 'worker')} ${what}`, detail: `${named(list)}.${why} ${meaning}`.trim(), href, link: 'Workers' });
  }
  // The list may not be there yet, or not have all.
  if (status.insecure_workers > 0 && !items.some((item) => item.key === 'insecure')) {
    items.push({ key: 'insecure', tone: 'bad', title: `${plural(status.insecure_workers, 'worker')} without a complete sandbox`, detail: 'Jobs there are not fully contained.', href: '#/workers?state=insecure', link: 'Workers' });
  }
  return items;
}

function preparations(now) {
  const items = [];
  if (state.failed?.total > 0) {
    const [first] = state.failed.list;
    const recent = state.events.recent(['preparation-failed'], RECENT_MS, now).length > 0;
    items.push({
      key: 'failed', tone: recent ? 'bad' : 'warn', title: `${plural(state.failed.total, 'PVF')} cannot be prepared`,
      detail: first?.error ? `The one used last: “${clip(first.error)}”. Failures that are the code’s own are kept and not tried again.` : '',
      hint: 'docs/integrate/verdicts.md', href: '#/artifacts?state=failed', link: 'Artifacts',
    });
  }
  return items;
}

function verdicts(now) {
  const items = [];
  const samples = (state.samples?.list ?? []).filter((sample) => now - sample.at_ms <= RECENT_MS);
  const sum = (key) => samples.reduce((all, sample) => all + (sample.verdicts?.[key] ?? 0), 0);
  const failed = sum('failed');
  if (failed > 0) {
    const all = failed + sum('valid') + sum('invalid');
    items.push({
      key: 'verdicts', tone: failed / all > 0.01 ? 'bad' : 'warn', title: `${plural(failed, 'request')} without a clear verdict in 5 minutes`,
      detail: `${percent(failed / all)} of ${count(all)} ended as possibly_invalid, preparation_failed, internal or deadline.`,
      href: '#/requests?show=failed', link: 'Failed requests',
    });
  }
  const ratio = Math.max(0, ...samples.map((sample) => sample.cpu_limit_ratio_max ?? 0));
  if (ratio > NEAR_LIMIT) {
    items.push({
      key: 'limit', tone: 'info', title: `A job used ${percent(ratio)} of its CPU limit within 5 minutes`,
      detail: 'A slower machine, or a larger block, may not make it.', hint: 'docs/integrate/check.md', href: '#/requests?show=slow', link: 'Slowest requests',
    });
  }
  return items;
}
