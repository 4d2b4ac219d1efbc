//! Code that is malformed or unusual as a file: not wasm, truncated, compressed.

use super::{
    Case, Expect,
    builder::zstd,
    text::{guest, module},
};
use crate::variant::custom_section;

/// The default bomb limit of code: 30 MiB.
const BOMB_LIMIT: usize = 30 * 1024 * 1024;

/// An ordinary guest. Its last section is the data.
fn plain() -> Vec<u8> {
    guest("", "", "")
}

/// A plain guest that is extended to `len` bytes by a custom section of zeros, compressed.
fn compressed_to(len: usize) -> Vec<u8> {
    let mut code = plain();
    // The section's id, its length in four bytes, the length of the name, and the name.
    let header = 1 + 4 + 1 + "padding".len();
    let padding = vec![0; len - code.len() - header];
    custom_section(&mut code, b"padding", &padding);
    assert_eq!(code.len(), len, "the section's length must take four bytes");
    zstd(&code)
}

pub(super) const CASES: &[Case] = &[
    Case::valid("plain", "an ordinary guest", plain),
    Case::refused("empty", Expect::Prevalidation, "no bytes at all", Vec::new),
    Case::refused("not_wasm", Expect::Prevalidation, "some text", || {
        b"this is not the code you are looking for".to_vec()
    }),
    Case::refused("half_a_magic", Expect::Prevalidation, "three bytes", || b"\0as".to_vec()),
    Case::refused("magic_only", Expect::Prevalidation, "no version", || b"\0asm".to_vec()),
    Case::refused("version_2", Expect::Prevalidation, "only version 1 exists", || {
        let mut code = plain();
        code[4] = 2;
        code
    }),
    Case::refused("component", Expect::Prevalidation, "a component is not a module", || b"\0asm\x0d\0\x01\0".to_vec()),
    Case::invalid(
        "header_only",
        "a module without sections is valid; it has no memory to write parameters into",
        || b"\0asm\x01\0\0\0".to_vec(),
    ),
    Case::refused("cut_in_the_data", Expect::Prevalidation, "the last byte is missing", || {
        let mut code = plain();
        code.pop();
        code
    }),
    Case::refused("cut_in_the_middle", Expect::Prevalidation, "half the file is missing", || {
        let mut code = plain();
        code.truncate(code.len() / 2);
        code
    }),
    Case::valid(
        "cut_between_sections",
        "a file may end after any section; without its data the guest returns zeros, which are a valid \
         result",
        || {
            let mut code = plain();
            code.truncate(data_section(&code));
            code
        },
    ),
    Case::refused("cut_after_a_section_id", Expect::Prevalidation, "no length follows", || {
        let mut code = plain();
        code.truncate(data_section(&code) + 1);
        code
    }),
    Case::refused("stray_zero_at_the_end", Expect::Prevalidation, "a section id without length", || {
        let mut code = plain();
        code.push(0);
        code
    }),
    Case::refused("stray_bytes_at_the_end", Expect::Prevalidation, "no section has id 127", || {
        let mut code = plain();
        code.extend_from_slice(&[0x7f, 0x01, 0x00]);
        code
    }),
    Case::valid("custom_section", "custom sections are skipped", || {
        let mut code = plain();
        custom_section(&mut code, b"unknown", &[1, 2, 3]);
        code
    }),
    Case::refused("section_twice", Expect::Prevalidation, "each section comes at most once", || {
        let mut code = plain();
        let data = data_section(&code);
        code.extend_from_within(data..);
        code
    }),
    Case::refused("sections_out_of_order", Expect::Prevalidation, "types come before data", || {
        let mut code = plain();
        code.extend_from_slice(&[1, 1, 0]);
        code
    }),
    Case::refused("functions_without_code", Expect::Prevalidation, "one declared, none defined", || {
        b"\0asm\x01\0\0\0\x01\x04\x01\x60\0\0\x03\x02\x01\0".to_vec()
    }),
    Case::refused("ill_typed", Expect::Preparation, "parses, but an i64 is not an i32", || {
        guest("", "", "(drop (i32.add (i64.const 1) (i32.const 2)))")
    }),
    Case::refused("unknown_function", Expect::Preparation, "calls a function that does not exist", || {
        module("(module (func (call 7)))")
    }),
    Case::valid("compressed", "the prefix and a zstd frame", || zstd(&plain())),
    Case::valid("compressed_to_the_limit", "exactly 30 MiB", || compressed_to(BOMB_LIMIT)),
    Case::refused(
        "compressed_over_the_limit",
        Expect::CouldNotDecompress,
        "one byte over the limit; the module itself is valid",
        || compressed_to(BOMB_LIMIT + 1),
    ),
    Case::refused(
        "compressed_prefix_only",
        Expect::CouldNotDecompress,
        "an empty stream is an unfinished frame",
        || zstd(&[])[..8].to_vec(),
    ),
    Case::valid("compressed_in_two_frames", "consecutive frames form one stream", || {
        let code = plain();
        let (first, second) = code.split_at(code.len() / 2);
        [&zstd(first)[..], &zstd(second)[8..]].concat()
    }),
    Case::refused(
        "compressed_then_rubbish",
        Expect::CouldNotDecompress,
        "only another frame may follow a frame",
        || [&zstd(&plain())[..], b"no frame"].concat(),
    ),
    Case::refused("compressed_rubbish", Expect::CouldNotDecompress, "the prefix, but no zstd frame", || {
        [&zstd(&[])[..8], b"rubbish that is no frame"].concat()
    }),
    Case::refused("compressed_cut", Expect::CouldNotDecompress, "the frame is truncated", || {
        let mut code = zstd(&plain());
        code.truncate(code.len() - 5);
        code
    }),
    Case::refused(
        "compressed_twice",
        Expect::Prevalidation,
        "decompressed once, it is still compressed and not wasm",
        || zstd(&zstd(&plain())),
    ),
    Case::refused("compressed_empty", Expect::Prevalidation, "a frame of no bytes", || zstd(&[])),
];

/// Position of the data section of a [`guest`], which is its last section.
fn data_section(code: &[u8]) -> usize {
    let mut at = 8;
    loop {
        let (len, header) = (usize::from(code[at + 1]), 2);
        assert!(len < 0x80, "sections of a plain guest are short");
        if code[at] == 11 {
            return at;
        }
        at += header + len;
    }
}
