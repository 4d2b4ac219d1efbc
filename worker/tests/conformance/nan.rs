//! The bits of NaNs: arithmetic returns the canonical NaN for any operands, and operations that move bits keep them.
//! Also other results that could differ between processors: rounding, signs of zeros, a product and a sum that must not
//! be fused. With every CPU baseline that this machine supports, and with operands from memory and from constants.

use crate::{
    common::{WORKER, runner, sandbox},
    guest::{ANSWER, Guest, HEAP, SHORTEST, answering, head_data, long},
};
use pvf_worker::{supervise::JobRunner, wasm::CpuBaseline};

/// An expression, and the expected bits of its result.
struct Case {
    name: String,
    wide: bool,
    expression: String,
    expected: u64,
}

/// A floating-point type with its canonical NaN and other NaNs: signalling, negative, with a payload.
struct Float {
    name: &'static str,
    int: &'static str,
    wide: bool,
    canonical: u64,
    nans: [u64; 6],
    sign: u64,
    /// The number 1.
    one: u64,
    infinity: u64,
}

const FLOATS: [Float; 2] = [
    Float {
        name: "f32",
        int: "i32",
        wide: false,
        canonical: 0x7fc0_0000,
        nans: [0x7fc0_0000, 0xffc0_0000, 0x7f80_0001, 0xff80_0001, 0x7fff_ffff, 0xffde_adbe],
        sign: 0x8000_0000,
        one: 0x3f80_0000,
        infinity: 0x7f80_0000,
    },
    Float {
        name: "f64",
        int: "i64",
        wide: true,
        canonical: 0x7ff8_0000_0000_0000,
        nans: [
            0x7ff8_0000_0000_0000,
            0xfff8_0000_0000_0000,
            0x7ff0_0000_0000_0001,
            0xfff0_0000_0000_0001,
            0x7fff_ffff_ffff_ffff,
            0xfffb_dead_beef_cafe,
        ],
        sign: 0x8000_0000_0000_0000,
        one: 0x3ff0_0000_0000_0000,
        infinity: 0x7ff0_0000_0000_0000,
    },
];

/// Source of operands: memory, whose contents the compiler does not know, or constants, which it may fold.
struct Operands {
    constants: bool,
    /// The operands in memory, from address 32768 on.
    memory: Vec<u64>,
}

impl Operands {
    fn of(&mut self, float: &Float, bits: u64) -> String {
        if self.constants {
            return format!("({}.reinterpret_{} ({}.const {bits:#x}))", float.name, float.int, float.int);
        }
        self.memory.push(bits);
        format!("({}.load (i32.const {}))", float.name, 32_768 + 8 * (self.memory.len() - 1))
    }
}

fn cases(operands: &mut Operands) -> Vec<Case> {
    let mut cases = Vec::new();
    for float in &FLOATS {
        let ty = float.name;
        let mut case = |name: String, expression: String, expected: u64| {
            cases.push(Case { name, wide: float.wide, expression, expected });
        };
        for nan in float.nans {
            for op in ["ceil", "floor", "trunc", "nearest", "sqrt"] {
                let x = operands.of(float, nan);
                case(format!("{ty}.{op} {nan:#x}"), format!("({ty}.{op} {x})"), float.canonical);
            }
            for op in ["add", "sub", "mul", "div", "min", "max"] {
                for (a, b) in [(nan, float.one), (float.one, nan), (nan, float.nans[5]), (float.infinity, nan)] {
                    let (x, y) = (operands.of(float, a), operands.of(float, b));
                    case(format!("{ty}.{op} {a:#x} {b:#x}"), format!("({ty}.{op} {x} {y})"), float.canonical);
                }
            }
            // Operations that move bits.
            let moved = [("abs", nan & !float.sign), ("neg", nan ^ float.sign)];
            for (op, expected) in moved {
                let x = operands.of(float, nan);
                case(format!("{ty}.{op} {nan:#x}"), format!("({ty}.{op} {x})"), expected);
            }
            for sign in [float.one, float.one | float.sign] {
                let (x, y) = (operands.of(float, nan), operands.of(float, sign));
                let expected = nan & !float.sign | sign & float.sign;
                case(format!("{ty}.copysign {nan:#x} {sign:#x}"), format!("({ty}.copysign {x} {y})"), expected);
            }
            let x = operands.of(float, nan);
            case(format!("{ty} {nan:#x} unchanged"), x.clone(), nan);
            case(format!("{ty} {nan:#x} through select"), format!("(select {x} {x} (local.get $at))"), nan);
            case(format!("{ty} {nan:#x} through a function"), format!("(call ${ty} {x})"), nan);
        }
        for (op, a, b) in [
            ("sub", float.infinity, float.infinity),
            ("add", float.infinity, float.infinity | float.sign),
            ("mul", 0, float.infinity),
            ("div", 0, 0),
            ("div", float.infinity, float.infinity),
        ] {
            let (x, y) = (operands.of(float, a), operands.of(float, b));
            case(format!("{ty}.{op} {a:#x} {b:#x}"), format!("({ty}.{op} {x} {y})"), float.canonical);
        }
        for x in [float.one | float.sign, float.infinity | float.sign] {
            let operand = operands.of(float, x);
            case(format!("{ty}.sqrt {x:#x}"), format!("({ty}.sqrt {operand})"), float.canonical);
        }
        // Signs of zeros.
        for (op, a, b, expected) in [
            ("min", 0, float.sign, float.sign),
            ("min", float.sign, 0, float.sign),
            ("max", 0, float.sign, 0),
            ("max", float.sign, 0, 0),
            ("sub", 0, 0, 0),
            ("add", float.sign, float.sign, float.sign),
            ("add", 0, float.sign, 0),
            ("div", float.one, float.sign, float.infinity | float.sign),
        ] {
            let (x, y) = (operands.of(float, a), operands.of(float, b));
            case(format!("{ty}.{op} {a:#x} {b:#x}"), format!("({ty}.{op} {x} {y})"), expected);
        }
    }
    cases.extend(between_types(operands));
    cases.extend(numbers(operands));
    cases
}

/// Conversions of NaNs.
fn between_types(operands: &mut Operands) -> Vec<Case> {
    let [narrow, wide] = &FLOATS;
    let mut cases = Vec::new();
    for nan in narrow.nans {
        let expression = format!("(f64.promote_f32 {})", operands.of(narrow, nan));
        let name = format!("f64.promote_f32 {nan:#x}");
        cases.push(Case { name, wide: true, expression, expected: wide.canonical });
    }
    for nan in wide.nans {
        let expression = format!("(f32.demote_f64 {})", operands.of(wide, nan));
        let name = format!("f32.demote_f64 {nan:#x}");
        cases.push(Case { name, wide: false, expression, expected: narrow.canonical });
    }
    cases
}

/// Numbers other than NaNs, with results that Rust computes by the same rules (IEEE 754, ties to even).
fn numbers(operands: &mut Operands) -> Vec<Case> {
    let wide = &FLOATS[1];
    let mut cases = Vec::new();
    let samples = [0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 0.1, -0.0, 1e300, 2_251_799_813_685_249.5, f64::MIN_POSITIVE / 4.0];
    for x in samples {
        for (op, expected) in [
            ("nearest", x.round_ties_even().to_bits()),
            ("ceil", x.ceil().to_bits()),
            ("floor", x.floor().to_bits()),
            ("trunc", x.trunc().to_bits()),
            ("sqrt", if x < 0.0 { wide.canonical } else { x.sqrt().to_bits() }),
        ] {
            let expression = format!("(f64.{op} {})", operands.of(wide, x.to_bits()));
            cases.push(Case { name: format!("f64.{op} {x}"), wide: true, expression, expected });
        }
        let expression = format!("(f32.demote_f64 {})", operands.of(wide, x.to_bits()));
        let expected = u64::from((x as f32).to_bits());
        cases.push(Case { name: format!("f32.demote_f64 {x}"), wide: false, expression, expected });
    }
    // An inexact product and its negative. A fused operation would return the rounding error instead of 0.
    let (x, y) = (1.0 + f64::EPSILON, 1.0 - f64::EPSILON * 3.0);
    let product = x * y;
    assert_ne!(x.mul_add(y, -product), 0.0, "a fused operation has another result");
    let [x, y, z] = [x, y, -product].map(|number| operands.of(wide, number.to_bits()));
    let expression = format!("(f64.add (f64.mul {x} {y}) {z})");
    cases.push(Case { name: "a product and a sum".into(), wide: true, expression, expected: 0 });
    cases
}

/// A guest that answers with the results, in eight bytes each.
fn computing(constants: bool) -> (String, Vec<Case>) {
    let mut operands = Operands { constants, memory: Vec::new() };
    let cases = cases(&mut operands);
    let mut body = String::new();
    for (n, case) in cases.iter().enumerate() {
        let store = if case.wide { "f64.store" } else { "f32.store" };
        body += &format!("({store} (i32.const {}) {})\n", ANSWER as usize + 8 * n, case.expression);
    }
    assert!(8 * cases.len() <= SHORTEST as usize && 32_768 + 8 * operands.memory.len() <= HEAP as usize);
    let memory: Vec<u8> = operands.memory.iter().flat_map(|bits| bits.to_le_bytes()).collect();
    let items = format!(
        r#"(func $f32 (param f32) (result f32) (local f32) (local.set 1 (local.get 0)) (local.get 1))
           (func $f64 (param f64) (result f64) (local f64) (local.set 1 (local.get 0)) (local.get 1))
           (data (i32.const 32768) "{}")"#,
        crate::guest::escape(&memory)
    );
    (answering(2, HEAP, SHORTEST, &items, &body), cases)
}

#[tokio::test]
async fn arithmetic_canonicalises_nans_and_moves_keep_their_bits() {
    for baseline in [CpuBaseline::V1, CpuBaseline::V2, CpuBaseline::V3] {
        if !baseline.runs_here() {
            continue;
        }
        for constants in [false, true] {
            let (text, cases) = computing(constants);
            let runner = JobRunner::with_sandbox(Some(WORKER.into()), baseline, sandbox().clone()).unwrap();
            let guest = Guest::on(runner, &text, &[]).await;
            let mut wrong = Vec::new();
            for run in 1..=3 {
                let answer = head_data(guest.with_head(b"").await).unwrap();
                for (n, case) in cases.iter().enumerate() {
                    let (expected, seen) = (case.expected, long(&answer, n));
                    if seen != expected {
                        wrong.push(format!("run {run}: {}: expected {expected:#x}, seen {seen:#x}", case.name));
                    }
                }
            }
            assert!(wrong.is_empty(), "{baseline}, constants: {constants}:\n{}", wrong.join("\n"));
        }
    }
}

/// The only comparison that holds for a NaN is that it differs.
#[tokio::test]
async fn a_nan_is_unequal_to_itself() {
    let mut body = String::new();
    let ops = ["eq", "ne", "lt", "gt", "le", "ge"];
    for (n, op) in ops.into_iter().enumerate() {
        let x = "(f64.load (i32.const 32768))";
        body += &format!("(i64.store (i32.const {}) (i64.extend_i32_u (f64.{op} {x} {x})))", ANSWER as usize + 8 * n);
    }
    let nan = crate::guest::escape(&FLOATS[1].nans[2].to_le_bytes());
    let items = format!(r#"(data (i32.const 32768) "{nan}")"#);
    let guest = Guest::on(runner(WORKER.as_ref()), &answering(2, HEAP, SHORTEST, &items, &body), &[]).await;
    let answer = head_data(guest.with_head(b"").await).unwrap();
    let seen: Vec<_> = (0..ops.len()).map(|n| long(&answer, n)).collect();
    assert_eq!(seen, [0, 1, 0, 0, 0, 0], "{ops:?}");
}
