//! The stack limiter: what it stops, exactly where, and the valid code that it refuses.
//!
//! It charges a function its declared locals plus its highest operand stack plus two, at each call,
//! and traps when the sum exceeds the limit, which is 65,536 by default.

use super::{
    Case, Expect,
    text::{HEAP_BASE, MEMORY, guest, module},
};

/// A function that calls itself as often as its parameter says. It is charged 4: two for the frame,
/// two for the operands of the subtraction.
const COUNTDOWN: &str = "(func $down (param i32)
    (if (local.get 0) (then (call $down (i32.sub (local.get 0) (i32.const 1))))))";

/// `locals` declared locals in a function.
fn hungry(locals: usize) -> String {
    format!("(func $hungry (local {}))", "i64 ".repeat(locals))
}

pub(super) const CASES: &[Case] = &[
    Case::invalid("stack_overflow", "recursion without end", || guest("", "(func $down (call $down))", "(call $down)")),
    Case::invalid("stack_overflow_indirect", "calls through the table are charged too", || {
        guest(
            "",
            "(type $t (func)) (table 1 funcref) (elem (i32.const 0) $down)
             (func $down (call_indirect (type $t) (i32.const 0)))",
            "(call_indirect (type $t) (i32.const 0))",
        )
    }),
    Case::invalid("stack_overflow_of_the_entry_point", "the entry point may call itself, too", || {
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
    Case::invalid("stack_large_frames", "two frames of 40,000 locals each are not", || {
        let outer = format!("(func $outer (local {}) (call $hungry))", "i64 ".repeat(40_000));
        guest("", &format!("{} {outer}", hungry(40_000)), "(call $outer)")
    }),
    Case::refused(
        "too_many_locals",
        Expect::Preparation,
        "the limiter does not mind, but the compiler takes no more than 50,000",
        || guest("", &hungry(50_001), "(call $hungry)"),
    ),
    Case::refused(
        "unreachable_pops_below_function",
        Expect::Preparation,
        "valid: operands are free in unreachable code. But the limiter pops real ones, and runs out of \
         the two that it charges for the frame",
        || guest("", "(func unreachable i32.add i32.add drop)", ""),
    ),
    Case::refused(
        "unreachable_pops_below_block",
        Expect::Preparation,
        "as above; inside a block it forgives a pop at the very floor, not one that passes it",
        || guest("", "(func (block unreachable select select select drop))", ""),
    ),
    Case::valid(
        "unreachable_pops_at_the_floor",
        "a pop that starts exactly at the block's floor is forgiven, however many operands it takes",
        || guest("", "(func (block unreachable drop i32.store drop drop))", ""),
    ),
    Case::valid(
        "unreachable_after_branch",
        "an ordinary compiler's dead code: nothing is popped that was not pushed",
        || guest("", "(func (result i32) (block (br 0)) (return (i32.const 1)) (i32.const 2))", ""),
    ),
];
