// How to get a replay bundle of a request. The coordinator has none: the client has code, candidate and verdict.

import { card, el, setHidden, setText } from '../dom.js';

const code = (text) => el('code', {}, text);

export function bundles(id) {
  const lead = el('p');
  const command = el('pre', {}, el('code', {},
    'pvf execute runtime.wasm --params params.scale --bundles DIR   # the client writes a bundle of each verdict that is not valid\n'
    + 'pvf bundle list DIR                                            # the bundles, the newest first\n'
    + 'pvf bundle show DIR/ID.pvfbundle                               # what is in it\n'
    + 'pvf replay DIR/ID.pvfbundle                                    # here, or with --nats on a fleet'));
  const note = el('p', { class: 'note' }, 'In a program: ', code('pvf::Config::bundles'), ' or ', code('ClientConfig::bundles'),
    '. A bundle has the PoV, which may be confidential, and the log of the guest. The logs of the workers have this request as ',
    code(`request=${id}`), '. See ', code('docs/operate/bundles.md'), '.');
  const node = card('Run it again', lead, command, note);
  return {
    node,
    update(r) {
      const expired = r.outcome === 'deadline';
      const client = `its client, ${r.client}`;
      setText(lead, r.state !== 'ended'
        ? `A replay bundle is written by ${client}, after the verdict.`
        : expired
          ? 'A request that expired has no verdict and no bundle.'
          : r.outcome === 'valid' || r.outcome === 'ok'
            ? `A replay bundle has everything that it takes to run the request again. It is written by ${client}, of a valid verdict only with --bundle-all.`
            : `A replay bundle has everything that it takes to run the request again, with the log of the guest and where it trapped. It is written by ${client}, if it was started with --bundles.`);
      setHidden(command, expired);
    },
  };
}
