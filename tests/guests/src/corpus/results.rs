//! The result of `validate_block`: its position in memory, and its decoding.

use super::{
    Case,
    helpers::{RESULT, returns},
    text::guest,
};
use crate::encode::scale_compact;

/// Maximum number of messages of each kind.
const MAX_MESSAGES: u32 = 16384;

/// A guest that returns this address and length.
fn points_to(pointer: &str, len: &str) -> Vec<u8> {
    guest(
        "",
        "",
        &format!(
            "(return (i64.or (i64.extend_i32_u {pointer})
                (i64.shl (i64.extend_i32_u {len}) (i64.const 32))))"
        ),
    )
}

/// A guest that returns a result with these numbers of empty messages.
fn messages(upward: u32, horizontal: u32) -> Vec<u8> {
    let mut result = vec![0, 0]; // no head data, no new code
    scale_compact(&mut result, upward);
    result.resize(result.len() + upward as usize, 0);
    scale_compact(&mut result, horizontal);
    // A recipient and an empty message.
    result.resize(result.len() + 5 * horizontal as usize, 0);
    result.extend_from_slice(&[0; 8]);
    returns(&result)
}

/// The address behind the last byte of memory.
const END: &str = "(i32.shl (memory.size) (i32.const 16))";

pub(super) const CASES: &[Case] = &[
    Case::invalid("output_empty", "no bytes do not decode", || points_to("(i32.const 0)", "(i32.const 0)")),
    Case::invalid("output_empty_out_of_bounds", "the bounds are checked for an empty result, too", || {
        points_to("(i32.const -1)", "(i32.const 0)")
    }),
    Case::invalid("output_past_the_end", "it starts inside memory and ends one byte outside", || {
        points_to(&format!("(i32.sub {END} (i32.const 12))"), "(i32.const 13)")
    }),
    Case::valid("output_to_the_end", "the last twelve bytes of memory, all zero", || {
        points_to(&format!("(i32.sub {END} (i32.const 12))"), "(i32.const 12)")
    }),
    Case::invalid("output_out_of_bounds", "it starts outside memory", || {
        points_to("(i32.const 0x20000000)", "(i32.const 16)")
    }),
    Case::invalid("output_wraps_around", "the sum of address and length exceeds 4 GiB", || {
        points_to("(i32.const 0xfffffff0)", "(i32.const 0x20)")
    }),
    Case::invalid("output_of_4_gib", "the host must reject it before it allocates a copy", || {
        points_to("(i32.const 0)", "(i32.const -1)")
    }),
    Case::invalid("output_cut", "the last byte of the watermark is missing", || returns(&RESULT[..RESULT.len() - 1])),
    Case::valid("output_with_trailing_bytes", "bytes behind a result are ignored", || {
        returns(&[RESULT, b"and more"].concat())
    }),
    Case::invalid("output_head_too_long", "its length is 2^30 bytes", || {
        returns(&[&[0x03, 0x00, 0x00, 0x00, 0x40], RESULT].concat())
    }),
    Case::invalid("output_length_not_canonical", "4 encoded in two bytes", || {
        returns(&[&[0x11, 0x00], &RESULT[1..]].concat())
    }),
    Case::invalid("output_option_neither", "2 is neither None nor Some", || {
        returns(&[0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
    }),
    Case::valid("output_with_new_code", "the relay chain checks the code, not the host", || {
        returns(&[&[0, 1, 8, 0xde, 0xad, 0, 0][..], &[0; 8]].concat())
    }),
    Case::valid("output_with_messages", "upward and horizontal", || {
        returns(
            &[
                &[0, 0][..],
                &[8, 4, 0xaa, 8, 0xbb, 0xcc],    // two upward messages
                &[4, 0xd0, 0x07, 0, 0, 4, 0xdd], // one to parachain 2000
                &[3, 0, 0, 0, 42, 0, 0, 0],
            ]
            .concat(),
        )
    }),
    Case::valid("output_of_most_messages", "16,384 of each kind", || messages(MAX_MESSAGES, MAX_MESSAGES)),
    Case::invalid("output_of_too_many_upward", "one more", || messages(MAX_MESSAGES + 1, 0)),
    Case::invalid("output_of_too_many_horizontal", "one more", || messages(0, MAX_MESSAGES + 1)),
    Case::valid("output_of_zeros", "an empty result is valid", || returns(&[0; 12])),
];
