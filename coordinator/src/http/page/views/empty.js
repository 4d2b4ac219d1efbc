// What the overview says while the fleet has no workers, or has had no request.

import { el, setHidden, setText } from '../dom.js';
import { state } from '../live.js';

function steps(...items) {
  return el('ol', { class: 'steps' }, ...items.map((item) => el('li', {}, ...item)));
}

const code = (text) => el('code', {}, text);

export function empty() {
  const title = el('h2');
  const noWorkers = el('div', {},
    el('p', {}, 'The coordinator runs and waits for workers. A fleet needs at least one prepare worker and one execute worker.'),
    steps(
      ['On one machine, everything at once: ', code('pvf up')],
      ['On machines of their own: ', code('pvf-prepare-worker'), ' and ', code('pvf-execute-worker'),
        ', with the same bus (', code('PVF_NATS'), ') and the same store (', code('PVF_STORE'), ') as this coordinator. See ', code('docs/operate/deploy.md'), '.'],
      ['If a worker runs and is not here: ', code('pvf doctor'), ' on its machine says whether it can run jobs, and its log says why it does not register. See ',
        code('docs/operate/troubleshooting.md'), '.'],
    ));
  const noRequests = el('div', {},
    el('p', {}, 'The fleet is ready, and nothing was asked of it since this coordinator is active.'),
    steps(
      ['A candidate from the command line: ', code('pvf --nats nats://HOST:4222 execute runtime.wasm --params params.scale')],
      ['Whether a code can be prepared: ', code('pvf --nats nats://HOST:4222 precheck runtime.wasm')],
      ['From a Polkadot node: ', code('pvf --nats nats://HOST:4222 node install DIR --node-version VERSION'), ', then the node with ',
        code('--workers-path DIR'), '. See ', code('docs/integrate/node.md'), '.'],
    ));
  const node = el('section', { class: 'card empty', id: 'empty', hidden: true }, title, noWorkers, noRequests);
  return {
    node,
    update() {
      const { status } = state;
      if (!status) return;
      const workers = (status.execute_workers ?? 0) + (status.prepare_workers ?? 0);
      const asked = (status.executed ?? 0) + (status.prepared ?? 0) + (status.requests ?? 0) + (status.overloaded ?? 0);
      setHidden(node, workers > 0 && asked > 0);
      setHidden(noWorkers, workers > 0);
      setHidden(noRequests, workers === 0 || asked > 0);
      setText(title, workers === 0 ? 'No worker has registered' : 'No request yet');
    },
  };
}
