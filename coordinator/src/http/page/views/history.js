// The plots of the last half hour.

import { card, el, setHidden, setText } from '../dom.js';
import { trouble } from '../fleet.js';
import { count, decimal, duration, percent } from '../format.js';
import { state, total } from '../live.js';
import { plot } from '../plot.js';

const perSecond = (key) => (sample) => rate(sample.verdicts?.[key]);

/** A percentile; none if no request ended, where the answer has 0. */
const ended = (time, percentile) => (sample) => (total(sample.verdicts) > 0 ? sample[time]?.[percentile] : null);

function rate(n) {
  const ms = state.samples?.interval_ms;
  return Number.isFinite(n) && ms > 0 ? (n * 1000) / ms : null;
}

/** A power of ten of milliseconds, in few characters. */
function decade(ms) {
  return ms < 1000 ? `${Number(ms.toPrecision(1))} ms` : `${Math.round(ms / 1000)} s`;
}

export function history() {
  const plots = [
    plot({
      title: 'Verdicts per second', format: decimal,
      series: [
        { label: 'valid', tone: 'good', value: perSecond('valid'), fill: true },
        { label: 'invalid', tone: 'warn', value: perSecond('invalid'), dashed: true },
        { label: 'failed', tone: 'bad', value: perSecond('failed') },
      ],
    }),
    plot({
      title: 'Latency', format: duration, axisFormat: decade, log: true, least: 100,
      series: [
        { label: 'p50', tone: 'accent', value: ended('total_ms', 'p50') },
        { label: 'p99', tone: 'warn', value: ended('total_ms', 'p99') },
        { label: 'p99 in the queue', tone: 'muted', value: ended('queued_ms', 'p99'), dashed: true },
      ],
    }),
    plot({
      title: 'Waiting', format: count, least: 4,
      series: [
        { label: 'executions', tone: 'accent', value: (s) => s.execute_queue, fill: true },
        { label: 'preparations', tone: 'warn', value: (s) => s.prepare_queue, dashed: true },
      ],
    }),
    plot({
      title: 'Slots busy', format: count, least: 2,
      series: [
        { label: 'execute', tone: 'accent', value: (s) => s.execute_busy, fill: true },
        { label: 'execute slots', tone: 'muted', value: (s) => s.execute_slots, dashed: true },
        { label: 'prepare', tone: 'warn', value: (s) => s.prepare_busy },
      ],
    }),
    plot({
      title: 'CPU time of jobs, in cores', format: decimal,
      series: [{
        label: 'cores', tone: 'accent', fill: true,
        // CPU time that jobs used in an interval, by the length of the interval.
        value: (s) => (Number.isFinite(s.cpu_ms) && state.samples.interval_ms > 0 ? s.cpu_ms / state.samples.interval_ms : null),
      }],
    }),
    plot({
      title: 'Highest use of a CPU limit', format: percent, guide: 1, least: 1,
      series: [{ label: 'of the limit', tone: 'warn', value: (s) => s.cpu_limit_ratio_max }],
    }),
  ];
  const grid = el('div', { class: 'plots' }, ...plots.map(({ node }) => node));
  const nothing = el('p', { class: 'nothing' });
  const span = el('span', { class: 'sum' });
  const node = card('History', nothing, grid);
  node.firstChild.append(span);
  let shown = null;
  let failure = '';
  return {
    node,
    update() {
      const { samples } = state;
      const message = trouble.history || (samples?.list.length ? '' : 'The first sample comes within some seconds of the start of the coordinator.');
      if (message !== failure || shown === null) {
        failure = message;
        setText(nothing, message);
        setHidden(nothing, !message);
      }
      setHidden(grid, !samples?.list.length);
      // Samples change every few seconds, this function is called every second.
      if (samples === shown || !samples?.list.length) return;
      shown = samples;
      const { list } = samples;
      setText(span, `the last ${duration(Math.max(list.at(-1).at_ms - list[0].at_ms, samples.interval_ms))}`);
      for (const one of plots) one.update(list);
    },
  };
}
