//! Candidates that the runtime accepts, but that are beyond a limit of the relay chain: of CPU time, or of size.

use crate::{
    blocks::{Chain, noise_from},
    extrinsics::{instantiate, map_account, remark},
    keys::Key,
};
use penpal_runtime::{Runtime, RuntimeEvent};
use sp_keyring::Sr25519Keyring::{Alice, Ferdie};

/// Iterations of the contract's loop.
const ITERATIONS: u32 = 40_000_000;
/// Size of the remark in each of the two blocks with large ones. A block may have extrinsics of 3.75 MiB.
const LARGE: usize = 7 * 512 * 1024;

/// A contract's constructor (EVM) that counts down from `iterations`, and returns no code.
fn count_down(iterations: u32) -> Vec<u8> {
    let [a, b, c, d] = iterations.to_be_bytes();
    let (push1, push4, jumpdest, swap1, sub, dup1, jumpi, stop) = (0x60, 0x63, 0x5B, 0x90, 0x03, 0x80, 0x57, 0x00);
    // The destination of the jump is the sixth byte.
    vec![push4, a, b, c, d, jumpdest, push1, 1, swap1, sub, dup1, push1, 5, jumpi, stop]
}

/// A block that needs much CPU time, by a contract of 15 bytes.
pub fn heavy(chain: &mut Chain) {
    // Not Alice: creating a contract raises the nonce.
    let map = chain.sign(&Key::Sr25519(Ferdie.pair()), map_account());
    let run = instantiate(Ferdie.to_account_id(), count_down(ITERATIONS));
    let run = chain.sign(&Key::Sr25519(Alice.pair()), run);
    let about = "a contract that counts down from 40 million, outside of the block's weight limit";
    chain.chain.block("heavy", about, vec![map, run]);
    // The runtime's only event of that pallet is that a contract was instantiated: not if that fails.
    let ran = chain.chain.inspect(|| {
        let mut events = frame_system::Pallet::<Runtime>::read_events_no_consensus();
        events.any(|record| matches!(record.event, RuntimeEvent::Revive(_)))
    });
    assert!(ran, "the contract failed");
}

/// A PoV larger than 5 MiB.
pub fn large(chain: &mut Chain) {
    let calls = [0, 1_u64 << 32].map(|start| vec![remark(noise_from(start, LARGE))]);
    chain.bundle("large", "two blocks in one PoV, each with a remark of 3.5 MiB that does not compress", calls);
}
