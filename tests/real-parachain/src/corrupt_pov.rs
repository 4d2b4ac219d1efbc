//! PoVs with an error outside of the blocks: in the storage proof, the validation parameters, the layout or the
//! compression.

use crate::{
    Header,
    author::{Draft, author},
    cases::{
        Case,
        Meant::{self, Invalid},
    },
    chain::Valid,
    pov::{Layout, block_data, compress},
};
use codec::{Decode, Encode};
use penpal_runtime::Runtime;
use sp_core::storage::well_known_keys;
use sp_maybe_compressed_blob::decompress;
use sp_runtime::traits::{BlakeTwo256, Hash};
use sp_state_machine::prove_read;
use sp_trie::StorageProof;

/// Limit of a decompressed PoV, bytes.
const POV_LIMIT: usize = 40 * 1024 * 1024;
/// Number of cases with a missing node.
const PRUNED: usize = 6;

/// Wrong storage proofs of one block; `other` is a block on another state.
pub fn proofs(of: &Valid, other: &Valid) -> Vec<Case> {
    let case = |name: &str, about: &str, change: &dyn Fn(&mut Vec<Vec<u8>>)| {
        let mut proof = of.candidate.compact();
        change(&mut proof.encoded_nodes);
        let data = block_data(Layout::V1, of.candidate.blocks.clone(), proof);
        of.with_params(name, about, Invalid, of.candidate.params_with(data))
    };
    let mut cases = vec![
        case("node-missing", "without a node in the middle of the proof", &|nodes| {
            nodes.remove(nodes.len() / 2);
        }),
        case("node-missing-last", "without the last node", &|nodes| {
            nodes.pop();
        }),
        case("node-missing-root", "without the root", &|nodes| {
            nodes.remove(0);
        }),
        case("nodes-none", "an empty proof", &|nodes| nodes.clear()),
        case("nodes-swapped", "two nodes in the wrong order", &|nodes| {
            let middle = nodes.len() / 2;
            nodes.swap(middle, middle + 1);
        }),
        case("node-extra", "a node more than the root leads to, a copy of another", &|nodes| {
            nodes.push(nodes[nodes.len() / 2].clone());
        }),
        case("node-extra-garbage", "three bytes more, as a node", &|nodes| nodes.push(vec![1, 2, 3])),
        case("proof-of-another-state", "another block's proof", &|nodes| {
            *nodes = other.candidate.compact().encoded_nodes;
        }),
        of.changed(
            "proof-superset",
            "a proof of more than is read: the runtime's code too",
            Meant::Valid,
            |candidate| {
                let more = prove_read(of.state.clone(), [well_known_keys::CODE]).expect("a trie in memory");
                candidate.proof = StorageProof::merge([candidate.proof.clone(), more]);
            },
        ),
    ];
    for quarter in 0..4_usize {
        let about = format!("a bit of a node of the proof, at {quarter}/4 of it");
        cases.push(case(&format!("node-bit-{quarter}"), &about, &|nodes| {
            let at = (nodes.len() - 1) * quarter / 4;
            let middle = nodes[at].len() / 2;
            nodes[at][middle] ^= 8;
        }));
    }
    cases.extend(pruned(of));
    cases
}

/// Proofs that contain only the hash of a node that the block needs. The root is still correct, so only the execution
/// finds the missing node.
fn pruned(of: &Valid) -> Vec<Case> {
    let nodes: Vec<Vec<u8>> = of.candidate.proof.iter_nodes().cloned().collect();
    // In the order of their hashes, which is arbitrary and reproducible.
    let mut order: Vec<_> = nodes.iter().map(|node| (BlakeTwo256::hash(node), node)).collect();
    order.sort();
    let pruned = order.iter().filter(|(hash, _)| *hash != of.candidate.parent_root).take(PRUNED).enumerate();
    let case = |(index, (_, node)): (usize, &(_, &Vec<u8>))| {
        let name = format!("node-pruned-{index}");
        of.changed(&name, "a node that is needed is there as a hash only", Invalid, |candidate| {
            candidate.proof = StorageProof::new(nodes.iter().filter(|other| other != node).cloned());
        })
    };
    pruned.map(case).collect()
}

/// Blocks that are validated with other parameters than they were built on.
pub fn contexts(of: &Valid, other: &Valid) -> Vec<Case> {
    let case = |name: &str, about: &str, change: &dyn Fn(&mut crate::expected::ValidationParams)| {
        let mut params = of.candidate.params();
        change(&mut params);
        of.with_params(name, about, Invalid, params)
    };
    let lie = "a block whose validation data names another parent head than it has: right in all else";
    let validation_data = of.changed("validation-data-head", lie, Invalid, |candidate| {
        let parent = Header::decode(&mut &candidate.parent_head[..]).expect("a header");
        let known_head = other.candidate.parent_head.clone();
        // Without the inherents, which `author` creates.
        let extrinsics = candidate.extrinsics().split_off(2);
        let draft = Draft { relay: of.relay.clone(), known_head, peer: None, digest: Vec::new(), extrinsics };
        let lying = author::<Runtime>(&parent, &of.state, draft);
        (candidate.blocks, candidate.proof) = (vec![lying.block], lying.proof);
    });
    vec![
        validation_data,
        case("parent-head", "another parent", &|p| p.parent_head = other.candidate.parent_head.clone()),
        case("parent-head-bit", "a bit of the parent's state root", &|p| p.parent_head[40] ^= 1),
        case("parent-head-cut", "half of the parent's head", &|p| p.parent_head.truncate(p.parent_head.len() / 2)),
        case("parent-head-empty", "no parent's head", &|p| p.parent_head.clear()),
        case("relay-root-bit", "a bit of the relay parent's storage root", &|p| p.relay_parent_storage_root[9] ^= 1),
        case("relay-root-zero", "zeros as the relay parent's storage root", &|p| p.relay_parent_storage_root = [0; 32]),
        case("relay-number", "the number of the relay block behind", &|p| p.relay_parent_number += 1),
        case("relay-number-bit", "a high bit of the relay parent's number", &|p| p.relay_parent_number ^= 1 << 31),
    ]
}

/// Block data that is truncated, too long, or in an unknown layout.
pub fn layouts(of: &Valid) -> Vec<Case> {
    let prefix = b"VERSIONEDPBD".len();
    let case = |name: &str, about: &str, change: &dyn Fn(&mut Vec<u8>)| of.with_data(name, about, Invalid, change);
    let mut cases = vec![
        case("data-empty", "no block data", &|data| data.clear()),
        case("data-cut-1", "one byte of block data", &|data| data.truncate(1)),
        case("data-cut-prefix", "block data cut off behind its prefix", &|data| data.truncate(prefix)),
        case("data-cut-version", "block data cut off behind its version", &|data| data.truncate(prefix + 1)),
        case("data-cut-half", "half of the block data", &|data| data.truncate(data.len() / 2)),
        case("data-cut-last", "block data without its last byte", &|data| {
            data.pop();
        }),
        case("layout-unknown", "block data of version 3", &|data| data[prefix] = 3),
        case("layout-zero", "block data of version 0, which has no number", &|data| data[prefix] = 0),
        case("prefix-bit", "a bit of the prefix: taken for the oldest layout", &|data| data[3] ^= 1),
        case("blocks-too-many", "says that there are two blocks", &|data| data[prefix + 1] = 2 << 2),
        case("undecodable-extrinsic", "the transfer in a format that does not exist", &|data| {
            let transfer = of.candidate.blocks[0].extrinsics.last().expect("a transfer").encode();
            let at = data.windows(transfer.len()).position(|window| window == transfer).expect("it is in there");
            // The length takes two bytes; behind it is the format.
            data[at + 2] = 0x87;
        }),
    ];
    // The decoder ignores bytes behind the proof.
    let garbage = "three bytes behind the block data, which nothing reads";
    cases.push(of.with_data("data-behind", garbage, Meant::Valid, |data| data.extend([1, 2, 3])));
    cases
}

/// PoVs that are compressed incorrectly, or not at all.
pub fn compression(of: &Valid) -> Vec<Case> {
    let data = of.candidate.params().block_data;
    let pov = compress(&data);
    let with = |name: &str, about: &str, pov: Vec<u8>| {
        let decompressed = decompress(&pov, POV_LIMIT).ok().map(|data| data.into_owned());
        let decompresses = decompressed.is_some();
        let params = of.candidate.params_with(decompressed.unwrap_or_default());
        Case { pov, decompresses, ..of.with_params(name, about, Invalid, params) }
    };
    let edited = |name: &str, about: &str, change: &dyn Fn(&mut Vec<u8>)| {
        let mut pov = pov.clone();
        change(&mut pov);
        with(name, about, pov)
    };
    let magic = 8;
    let mut cases = vec![
        edited("pov-magic-only", "only the compression's prefix", &|pov| pov.truncate(magic)),
        edited("pov-cut-half", "half of the compressed PoV", &|pov| pov.truncate(pov.len() / 2)),
        edited("pov-cut-last", "the compressed PoV without its last byte", &|pov| {
            pov.pop();
        }),
        edited("pov-frame", "a bit of the frame's magic number", &|pov| pov[magic] ^= 1),
        edited("pov-header", "a reserved bit of the frame's header", &|pov| pov[magic + 4] ^= 8),
        edited("pov-bit", "a bit in the middle of the compressed PoV", &|pov| {
            let middle = pov.len() / 2;
            pov[middle] ^= 1;
        }),
        edited("pov-behind", "three bytes behind the compressed PoV", &|pov| pov.extend([1, 2, 3])),
        with("pov-garbage", "the prefix, then what is no frame", [&pov[..magic], &data[..]].concat()),
        with("pov-twice", "compressed twice", {
            let mut twice = pov[..magic].to_vec();
            twice.extend(&compress(&pov)[magic..]);
            twice
        }),
        with("pov-bomb", "one byte more than a PoV may have, of zeros", bomb()),
    ];
    let plain = of.with_params("plain", "the PoV not compressed", Meant::Valid, of.candidate.params_with(data.clone()));
    cases.push(Case { pov: data, compressed: false, ..plain });
    cases
}

/// Compressed zeros beyond the limit. (The compressor has a limit, too, which is raised here.)
fn bomb() -> Vec<u8> {
    let zeros = vec![0; POV_LIMIT + 1];
    sp_maybe_compressed_blob::compress_weakly(&zeros, 2 * POV_LIMIT).expect("below the raised limit")
}
