//! Whether a result is the one that the PoV itself says: the head of the block that is in it.

use super::report::{Row, State};
use crate::tool::files::{
    block_data::Header,
    pov::{Pov, exported_name},
};
use pvf_shared::candidate::ValidationResult;

/// The row about a result's head; none if nothing is known of it. `others` are parent heads of the other PoVs, without
/// this one's.
pub(super) fn row(pov: &Pov, result: &ValidationResult, others: &[&[u8]]) -> Option<Row> {
    let row = |value: &str, state| Some(Row::fact("next-head", value, state));
    let is_parent = others.iter().any(|parent| *parent == &result.head_data[..]);
    let (blocks, first) = match &pov.blocks {
        Ok(known) => (known.blocks, known.header.as_ref()),
        Err(_) => (None, None),
    };
    match (blocks, first, exported_name(&pov.path)) {
        // The only block's header is in the block data, without anything that the validation would change.
        (Some(1), Some(header), _) if header.encoded == result.head_data => row("that of its block", State::Ok),
        _ if is_parent => row("the parent of another PoV", State::Ok),
        (Some(1), Some(header), _) => {
            let got = Header::of(&result.head_data);
            let got = got.map_or("something that is no header".into(), |got| format!("block {}", got.number));
            let why = format!(
                "the block data has block {}, the result is {got}; right only if the runtime sets a head of its own",
                header.number
            );
            row("another one", State::Warning).map(|row| row.with_note(why))
        }
        // A bundle: the result is the last block, of which only the number is known.
        (Some(count), Some(header), _) => {
            let last = header.number.saturating_add(count.saturating_sub(1));
            match Header::of(&result.head_data) {
                Some(got) if got.number == last => row("the number of its last block", State::Ok),
                _ => row("another number", State::Warning)
                    .map(|row| row.with_note(format!("{count} blocks from {} on end with {last}", header.number))),
            }
        }
        (_, _, Some((hash, number))) => {
            let got = Header::of(&result.head_data)?;
            let same = got.hash() == hash && got.number == number;
            same.then(|| Row::fact("next-head", "that of the file's name", State::Ok))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tool::files::block_data::BlockData;
    use parity_scale_codec::{Compact, Encode as _};
    use std::path::Path;

    fn header(number: u32) -> Vec<u8> {
        ([1_u8; 32], Compact(number), [2_u8; 32], [3_u8; 32], Compact(0_u32)).encode()
    }

    fn pov(block_data: &[u8]) -> Pov {
        let mut file = (block_data, header(6), 1_u32, [0_u8; 32], 1_u32).encode();
        // Where the block data would have the context, it is put behind it.
        if BlockData::read(block_data).unwrap().0.header.is_some() {
            let with_context = [block_data, &header(6), &1_u32.encode(), &[0; 32]].concat();
            file = (with_context, header(6), 1_u32, [0_u8; 32], 1_u32).encode();
        }
        Pov::recognise(Path::new("a.pov"), &file.into()).unwrap()
    }

    fn state(pov: &Pov, head: Vec<u8>, others: &[&[u8]]) -> Option<State> {
        let result = ValidationResult {
            head_data: head,
            new_validation_code: None,
            upward_messages: vec![],
            horizontal_messages: vec![],
            processed_downward_messages: 0,
            hrmp_watermark: 0,
        };
        row(pov, &result, others).map(|row| row.state)
    }

    #[test]
    fn the_head_of_a_block_is_known_from_its_data() {
        let one = pov(&[&header(7)[..], b"extrinsics"].concat());
        assert_eq!(state(&one, header(7), &[]), Some(State::Ok));
        assert_eq!(state(&one, header(8), &[]), Some(State::Warning));
        // A chain of PoVs is right, whatever is known of the data.
        assert_eq!(state(&one, header(8), &[&header(8)]), Some(State::Ok));
        let two = pov(&[b"VERSIONEDPBD\x01\x08", &header(7)[..], b"x"].concat());
        assert_eq!(state(&two, header(8), &[]), Some(State::Ok));
        assert_eq!(state(&two, header(7), &[]), Some(State::Warning));
        assert_eq!(state(&pov(b"an adder's block"), b"head".to_vec(), &[]), None);
    }

    #[test]
    fn the_file_s_name_says_it_too() {
        let hash = Header::of(&header(7)).unwrap().hash();
        let mut other = pov(b"unknown block data");
        other.path = format!("0x{}_7.pov", hex::encode(hash)).into();
        assert_eq!(state(&other, header(7), &[]), Some(State::Ok));
        assert_eq!(state(&other, header(9), &[]), None);
    }
}
