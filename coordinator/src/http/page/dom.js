// Elements of the page. What comes from the network becomes text nodes and attribute values, never markup: names of
// hosts, ids and reasons are the words of other machines.

const SVG = 'http://www.w3.org/2000/svg';
const SVG_TAGS = new Set(['svg', 'path', 'line', 'rect', 'g', 'circle']);

/** Makes an element. A function as an attribute is a listener of that event; absent values are left out. */
export function el(tag, attributes = {}, ...children) {
  const node = SVG_TAGS.has(tag) ? document.createElementNS(SVG, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === 'function') node.addEventListener(name, value);
    else node.setAttribute(name, value === true ? '' : String(value));
  }
  const given = children.filter((child) => child !== null && child !== undefined);
  node.append(...given.map((child) => (typeof child === 'string' ? visible(child) : child)));
  return node;
}

/**
 * A text with its control characters shown as escapes. Those that turn the direction of writing would also turn what the
 * page writes beside a name.
 */
export function visible(text) {
  return text.replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]/g,
    (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

/** Sets a text, and leaves the node alone if it has that text: an unchanged node costs no layout. */
export function setText(node, text) {
  const wanted = text === null || text === undefined ? '' : visible(String(text));
  const only = node.firstChild;
  if (only && !only.nextSibling && only.nodeType === Node.TEXT_NODE) {
    if (only.nodeValue !== wanted) only.nodeValue = wanted;
  } else if (only || wanted !== '') {
    node.textContent = wanted;
  }
}

/** Sets an attribute, or removes it if the value is null. */
export function setAttr(node, name, value) {
  const wanted = value === null || value === undefined ? null : name === 'title' ? visible(String(value)) : String(value);
  if (node.getAttribute(name) === wanted) return;
  if (wanted === null) node.removeAttribute(name);
  else node.setAttribute(name, wanted);
}

export function setHidden(node, hidden) {
  if (node.hidden !== hidden) node.hidden = hidden;
}

/** Shows these children in this order, and moves or adds only those that are not in their place. */
export function setChildren(parent, children) {
  const focused = document.activeElement;
  let next = parent.firstChild;
  const moved = [];
  for (const child of children) {
    if (child === next) next = next.nextSibling;
    else {
      if (child.contains(focused)) moved.push(focused);
      parent.insertBefore(child, next);
    }
  }
  while (next) {
    const after = next.nextSibling;
    next.remove();
    next = after;
  }
  // A browser takes the focus away from what is moved.
  for (const node of moved) if (node.isConnected) node.focus({ preventScroll: true });
}

/** Keeps one node for each key: `update(items)` makes, updates, orders and removes them. */
export function keyedList(parent, key, make) {
  const nodes = new Map();
  return (items) => {
    const seen = new Set();
    const children = [];
    for (const item of items) {
      const id = key(item);
      if (seen.has(id)) continue;
      seen.add(id);
      if (!nodes.has(id)) nodes.set(id, make(item));
      const { node, update } = nodes.get(id);
      update(item);
      children.push(node);
    }
    for (const id of nodes.keys()) if (!seen.has(id)) nodes.delete(id);
    setChildren(parent, children);
  };
}

/** A label with a colour and a mark of its own; the word says the same as the colour. */
export function badge() {
  const node = el('span', { class: 'badge' });
  return {
    node,
    update(text, tone) {
      setText(node, text);
      setAttr(node, 'data-tone', tone);
      setHidden(node, !text);
    },
  };
}

/** A bar of a part of a whole. The number stands beside it as text, so the bar itself is not read out. */
export function bar() {
  const fill = el('span', { class: 'fill' });
  const node = el('span', { class: 'bar', 'aria-hidden': 'true' }, fill);
  let shown = null;
  return {
    node,
    update(ratio, tone = 'plain') {
      const width = Number.isFinite(ratio) ? `${Math.round(Math.min(Math.max(ratio, 0), 1) * 1000) / 10}%` : '0%';
      if (shown !== width) {
        shown = width;
        fill.style.width = width;
      }
      setAttr(node, 'data-tone', tone);
    },
  };
}

/** A section of the page with a heading. */
export function card(title, ...children) {
  const heading = el('h2', {}, title);
  return el('section', { class: 'card' }, heading, ...children);
}

/** Names and values; `update` takes the values in the order of the names, and hides what is null. */
export function facts(names, attributes = {}) {
  const pairs = names.map((name) => {
    const value = el('dd');
    return { row: el('div', {}, el('dt', {}, name), value), value };
  });
  const node = el('dl', { class: 'facts', ...attributes }, ...pairs.map(({ row }) => row));
  return {
    node,
    update(values) {
      pairs.forEach(({ row, value }, n) => {
        const given = values[n];
        setHidden(row, given === null || given === undefined || given === '');
        if (given instanceof Node) {
          if (value.firstChild !== given) value.replaceChildren(given);
        } else setText(value, given);
      });
    },
  };
}
