"""Scripts that run in the page and say what a reader would see."""

#: Contrast of every visible text against what is behind it, by WCAG 2: 4.5, and 3 for large text.
CONTRAST = r"""
const canvas = Object.assign(document.createElement('canvas'), {width: 1, height: 1});
const context = canvas.getContext('2d', {willReadFrequently: true});
const known = new Map();
// The canvas reads every notation of a colour that the browser knows.
const rgba = (text) => {
  if (!known.has(text)) {
    context.clearRect(0, 0, 1, 1);
    context.fillStyle = text;
    context.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = context.getImageData(0, 0, 1, 1).data;
    known.set(text, [r, g, b, a / 255]);
  }
  return known.get(text);
};
const over = (top, below) => [0, 1, 2].map((n) => top[n] * top[3] + below[n] * (1 - top[3])).concat(1);
const behind = (node) => {
  const layers = [];
  for (let at = node; at; at = at.parentElement) {
    const colour = rgba(getComputedStyle(at).backgroundColor);
    if (colour[3] > 0) layers.push(colour);
    if (colour[3] === 1) break;
  }
  return layers.reverse().reduce((below, top) => over(top, below), [255, 255, 255, 1]);
};
const luminance = (colour) => {
  const [r, g, b] = colour.slice(0, 3).map((value) => {
    const part = value / 255;
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const ratio = (a, b) => {
  const [high, low] = [luminance(a), luminance(b)].sort((x, y) => y - x);
  return (high + 0.05) / (low + 0.05);
};
const unseen = (node) => {
  for (let at = node; at; at = at.parentElement) {
    const style = getComputedStyle(at);
    if (at.hidden || style.display === 'none' || style.visibility !== 'visible' || style.clipPath !== 'none') return true;
  }
  return false;
};
let texts = 0;
const bad = [];
const look = (node, colour, style, what) => {
  texts += 1;
  let opacity = 1;
  for (let at = node; at; at = at.parentElement) opacity *= Number(getComputedStyle(at).opacity);
  const ground = behind(node);
  const given = rgba(colour);
  const seen = over([...given.slice(0, 3), given[3] * opacity], ground);
  const size = parseFloat(style.fontSize);
  const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
  const found = ratio(seen, ground);
  if (found < (large ? 3 : 4.5)) bad.push(`${what.slice(0, 40)}: ${found.toFixed(2)} (${colour} on ${ground.slice(0, 3).map(Math.round)})`);
};
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const text = walker.currentNode;
  const node = text.parentElement;
  if (!text.nodeValue.trim() || ['SCRIPT', 'STYLE', 'NOSCRIPT', 'OPTION'].includes(node.tagName)) continue;
  const range = document.createRange();
  range.selectNodeContents(text);
  const box = range.getBoundingClientRect();
  if (box.width === 0 || box.height === 0 || unseen(node)) continue;
  const style = getComputedStyle(node);
  look(node, style.color, style, text.nodeValue.trim());
}
for (const node of document.querySelectorAll('input, select, button')) {
  if (unseen(node) || node.type === 'checkbox') continue;
  look(node, getComputedStyle(node).color, getComputedStyle(node), `${node.tagName} ${node.value}`);
  if (node.placeholder) look(node, getComputedStyle(node, '::placeholder').color, getComputedStyle(node, '::placeholder'), node.placeholder);
}
for (const node of document.querySelectorAll('[data-label]')) {
  const before = getComputedStyle(node, '::before');
  if (!unseen(node) && before.content !== 'none') look(node, before.color, before, `label ${node.dataset.label}`);
}
return {texts, bad};
"""

#: What is wider than the window, and which parts of the page are cut off or have to be scrolled sideways.
WIDER = r"""
const parts = [];
for (const node of document.querySelectorAll('main, main *, header *, footer *')) {
  const style = getComputedStyle(node);
  if (node.closest('[hidden], .unseen, pre, select, svg, .values') || style.display === 'none') continue;
  // A shortened name says so with an ellipsis, and has the whole as its title or in another place.
  if (style.textOverflow === 'ellipsis' || style.display === 'inline') continue;
  const box = node.getBoundingClientRect();
  if (box.width > 0 && (box.right > innerWidth + 1 || box.left < -1)) parts.push(`${node.tagName}.${node.className} at ${Math.round(box.right)}: ${node.innerText?.slice(0, 30)}`);
  if (style.overflowX !== 'visible' && node.scrollWidth > node.clientWidth + 1) parts.push(`${node.tagName}.${node.className} scrolls: ${node.scrollWidth} in ${node.clientWidth}`);
}
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const node = walker.currentNode.parentElement;
  if (node.closest('[hidden], .unseen, pre, select, .values, .short, .skip')) continue;
  const range = document.createRange();
  range.selectNodeContents(walker.currentNode);
  if ([...range.getClientRects()].some((box) => box.right > innerWidth + 1)) parts.push(`text ${walker.currentNode.nodeValue.slice(0, 60)}`);
}
return {page: Math.max(0, document.documentElement.scrollWidth - innerWidth), parts};
"""

#: Names, labels, headings and ids that assistive programs rely on.
DOCUMENT = r"""
const wrong = [];
if (document.documentElement.lang !== 'en') wrong.push('no language');
if (!document.title) wrong.push('no title');
for (const [selector, number] of [['h1', 1], ['main', 1], ['header', 1], ['[role=status][aria-live=polite]', 1]]) {
  if (document.querySelectorAll(selector).length !== number) wrong.push(`${document.querySelectorAll(selector).length} of ${selector}`);
}
const ids = [...document.querySelectorAll('[id]')].map((node) => node.id);
if (new Set(ids).size !== ids.length) wrong.push(`an id is there twice: ${ids}`);
for (const field of document.querySelectorAll('main input, main select, header select')) {
  if (!field.labels?.length) wrong.push(`a field without a label: ${field.outerHTML}`);
}
for (const control of document.querySelectorAll('a, button')) {
  if (control.closest('[hidden]')) continue;
  if (!control.innerText.trim() && !control.getAttribute('aria-label')) wrong.push(`a control without a name: ${control.outerHTML.slice(0, 80)}`);
  if (control.tagName === 'A' && !control.getAttribute('href')) wrong.push(`a link to nowhere: ${control.outerHTML.slice(0, 80)}`);
}
for (const table of document.querySelectorAll('table')) {
  if (!table.caption?.textContent) wrong.push('a table without a caption');
  if ([...table.querySelectorAll('th')].some((cell) => !cell.scope)) wrong.push(`a heading without a scope in ${table.caption?.textContent}`);
}
for (const node of document.querySelectorAll('[style]')) if (node.closest('svg')) wrong.push('a style in a plot');
const levels = [...document.querySelectorAll('h1, h2, h3')].filter((node) => !node.closest('[hidden]')).map((node) => Number(node.tagName[1]));
levels.reduce((before, level) => {
  if (level > before + 1) wrong.push(`a heading of level ${level} after one of level ${before}`);
  return level;
}, 0);
const here = document.querySelectorAll('#nav [aria-current]').length;
if (here !== (location.hash.includes('nowhere') ? 0 : 1)) wrong.push(`${here} views are marked as the one that is shown`);
return wrong;
"""
