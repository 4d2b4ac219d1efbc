//! The stack limiter: its exact limit, and the valid code that it rejects.
//!
//! At each call it charges a function for its declared locals, the maximum height of its operand stack, and two more.
//! It traps when the sum exceeds the limit, which is 65,536 by default.

use super::{
    Case, Expect,
    text::{HEAP_BASE, MEMORY, guest, module},
};

/// A function that recurses as often as its parameter says. Each call is charged 4: two for the frame, two for the
/// operands of the subtraction.
const COUNTDOWN: &str = "(func $down (param i32)
    (if (local.get 0) (then (call $down (i32.sub (local.get 0) (i32.const 1))))))";

/// A function with this number of declared locals.
fn hungry(locals: usize) -> String {
    format!("(func $hungry (local {}))", "i64 ".repeat(locals))
}

pub(super) const CASES: &[Case] = &[
    Case::invalid("stack_overflow", "endless recursion", || guest("", "(func $down (call $down))", "(call $down)")),
    Case::invalid("stack_overflow_indirect", "calls through the table are charged too", || {
        guest(
            "",
            "(type $t (func)) (table 1 funcref) (elem (i32.const 0) $down)
             (func $down (call_indirect (type $t) (i32.const 0)))",
            "(call_indirect (type $t) (i32.const 0))",
        )
    }),
    Case::invalid("stack_overflow_of_the_entry_point", "the entry point may call itself", || {
        module(&format!(
            r#"(module {MEMORY} {HEAP_BASE}
                (func $validate (export "validate_block") (param i32 i32) (result i64)
                    (call $validate (local.get 0) (local.get 1))))"#
        ))
    }),
    Case::valid("stack_at_the_limit", "3 for validate_block and 16,383 calls at 4 are 65,535: still allowed", || {
        guest("", COUNTDOWN, "(call $down (i32.const 16382))")
    }),
    Case::invalid(
        "stack_over_the_limit",
        "one call more makes 65,539; the limit is exact, and part of the verdict",
        || guest("", COUNTDOWN, "(call $down (i32.const 16383))"),
    ),
    Case::valid("stack_large_frame", "one frame of 49,990 locals is within the limit", || {
        guest("", &hungry(49_990), "(call $hungry)")
    }),
    Case::invalid("stack_large_frames", "two frames of 40,000 locals each exceed the limit", || {
        let outer = format!("(func $outer (local {}) (call $hungry))", "i64 ".repeat(40_000));
        guest("", &format!("{} {outer}", hungry(40_000)), "(call $outer)")
    }),
    Case::refused(
        "too_many_locals",
        Expect::Preparation,
        "the limiter accepts it, but the compiler accepts at most 50,000",
        || guest("", &hungry(50_001), "(call $hungry)"),
    ),
    Case::refused(
        "unreachable_pops_below_function",
        Expect::Preparation,
        "valid: unreachable code may pop any operands. But the limiter pops real ones, and has only the \
         two that it charges for the frame",
        || guest("", "(func unreachable i32.add i32.add drop)", ""),
    ),
    Case::refused(
        "unreachable_pops_below_block",
        Expect::Preparation,
        "as above; inside a block it permits a pop that starts at the floor of the block, and not one that crosses it",
        || guest("", "(func (block unreachable select select select drop))", ""),
    ),
    Case::valid(
        "unreachable_pops_at_the_floor",
        "a pop that starts exactly at the floor of the block is permitted, whatever the number of operands",
        || guest("", "(func (block unreachable drop i32.store drop drop))", ""),
    ),
    Case::valid("unreachable_after_branch", "the dead code of ordinary compilers pops only what it has pushed", || {
        guest("", "(func (result i32) (block (br 0)) (return (i32.const 1)) (i32.const 2))", "")
    }),
];
