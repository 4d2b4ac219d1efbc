// The coordinator that is active: who it is, since when, and its counters.

import { card, el, facts, keyedList, setText } from '../dom.js';
import { age, bytes, clock, count } from '../format.js';
import { now, state } from '../live.js';
import { Poller } from '../poll.js';

const NAMES = ['Coordinator', 'Active since', 'Fencing token', 'Version', 'Clients', 'Requests in memory', 'Coalesced requests', 'Preparations', 'Executions', 'Trusted keys', 'Engines not compiled for'];

export function coordinator() {
  const list = facts(NAMES);
  const counters = el('dl', { class: 'facts counters' });
  const show = keyedList(counters, ([name]) => name, () => {
    const term = el('dt');
    const value = el('dd');
    return {
      node: el('div', {}, term, value),
      update([name, number]) {
        setText(term, name.replaceAll('_', ' '));
        setText(value, Array.isArray(number) ? number.map(count).join(', ') : count(number));
      },
    };
  });
  // The stream leaves the counters out. They are asked for while they are shown.
  const poller = new Poller({ path: () => 'api/status', everyMs: 5000, data: (status) => showCounts(status) });
  const details = el('details', {
    toggle: () => {
      if (details.open) poller.start();
      else poller.stop();
    },
  }, el('summary', {}, 'All counters since it is active'), counters);

  function showCounts(status) {
    show(Object.entries(status?.counts ?? {}));
  }

  const node = card('Active coordinator', list.node, details);
  node.id = 'coordinator';
  return {
    node,
    update() {
      const { status } = state;
      if (!status) return;
      const since = Number.isFinite(status.started_ms) ? `${clock(status.started_ms)} (${age(now() - status.started_ms)})` : null;
      list.update([
        location.host, since, status.token, status.version, count(status.clients),
        `${count(status.requests)}, ${bytes(status.request_bytes)}`, count(status.coalesced), count(status.prepared), count(status.executed),
        (status.trusted_keys ?? []).join(', ') || 'none: artifacts are not signed', (status.not_compiled_for ?? []).join(', '),
      ]);
      if (!counters.firstChild) showCounts(status);
    },
    end: () => poller.stop(),
  };
}
