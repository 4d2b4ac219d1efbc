// What several views show in the same way.

import { badge, bar, el, setAttr, setHidden, setText } from '../dom.js';
import { ago, clock, duration, iso, percent } from '../format.js';
import { ratioTone } from '../words.js';

/** What a job used of its CPU limit: a bar, and the numbers as text. */
export function cpuMeter() {
  const level = bar();
  const text = el('span');
  const node = el('span', { class: 'meter' }, level.node, text);
  return {
    node,
    update(job) {
      const known = Boolean(job) && Number.isFinite(job.cpu_ms);
      const ratio = known && job.cpu_limit_ms > 0 ? job.cpu_ms / job.cpu_limit_ms : null;
      setHidden(level.node, ratio === null);
      if (ratio !== null) level.update(ratio, ratioTone(ratio));
      setText(text, !known ? '–' : ratio === null ? duration(job.cpu_ms) : `${duration(job.cpu_ms)} of ${duration(job.cpu_limit_ms)} (${percent(ratio)}${job.preparation ? ', preparation' : ''})`);
      setAttr(node, 'data-tone', ratio === null ? null : ratioTone(ratio));
    },
  };
}

/** A time as "3 s ago" or as time of day, with the exact one as an attribute. */
export function moment() {
  const node = el('time');
  return {
    node,
    update(ms, now, relative = true) {
      if (!Number.isFinite(ms)) return setText(node, '–');
      setAttr(node, 'datetime', iso(ms));
      setAttr(node, 'title', relative ? clock(ms) : null);
      return setText(node, relative ? ago(now - ms) : clock(ms));
    },
  };
}

/** A cell with a badge, and lines of text beneath it. */
export function badgeCell(cell) {
  const mark = badge();
  const lines = el('span', { class: 'beneath' });
  cell.append(mark.node, lines);
  return (text, tone, beneath = '') => {
    mark.update(text, tone);
    setText(lines, beneath);
    setHidden(lines, !beneath);
  };
}

/** The first cell of a row: a text or a link, and on phones a line with what the hidden columns say. */
export function primaryCell(cell, linked) {
  const name = el(linked ? 'a' : 'span', { class: 'mono' });
  const narrow = el('span', { class: 'narrow' });
  cell.append(name, narrow);
  return ({ text, title, href, beneath }) => {
    setText(name, text);
    setAttr(name, 'title', title === text ? null : title);
    if (linked) setAttr(name, 'href', href);
    setText(narrow, beneath);
  };
}

/** A row of links of which one is where the reader is. */
export function tabs(label, items) {
  const links = items.map(([id, text, href]) => ({ id, node: el('a', { href }, text) }));
  return {
    node: el('nav', { class: 'tabs', 'aria-label': label }, el('ul', {}, ...links.map(({ node }) => el('li', {}, node)))),
    update(current) {
      for (const { id, node } of links) setAttr(node, 'aria-current', id === current ? 'page' : null);
    },
  };
}

/** A field to filter with. `changed(value)` is called when the reader pauses. */
export function textFilter(label, value, changed, placeholder = '') {
  let timer = null;
  const input = el('input', {
    type: 'search', value, placeholder, autocomplete: 'off', spellcheck: 'false',
    input: () => {
      clearTimeout(timer);
      timer = setTimeout(() => changed(input.value.trim()), 300);
    },
  });
  return { node: el('label', { class: 'field' }, el('span', {}, label), input), input };
}

export function choice(label, options, value, changed) {
  const select = el('select', { change: () => changed(select.value) },
    ...options.map(([id, text]) => el('option', { value: id, selected: id === value }, text)));
  return { node: el('label', { class: 'field' }, el('span', {}, label), select), select };
}

/** A complete hash, which the coordinator can look for; empty if it is less. */
export function wholeHash(text) {
  return /^(0x)?[0-9a-f]{64}$/i.test(text) ? text.toLowerCase() : '';
}

/** Whether a hash has this in it. */
export function partOf(hash, text) {
  return !text || String(hash).toLowerCase().includes(text.toLowerCase().replace(/^0x/, ''));
}

/** A message above a list: what could not be read, or that there is more. */
export function notice() {
  const node = el('p', { class: 'notice', role: 'status', hidden: true });
  return {
    node,
    update(text) {
      setText(node, text);
      setHidden(node, !text);
    },
  };
}

/** Puts the parameters of a view into the address, without a new entry of the history. */
export function remember(view, parameters) {
  const given = Object.entries(parameters).filter(([, value]) => value !== '' && value !== null && value !== undefined);
  const search = given.length ? `?${new URLSearchParams(given)}` : '';
  window.history.replaceState(null, '', `#/${view}${search}`);
}
