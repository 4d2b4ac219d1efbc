// Plots of the history as SVG, with the same values as text: a summary for who does not see the plot, the values at a
// time with the pointer or the arrow keys, and a table.

import { el, setAttr, setText } from './dom.js';
import { clock, clockMinute } from './format.js';

const WIDTH = 600;
const HEIGHT = 140;
const SHORTEST_MS = 2 * 60_000;
/** The table has one row for each minute of the half hour. */
const TABLE_ROWS = 31;

/**
 * `series`: `{label, tone, value(sample), dashed, fill}`; `value` is null where nothing is known. `format(value)` is the
 * text of a value, `axisFormat(value)` that on the axis. `log`: a logarithmic scale; `guide`: a value with a line of its own; `least`: the scale reaches at
 * least to this value.
 */
export function plot({ title, series, format, axisFormat = format, log = false, guide = null, least = 1 }) {
  let samples = [];
  let cursor = null;
  let scale = { from: 0, to: 1, low: 0, high: 1 };

  const lines = series.map(({ tone, dashed, fill }) => ({
    area: fill ? el('path', { class: 'area', 'data-tone': tone }) : null,
    line: el('path', { class: dashed ? 'curve dashed' : 'curve', 'data-tone': tone }),
  }));
  const grid = [0, 0.5, 1].map((at) => el('line', { class: 'grid', x1: 0, x2: WIDTH, y1: HEIGHT * at, y2: HEIGHT * at }));
  const guideLine = guide === null ? null : el('line', { class: 'guide', x1: 0, x2: WIDTH });
  const mark = el('line', { class: 'cursor', y1: 0, y2: HEIGHT, visibility: 'hidden' });
  const svg = el('svg', { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: 'none', 'aria-hidden': 'true', focusable: 'false' },
    ...grid, guideLine, ...lines.map(({ area }) => area), ...lines.map(({ line }) => line), mark);
  const axis = [el('span'), el('span'), el('span')];
  const ends = [el('span'), el('span')];
  const area = el('div', {
    class: 'area', tabindex: 0, role: 'group',
    pointermove: (event) => pointed(event), pointerleave: () => moveTo(null), blur: () => moveTo(null), keydown: (event) => pressed(event),
  }, el('div', { class: 'axis', 'aria-hidden': 'true' }, ...axis), svg);
  const values = series.map(() => el('b'));
  const legend = el('ul', { class: 'legend' }, ...series.map(({ label, tone, dashed }, n) =>
    el('li', {}, el('span', { class: dashed ? 'key dashed' : 'key', 'data-tone': tone, 'aria-hidden': 'true' }), `${label} `, values[n])));
  const when = el('span', { class: 'when' });
  // What the arrow keys move over is told; what the pointer moves over is seen.
  const told = el('span', { class: 'unseen', 'aria-live': 'polite' });
  const table = el('tbody');
  const details = el('details', { toggle: () => fillTable() }, el('summary', {}, 'Values'),
    el('div', { class: 'values', tabindex: 0, role: 'region', 'aria-label': `${title}: values` }, el('table', {}, el('caption', { class: 'unseen' }, `${title}, by minute`),
      el('thead', {}, el('tr', {}, el('th', { scope: 'col' }, 'Time'), ...series.map(({ label }) => el('th', { scope: 'col', class: 'number' }, label)))), table)));
  const node = el('figure', { class: 'plot' }, el('figcaption', {}, el('h3', {}, title), when), legend, area,
    el('div', { class: 'ends', 'aria-hidden': 'true' }, ...ends), told, details);

  const text = (value) => (Number.isFinite(value) ? format(value) : '–');

  function x(at) {
    return ((at - scale.from) / (scale.to - scale.from)) * WIDTH;
  }

  function y(value) {
    const part = log
      ? (Math.log10(Math.max(value, scale.low)) - Math.log10(scale.low)) / (Math.log10(scale.high) - Math.log10(scale.low))
      : value / scale.high;
    return HEIGHT - Math.min(Math.max(part, 0), 1) * HEIGHT;
  }

  function rescale() {
    const to = samples.at(-1).at_ms;
    const from = Math.min(samples[0].at_ms, to - SHORTEST_MS);
    let high = least;
    let low = Infinity;
    for (const sample of samples) {
      for (const { value } of series) {
        const v = value(sample);
        if (!Number.isFinite(v)) continue;
        high = Math.max(high, v);
        if (v > 0) low = Math.min(low, v);
      }
    }
    if (log) {
      low = 10 ** Math.floor(Math.log10(Number.isFinite(low) ? Math.max(low, least / 1000) : 1));
      // An even number of decades, so that the value in the middle is a power of ten as well.
      const decades = Math.max(2, Math.ceil(Math.log10(high / low) - 1e-9));
      scale = { from, to, low, high: low * 10 ** (decades + (decades % 2)) };
    } else scale = { from, to, low: 0, high: nice(high) };
  }

  function draw() {
    rescale();
    // Times between samples of more than two and a half intervals are gaps, and are not bridged.
    const gap = 2.5 * step(samples);
    series.forEach(({ value }, n) => {
      let path = '';
      let fill = '';
      let run = [];
      const flush = () => {
        if (run.length) {
          const points = run.map(([px, py]) => `${px.toFixed(1)} ${py.toFixed(1)}`).join('L');
          // A single sample is a short line: a path without length is not to be seen.
          path += run.length === 1 ? `M${points}m-3 0h6` : `M${points}`;
          fill += `M${run[0][0].toFixed(1)} ${HEIGHT}L${points}L${run.at(-1)[0].toFixed(1)} ${HEIGHT}Z`;
        }
        run = [];
      };
      let before = null;
      for (const sample of samples) {
        const v = value(sample);
        if (!Number.isFinite(v) || (before !== null && sample.at_ms - before > gap)) flush();
        if (Number.isFinite(v)) run.push([x(sample.at_ms), y(v)]);
        before = sample.at_ms;
      }
      flush();
      setAttr(lines[n].line, 'd', path);
      if (lines[n].area) setAttr(lines[n].area, 'd', fill);
    });
    if (guideLine) {
      setAttr(guideLine, 'y1', y(guide));
      setAttr(guideLine, 'y2', y(guide));
    }
    const middle = log ? Math.sqrt(scale.low * scale.high) : scale.high / 2;
    [scale.high, middle, scale.low].forEach((value, n) => setText(axis[n], axisFormat(value)));
    setText(ends[0], clockMinute(scale.from));
    setText(ends[1], clockMinute(scale.to));
  }

  function read() {
    const sample = cursor === null ? samples.at(-1) : samples[cursor];
    series.forEach(({ value }, n) => setText(values[n], text(value(sample))));
    setText(when, cursor === null ? '' : clock(sample.at_ms));
    setAttr(mark, 'visibility', cursor === null ? 'hidden' : 'visible');
    if (cursor !== null) {
      setAttr(mark, 'x1', x(sample.at_ms));
      setAttr(mark, 'x2', x(sample.at_ms));
    }
  }

  function moveTo(index) {
    if (!samples.length) return;
    cursor = index === null ? null : Math.min(Math.max(index, 0), samples.length - 1);
    read();
  }

  function pointed(event) {
    if (!samples.length) return;
    const box = svg.getBoundingClientRect();
    const at = scale.from + ((event.clientX - box.left) / box.width) * (scale.to - scale.from);
    let best = 0;
    samples.forEach((sample, n) => {
      if (Math.abs(sample.at_ms - at) < Math.abs(samples[best].at_ms - at)) best = n;
    });
    moveTo(best);
  }

  function pressed(event) {
    const last = samples.length - 1;
    const from = cursor ?? last;
    const to = { ArrowLeft: from - 1, ArrowRight: from + 1, PageUp: from - 12, PageDown: from + 12, Home: 0, End: last }[event.key];
    if (event.key === 'Escape') moveTo(null);
    if (to === undefined || last < 0) return;
    event.preventDefault();
    moveTo(to);
    const sample = samples[cursor];
    setText(told, `${clock(sample.at_ms)}: ${series.map(({ label, value }) => `${label} ${text(value(sample))}`).join(', ')}`);
  }

  function fillTable() {
    if (!details.open || !samples.length) return;
    const every = Math.max(1, Math.ceil(samples.length / TABLE_ROWS));
    const rows = samples.filter((_, n) => (samples.length - 1 - n) % every === 0).reverse();
    table.replaceChildren(...rows.map((sample) => el('tr', {}, el('th', { scope: 'row' }, clock(sample.at_ms)),
      ...series.map(({ value }) => el('td', { class: 'number' }, text(value(sample)))))));
  }

  return {
    node,
    update(list) {
      samples = list;
      if (!samples.length) return;
      if (cursor !== null) cursor = Math.min(cursor, samples.length - 1);
      draw();
      read();
      fillTable();
      const now = samples.at(-1);
      setAttr(area, 'aria-label', `${title}, ${clockMinute(scale.from)} to ${clockMinute(scale.to)}. Last: ${
        series.map(({ label, value }) => `${label} ${text(value(now))}`).join(', ')}. The arrow keys read single times.`);
    },
  };
}

/** The usual time between two samples. */
function step(samples) {
  if (samples.length < 2) return 5000;
  const steps = samples.slice(1).map((sample, n) => sample.at_ms - samples[n].at_ms).sort((a, b) => a - b);
  return Math.max(steps[Math.floor(steps.length / 2)], 1);
}

/** The next value above that is easy to read. */
function nice(value) {
  const unit = 10 ** Math.floor(Math.log10(value));
  for (const factor of [1, 2, 4, 5, 10]) if (value <= factor * unit * 1.000001) return factor * unit;
  return 10 * unit;
}
