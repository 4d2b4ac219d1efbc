// The page: which view is shown, the banner, the theme.

import { attention } from './attention.js';
import { el, setAttr, setHidden, setText } from './dom.js';
import { start } from './fleet.js';
import { clock, plural } from './format.js';
import { now, run, state, subscribe, tryNow, whileHidden } from './live.js';
import * as artifacts from './views/artifacts.js';
import * as events from './views/events.js';
import * as overview from './views/overview.js';
import * as request from './views/request.js';
import * as requests from './views/requests.js';
import * as workers from './views/workers.js';

const VIEWS = { '': overview, workers, requests, artifacts, events };

const byId = (id) => document.getElementById(id);
const main = byId('main');
let view = null;
let shownTitle = '';

/** The view of the address, its parameters, and the id of a request. */
function route() {
  const [path, search = ''] = location.hash.replace(/^#\/?/, '').split('?', 2);
  const [name, ...rest] = path.split('/');
  let id = rest.join('/');
  try {
    id = decodeURIComponent(id);
  } catch {
    // An address that was cut off in the middle of a character is taken as it is.
  }
  const found = Object.hasOwn(VIEWS, name) ? VIEWS[name] : null;
  return { name, id, parameters: new URLSearchParams(search), module: name === 'requests' && id ? request : found };
}

function show(focus) {
  const { name, id, parameters, module } = route();
  view?.end();
  main.replaceChildren();
  const heading = el('h1', { tabindex: -1 }, module?.title ?? 'No such view');
  main.append(heading);
  view = module ? module.mount(main, parameters, id) : null;
  if (!module) main.append(el('p', {}, 'This address leads nowhere. ', el('a', { href: '#/' }, 'To the overview')));
  shownTitle = module?.title ?? 'pvf-fleet';
  for (const link of byId('nav').querySelectorAll('a')) {
    const here = link.getAttribute('href').replace(/^#\/?/, '') === name;
    setAttr(link, 'aria-current', here ? (id ? 'true' : 'page') : null);
  }
  update();
  if (!focus) return;
  // The reader has chosen another view: reading goes on at its heading.
  heading.focus({ preventScroll: true });
  window.scrollTo(0, 0);
}

const LINKS = { connecting: 'Connecting', live: 'Live', down: 'Disconnected', standby: 'Standby' };

const retry = el('button', { type: 'button', click: () => tryNow() }, 'Try now');
const bannerTitle = el('strong');
const bannerText = el('span');
let bannerShown = '';

/** The banner is a live region: it is only touched when what it says changes. */
function banner() {
  const says = {
    down: ['Disconnected', `since ${clock(state.since)}: ${state.why}. What is shown is as of then; the page connects again by itself.`],
    standby: ['This coordinator is a standby.', 'It serves nothing until it takes over.'],
  }[state.link] ?? null;
  const key = says ? says.join(' ') : '';
  if (key === bannerShown) return;
  bannerShown = key;
  const place = byId('banner');
  place.dataset.tone = state.link === 'down' ? 'bad' : 'info';
  if (!says) {
    place.replaceChildren();
    return;
  }
  setText(bannerTitle, says[0]);
  setText(bannerText, says[1]);
  if (!bannerTitle.isConnected) place.replaceChildren(el('p', {}, bannerTitle, ' ', bannerText), retry);
  setHidden(retry, state.link !== 'down');
}

const standbyText = el('p', { class: 'reason' });
const standbyCard = el('section', { class: 'card empty', id: 'standby' },
  el('h2', {}, 'Standby'), standbyText,
  el('p', {}, 'This coordinator is connected to the bus and waits for the lease. Another one is active: it owns the queues, and its page shows the fleet. When this one takes over, this page shows the fleet by itself.'),
  el('ul', { class: 'sentences' },
    el('li', {}, 'Open the address of another coordinator’s --http.'),
    el('li', {}, 'The id of the active one: ', el('code', {}, 'nats kv get pvf-coordinator lease'), ' (the bucket is <fleet>-coordinator).'),
    el('li', {}, 'What it sees, from anywhere on the bus: ', el('code', {}, 'pvf status'), '.'),
    el('li', {}, 'How a takeover works: ', el('code', {}, 'docs/operate/failover.md'), '.')));

/** The title says how many problems there are, also while the page is hidden. Returns them. */
function retitle() {
  const { status, link } = state;
  const problems = status && link !== 'standby' ? attention(now()).filter((item) => item.tone !== 'info') : [];
  const mark = link === 'down' ? '(disconnected) ' : problems.length ? `(${problems.length}) ` : '';
  const title = `${mark}${shownTitle} – ${status?.fleet ?? 'pvf-fleet'}`;
  if (document.title !== title) document.title = title;
  return problems;
}

function update() {
  const { status, link } = state;
  setAttr(byId('link'), 'data-link', link);
  setText(byId('link-text'), LINKS[link]);
  setText(byId('fleet'), status?.fleet ? `fleet ${status.fleet}` : 'pvf-fleet');
  banner();
  const standby = link === 'standby';
  main.classList.toggle('waits', standby);
  if (standby) {
    setText(standbyText, state.why);
    if (!standbyCard.isConnected) main.append(standbyCard);
  } else standbyCard.remove();

  const problems = retitle();
  const pill = byId('problems');
  setText(pill, plural(problems.length, 'problem'));
  setAttr(pill, 'data-tone', problems.some((item) => item.tone === 'bad') ? 'bad' : 'warn');
  setHidden(pill, problems.length === 0);
  if (!standby) view?.update();
}

function theme() {
  const select = byId('theme');
  select.value = document.documentElement.dataset.theme ?? 'auto';
  select.addEventListener('change', () => {
    if (select.value === 'auto') delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = select.value;
    try {
      localStorage.setItem('pvf-theme', select.value);
    } catch {
      // Without storage the theme holds until the page is closed.
    }
  });
}

theme();
window.addEventListener('hashchange', () => show(true));
// A link to what is shown already, as the one that skips the navigation, only moves the focus.
document.querySelector('.skip').addEventListener('click', (event) => {
  event.preventDefault();
  main.focus();
});
show(false);
subscribe(update);
whileHidden(retitle);
start();
run();
