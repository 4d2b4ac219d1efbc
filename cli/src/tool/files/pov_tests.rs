use super::*;
use parity_scale_codec::Encode as _;

const ROOT: [u8; 32] = [9; 32];
const NUMBER: u32 = 20_000_004;
const MAX: u32 = 10 << 20;

/// A header with this number.
fn header(number: u32) -> Vec<u8> {
    ([1_u8; 32], Compact(number), [2_u8; 32], [3_u8; 32], Compact(0_u32)).encode()
}

/// Block data with the context in it, as Cumulus' inherent brings it along, compressed.
fn block_data() -> Vec<u8> {
    let context = (header(41), NUMBER, ROOT, MAX).encode();
    let noise: Vec<u8> = (0..300_u32).flat_map(|n| pvf_shared::ids::blake2b_256(&[&n.to_le_bytes()])).collect();
    // The parent head stands there with its length in front, so it is found as bytes.
    let bytes = [b"VERSIONEDPBD\x01\x04", &header(42)[..], &context, &noise].concat();
    sp_maybe_compressed_blob::compress_weakly(&bytes, 1 << 20).unwrap()
}

fn newer() -> Vec<u8> {
    (block_data(), header(41), NUMBER, ROOT, MAX).encode()
}

fn older() -> Vec<u8> {
    (block_data(), header(41), ROOT, NUMBER).encode()
}

fn read(bytes: &[u8]) -> Result<Pov, String> {
    Pov::recognise(Path::new("a.pov"), &Bytes::copy_from_slice(bytes))
}

#[test]
fn both_layouts_are_read_and_told_apart() {
    for (bytes, layout, max) in [(newer(), Layout::Newer, Some(MAX)), (older(), Layout::Older, None)] {
        let text = format!("0x{}", hex::encode(&bytes));
        for bytes in [&bytes[..], text.as_bytes()] {
            let pov = read(bytes).unwrap();
            assert_eq!((pov.layout, pov.max_pov_size), (layout, max));
            assert_eq!((&pov.block_data[..], &pov.parent_head[..]), (&block_data()[..], &header(41)[..]));
            assert_eq!((pov.relay_parent_number, pov.relay_parent_storage_root), (NUMBER, ROOT));
            assert!(pov.confirmed() && pov.warnings(&None).is_empty());
        }
    }
}

#[test]
fn no_truncated_file_is_read() {
    for whole in [newer(), older()] {
        for end in 0..whole.len() {
            assert!(read(&whole[..end]).is_err(), "{end} of {} bytes", whole.len());
        }
        assert!(read(&[&whole[..], &[0]].concat()).is_err(), "a byte more");
    }
}

#[test]
fn a_changed_length_is_an_error_or_changes_nothing() {
    for whole in [newer(), older()] {
        let original = read(&whole).unwrap();
        // The length of the block data has four bytes at most, and that of the head follows the block data.
        let block_data = block_data();
        let head_at = block_data.encode().len();
        let lengths = (0..head_at - block_data.len()).chain(head_at..head_at + 2);
        for at in lengths {
            for value in 0..=255 {
                let mut changed = whole.clone();
                changed[at] = value;
                if let Ok(pov) = read(&changed) {
                    let same = pov.block_data == original.block_data && pov.parent_head == original.parent_head;
                    assert!(same && pov.layout == original.layout, "byte {at} is {value}");
                }
            }
        }
    }
}

#[test]
fn a_file_with_another_context_than_its_block_data_is_damaged() {
    for changed in [(header(40), NUMBER, ROOT), (header(41), NUMBER + 1, ROOT), (header(41), NUMBER, [8; 32])] {
        let (head, number, root) = changed;
        assert!(read(&(block_data(), head, number, root, MAX).encode()).unwrap_err().contains("damaged"));
    }
}

#[test]
fn the_hash_in_a_file_s_name_is_cut() {
    let path = format!("povs/0x{}_17.pov", "ab".repeat(32));
    let pov = Pov::recognise(Path::new(&path), &newer().into()).unwrap();
    assert_eq!((pov.short_name().as_str(), pov.name().len()), ("0xababab…abab_17.pov", 73));
    assert_eq!(read(&newer()).unwrap().short_name(), "a.pov");
}

#[test]
fn other_files_are_named() {
    let params = (header(41), b"block data".to_vec(), NUMBER, ROOT).encode();
    for (bytes, word) in [
        (params, "--params"),
        (block_data(), "bare block data"),
        (b"\0asm\x01\0\0\0".to_vec(), "validation code"),
        (b"".to_vec(), "empty"),
        (b"0xzz".to_vec(), "not valid"),
    ] {
        let why = read(&bytes).unwrap_err();
        assert!(why.contains(word), "{why}");
    }
}

#[test]
fn a_candidate_of_version_3_needs_its_extension() {
    let bytes = [b"VERSIONEDPBD\x03\x04", &header(42)[..], &(header(41), NUMBER, ROOT).encode()].concat();
    let pov = read(&(bytes, header(41), NUMBER, ROOT, MAX).encode()).unwrap();
    let extension = Some(ValidationParamsExtension::V3 { relay_parent: [1; 32], scheduling_parent: [2; 32] });
    assert!(pov.warnings(&None)[0].contains("--scheduling-parent"));
    assert_eq!(pov.warnings(&extension), [""; 0]);
    assert_eq!(pov.context(&extension).extension, extension);
}
