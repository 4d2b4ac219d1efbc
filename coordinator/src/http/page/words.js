// What the words of the API mean: outcomes, states, kinds, events.

import { clip, count, duration, plural, shortEngine, shortId, shortWorker } from './format.js';

/** Outcomes as the API names them: the tone, and what a caller may do with them (docs/integrate/verdicts.md). */
const OUTCOMES = {
  valid: ['good', 'The call returned and its result decoded.'],
  ok: ['good', 'A precheck: the code can be prepared. A heads-up: a worker has the code, or the artifact is there.'],
  invalid: ['warn', 'The candidate is invalid by its own doing: the caller may vote against it.'],
  possibly_invalid: ['bad', 'Two attempts ended the same, and either the candidate or the machines may be the cause. The caller follows its own rules for ambiguous failures; a Polkadot node does not vote against the candidate in backing.'],
  preparation_failed: ['bad', 'The code cannot be prepared. The caller follows its own rules for such code.'],
  internal: ['bad', 'The fleet failed, not the candidate: the caller must not vote against it.'],
  deadline: ['bad', 'The wait of the request ran out, or its relay leaf was retired. That says nothing about the candidate.'],
};

export function outcomeTone(outcome) {
  return OUTCOMES[outcome]?.[0] ?? 'bad';
}

export function outcomeMeaning(outcome) {
  return OUTCOMES[outcome]?.[1] ?? '';
}

/** What a request is: the kind of its execution, or that it is a precheck or a heads-up. */
export function workOf(request) {
  return request.kind ?? request.work ?? '–';
}

const REQUEST_STATES = {
  'awaiting-engine': 'No execute worker is registered, so no engine can be chosen.',
  'awaiting-artifact': 'Its artifact is looked up or prepared.',
  queued: 'It waits in the queue for a slot.',
  'backing-off': 'An attempt did not begin, and the next one waits a little.',
  running: 'A worker has it.',
  preparing: 'Its code is prepared.',
  unplaced: 'It is between two stages.',
};

/** How far the compiler has come with the code of a request; empty while none is at it. */
export function compiled(request) {
  const of = request.compiling;
  return of && of.functions > 0 ? `${count(of.compiled)} of ${plural(of.functions, 'function')}` : '';
}

export function stateMeaning(state) {
  return REQUEST_STATES[state] ?? '';
}

/** The state of a worker as a badge. */
export function workerTone(worker) {
  return { available: 'good', suspect: 'warn', paused: 'bad', draining: 'info' }[worker.state] ?? 'plain';
}

/** The sandbox of a worker: a word, its tone, and what is missing. */
export function sandboxOf(worker) {
  const missing = Array.isArray(worker.missing_security) ? worker.missing_security : [];
  if (worker.secure !== true) return { text: missing.length ? 'insecure' : 'not reported', tone: 'bad', missing };
  return { text: missing.length ? 'secure, with consent' : 'secure', tone: missing.length ? 'warn' : 'good', missing };
}

export function artifactTone(artifact) {
  return { prepared: 'good', failed: 'bad', abandoned: 'bad', preparing: 'info', 'looking-up': 'info', dropping: 'warn' }[artifact.state] ?? 'plain';
}

/**
 * What the job of a request has used of its CPU limit: of its executions the one that was nearest to it. The preparation
 * counts where there is no execution, because otherwise it may have been made long before the request.
 */
export function nearest(usage) {
  const executions = Array.isArray(usage?.executions) ? usage.executions : [];
  const jobs = executions.length ? executions : [usage?.preparation];
  let most = null;
  for (const job of jobs) {
    if (!job || !Number.isFinite(job.cpu_ms)) continue;
    const ratio = job.cpu_limit_ms > 0 ? job.cpu_ms / job.cpu_limit_ms : null;
    if (!most || (ratio ?? -1) > (most.ratio ?? -1)) most = { ...job, ratio, preparation: job === usage.preparation };
  }
  return most;
}

export function ratioTone(ratio) {
  return ratio >= 1 ? 'bad' : ratio > 0.8 ? 'warn' : 'plain';
}

const at = (data) => `${shortWorker(data.worker)}${data.host ? ` on ${clip(data.host, 60)}` : ''}`;
const jobs = (data) => (Number.isFinite(data.jobs) ? ` with ${plural(data.jobs, 'job')}` : '');
const because = (why) => (why ? `: ${clip(why)}` : '');

const EVENTS = {
  verdict: (d) => `${d.outcome} after ${duration(d.total_ms)}${d.attempts > 1 ? `, ${plural(d.attempts, 'attempt')}` : ''}${d.second_opinion ? `, second opinion ${d.second_opinion}` : ''}${because(d.reason)}`,
  'worker-joined': (d) => `${at(d)}, ${plural(d.slots, 'slot')}, ${shortEngine(d.engine)}, version ${d.version}${d.secure === false ? ', INSECURE' : ''}`,
  'worker-left': (d) => `${at(d)}${jobs(d)}`,
  'worker-lost': (d) => `${at(d)}${jobs(d)}, silent for ${duration(d.silent_ms)}`,
  'worker-suspect': (d) => `${at(d)}${because(d.why)}`,
  'worker-recovered': at,
  'worker-told-to-drain': (d) => `${at(d)}${jobs(d)}, by ${d.operator}`,
  'worker-paused': (d) => `${at(d)} for ${duration(d.pause_ms)}${because(d.why)}`,
  'worker-resumed': at,
  'job-retried': (d) => `job ${d.job}, attempt ${d.attempt} at ${shortWorker(d.worker)}: ${d.reason}${because(d.detail)}`,
  'job-adopted': (d) => `job ${d.job} at ${shortWorker(d.worker)} goes on`,
  'job-not-adopted': (d) => `job ${d.job} at ${shortWorker(d.worker)} is cancelled`,
  'execution-quarantined': (d) => `workers of ${(Array.isArray(d.hosts) ? d.hosts.join(', ') : d.hosts) || 'several hosts'} were lost with it, code ${shortId(d.code)}`,
  'opinions-differ': (d) => (Array.isArray(d.opinions) ? d.opinions : []).map((o) => `${o?.host} says ${o?.verdict}`).join(', '),
  'no-second-opinion': (d) => `job ${d.job}${because(d.why)}`,
  'preparation-quarantined': (d) => shortArtifact(d.artifact),
  'preparation-failed': (d) => `${shortArtifact(d.artifact)}${because(d.error)}`,
  'artifact-dropped': (d) => `${shortArtifact(d.artifact)}${because(d.reason)}`,
  'request-refused': (d) => `of ${clip(d.client, 60)}: ${clip(d.limit)}`,
  'client-gone': (d) => `${clip(d.client, 60)}, silent for ${duration(d.silent_ms)}`,
  'engine-seen': (d) => String(d.engine),
  'no-prepare-worker': (d) => `no prepare worker compiles for ${d.engine}`,
  inconsistent: (d) => String(d.what),
};

/** An event as a sentence without its kind. An event of a newer coordinator is shown with all its fields. */
export function describe({ kind, data }) {
  const known = EVENTS[kind];
  if (known) return known(data);
  const fields = Object.entries(data).filter(([name]) => name !== 'event' && name !== 'at_ms' && name !== 'usage');
  return clip(fields.map(([name, value]) => `${name} ${typeof value === 'object' ? JSON.stringify(value) : value}`).join(', '), 400);
}

/** The code of an artifact's id, shortened. */
function shortArtifact(id) {
  const [code] = /[0-9a-f]{64}/.exec(String(id ?? '')) ?? [id];
  return `artifact of ${shortId(code)}`;
}

/** "2 of 4": the second number grouped as well. */
export function outOf(some, all) {
  return `${count(some)} of ${count(all)}`;
}
