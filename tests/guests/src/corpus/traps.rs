//! Traps of wasm instructions in `validate_block`, and guests that do not return.

use super::{Case, text::guest};

pub(super) const CASES: &[Case] = &[
    Case::invalid("trap_unreachable", "the unreachable instruction", || guest("", "", "unreachable")),
    Case::invalid("trap_divide_by_zero", "i32.div_u by 0", || {
        guest("", "", "(drop (i32.div_u (local.get 1) (i32.const 0)))")
    }),
    Case::invalid("trap_remainder_by_zero", "i64.rem_s by 0", || {
        guest("", "", "(drop (i64.rem_s (i64.const 7) (i64.const 0)))")
    }),
    Case::invalid("trap_divide_overflow", "the one signed quotient that does not fit", || {
        guest("", "", "(drop (i32.div_s (i32.const 0x80000000) (i32.const -1)))")
    }),
    Case::valid("remainder_overflow", "unlike the quotient, this remainder is defined: 0", || {
        guest("", "", "(if (i32.rem_s (i32.const 0x80000000) (i32.const -1)) (then unreachable))")
    }),
    Case::invalid("trap_truncate_nan", "a NaN has no integer value", || {
        guest("", "", "(drop (i32.trunc_f64_s (f64.const nan)))")
    }),
    Case::invalid("trap_truncate_overflow", "2^63 does not fit an i64", || {
        guest("", "", "(drop (i64.trunc_f64_s (f64.const 0x1p63)))")
    }),
    Case::invalid("trap_load_out_of_bounds", "the last bytes of the address space", || {
        guest("", "", "(drop (i32.load (i32.const 0xfffffff0)))")
    }),
    Case::invalid("trap_load_across_the_end", "starts inside memory and ends outside", || {
        let at_end_less_3 = "(i32.sub (i32.shl (memory.size) (i32.const 16)) (i32.const 3))";
        guest("", "", &format!("(drop (i32.load {at_end_less_3}))"))
    }),
    Case::invalid("trap_load_beyond_4_gib", "address and offset are added without wrapping", || {
        guest("", "", "(drop (i64.load offset=0xffffffff (i32.const -1)))")
    }),
    Case::invalid("trap_store_out_of_bounds", "memory has at most 130 MiB", || {
        guest("", "", "(i64.store (i32.const 0x10000000) (i64.const 1))")
    }),
    Case::invalid("trap_call_indirect_type", "the function in the table has another type", || {
        guest(
            "",
            "(type $takes (func (param i32)))
             (table 1 funcref) (elem (i32.const 0) $gives) (func $gives (result i32) (i32.const 1))",
            "(call_indirect (type $takes) (i32.const 5) (i32.const 0))",
        )
    }),
    Case::invalid("trap_call_indirect_null", "the table entry is null", || {
        guest("", "(type $t (func)) (table 1 funcref)", "(call_indirect (type $t) (i32.const 0))")
    }),
    Case::invalid("trap_call_indirect_out_of_table", "the index is beyond the end of the table", || {
        guest("", "(type $t (func)) (table 1 funcref)", "(call_indirect (type $t) (i32.const 1))")
    }),
    Case::endless("loop_forever", "the CPU limit ends the job", || guest("", "", "(loop $again (br $again))")),
    Case::endless("calls_forever", "the stack limiter counts depth, not calls", || {
        guest("", "(func $nothing)", "(loop $again (call $nothing) (br $again))")
    }),
    Case::endless(
        "host_calls_forever",
        "time in host functions counts, and wasm instrumentation could not interrupt them",
        || {
            guest(
                r#"(import "env" "ext_hashing_sha2_256_version_1" (func $hash (param i64) (result i32)))
                   (import "env" "ext_allocator_free_version_1" (func $free (param i32)))"#,
                "",
                // A pointer of 0 and a length of 64 KiB.
                "(loop $again (call $free (call $hash (i64.const 0x1000000000000))) (br $again))",
            )
        },
    ),
];
