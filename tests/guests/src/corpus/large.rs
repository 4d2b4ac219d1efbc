//! Large guests, for benches of the compiler: any number of functions, each of a few hundred instructions that the
//! compiler can optimise.
//!
//! The code is pseudo-random and the same on every run, valid wasm MVP, and accepted by the stack limiter. It is never
//! executed: `validate_block` returns at once.

use super::{
    builder::{Module, export, signed},
    helpers::RESULT,
    text::{RESULT_AT, packed},
};
use crate::encode::leb128;

/// Statements in a function, before nesting.
const STATEMENTS: u32 = 44;

/// A guest of about `approx_functions` functions, 300 to 400 instructions each, that returns
/// [`RESULT`]. A thousand make a file of about 1 MB.
pub fn large(approx_functions: u32) -> Vec<u8> {
    const I32: u8 = 0x7f;
    const I64: u8 = 0x7e;
    let functions = approx_functions.max(1);

    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut types = vec![vec![0]];
    let mut bodies = vec![sized(&entry_point())];
    let mut members = Vec::new();
    for index in 1..=functions {
        types.push(vec![1]);
        bodies.push(sized(&Body::generate(&mut random, index)));
        leb128(&mut members, index);
    }
    let mut table = vec![0x70, 0x00];
    leb128(&mut table, functions);
    let mut elements = vec![0x00, 0x41, 0x00, 0x0b];
    leb128(&mut elements, functions);
    elements.append(&mut members);

    let mut heap_base = vec![I32, 0x00, 0x41];
    signed(&mut heap_base, 2 * 65536);
    heap_base.push(0x0b);
    let mut data = vec![0x00, 0x41];
    signed(&mut data, i64::from(RESULT_AT));
    data.push(0x0b);
    leb128(&mut data, RESULT.len() as u32);
    data.extend_from_slice(RESULT);

    Module::new()
        .list(1, &[vec![0x60, 2, I32, I32, 1, I64], vec![0x60, 2, I64, I64, 1, I64]])
        .list(3, &types)
        .list(4, &[table])
        .list(5, &[vec![0x00, 4]])
        .list(6, &[heap_base])
        .list(7, &[export("memory", 2, 0), export("__heap_base", 3, 0), export("validate_block", 0, 0)])
        .list(9, &[elements])
        .list(10, &bodies)
        .list(11, &[data])
        .finish()
}

/// The body of `validate_block`.
fn entry_point() -> Vec<u8> {
    let mut body = vec![0x00, 0x42];
    signed(&mut body, packed(RESULT_AT, RESULT.len() as u32));
    body.push(0x0b);
    body
}

/// A body behind its length.
fn sized(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len() + 3);
    leb128(&mut out, body.len() as u32);
    out.extend_from_slice(body);
    out
}

/// A xorshift generator, so that the code is the same on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: u32) -> u32 {
        (self.next() >> 32) as u32 % bound
    }

    fn one_of(&mut self, choices: &[u8]) -> u8 {
        choices[self.below(choices.len() as u32) as usize]
    }
}

/// Locals of a generated function: 0 to 5 are i64 (0 and 1 the parameters), 6 is an address, 7 the counter of a loop, 8
/// and 9 are f64.
const WIDE: u32 = 6;
const ADDRESS: u32 = 6;
const COUNTER: u32 = 7;
const FLOATS: u32 = 8;

const GET: u8 = 0x20;
const SET: u8 = 0x21;
const TEE: u8 = 0x22;
const I32_CONST: u8 = 0x41;
const I64_CONST: u8 = 0x42;
const NO_RESULT: u8 = 0x40;
const END: u8 = 0x0b;

/// add, sub, mul, and, or, xor, shl, shr_s, shr_u, rotl, rotr of i64.
const WIDE_OPERATORS: &[u8] = &[0x7c, 0x7d, 0x7e, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8a];
/// lt_s, lt_u, gt_s, gt_u, le_s, ge_u of i64.
const COMPARISONS: &[u8] = &[0x53, 0x54, 0x55, 0x56, 0x57, 0x5a];
/// add, sub, mul, div, min of f64.
const FLOAT_OPERATORS: &[u8] = &[0xa0, 0xa1, 0xa2, 0xa3, 0xa4];

/// Writes the body of one function.
struct Body<'a> {
    code: Vec<u8>,
    random: &'a mut Random,
    /// Index of this function. It only calls functions with a smaller index, so there is no recursion.
    index: u32,
}

impl<'a> Body<'a> {
    fn generate(random: &'a mut Random, index: u32) -> Vec<u8> {
        // Locals beyond the parameters: 4 x i64, 2 x i32, 2 x f64.
        let code = vec![3, 4, 0x7e, 2, 0x7f, 2, 0x7c];
        let mut body = Self { code, random, index };
        for _ in 0..STATEMENTS {
            body.statement();
        }
        body.get_wide();
        body.code.push(END);
        body.code
    }

    fn statement(&mut self) {
        match self.random.below(12) {
            0..4 => self.mix(),
            4 => self.divide(),
            5 => self.load(),
            6 => self.store(),
            7 => self.float(),
            8 => self.count_down(),
            9 => self.call(),
            _ => self.choose(),
        }
    }

    /// Two operations on i64 locals and a constant.
    fn mix(&mut self) {
        self.get_wide();
        self.get_wide();
        self.operator(WIDE_OPERATORS);
        self.wide_constant();
        self.operator(WIDE_OPERATORS);
        self.set_wide();
    }

    /// A division whose divisor is made odd, so that it cannot trap.
    fn divide(&mut self) {
        self.get_wide();
        self.get_wide();
        self.code.extend_from_slice(&[I64_CONST, 1, 0x84]);
        self.operator(&[0x80, 0x82]);
        self.set_wide();
    }

    /// An address below 64 KiB, from an i64 local; also stored in its local.
    fn address(&mut self) {
        self.get_wide();
        self.code.push(0xa7);
        self.code.push(I32_CONST);
        signed(&mut self.code, 0xfff8);
        self.code.push(0x71);
        self.local(TEE, ADDRESS);
    }

    fn load(&mut self) {
        self.address();
        self.access(&[0x29, 0x30, 0x31, 0x32, 0x34, 0x35]);
        self.get_wide();
        self.operator(WIDE_OPERATORS);
        self.set_wide();
    }

    fn store(&mut self) {
        self.address();
        self.get_wide();
        self.access(&[0x37, 0x3c, 0x3d, 0x3e]);
    }

    fn float(&mut self) {
        let [from, to] = [0, 1].map(|_| FLOATS + self.random.below(2));
        self.local(GET, from);
        self.get_wide();
        self.code.push(0xb9);
        self.operator(FLOAT_OPERATORS);
        self.local(SET, to);
    }

    /// A loop of up to 100 rounds.
    fn count_down(&mut self) {
        let rounds = i64::from(self.random.below(100)) + 1;
        self.code.push(I32_CONST);
        signed(&mut self.code, rounds);
        self.local(SET, COUNTER);
        self.code.extend_from_slice(&[0x03, NO_RESULT]);
        self.mix();
        self.load();
        self.local(GET, COUNTER);
        self.code.extend_from_slice(&[I32_CONST, 1, 0x6b]);
        self.local(TEE, COUNTER);
        self.code.extend_from_slice(&[0x0d, 0, END]);
    }

    fn choose(&mut self) {
        self.condition();
        self.mix();
        self.code.push(0x05);
        self.mix();
        self.code.push(END);
    }

    /// A conditional call of an earlier function; never of the entry point, which is number 0.
    fn call(&mut self) {
        if self.index == 1 {
            return self.mix();
        }
        self.condition();
        self.get_wide();
        self.get_wide();
        let callee = 1 + self.random.below(self.index - 1);
        self.code.push(0x10);
        leb128(&mut self.code, callee);
        self.set_wide();
        self.code.push(END);
    }

    /// A comparison, and the start of an `if` that depends on it.
    fn condition(&mut self) {
        self.get_wide();
        self.get_wide();
        self.operator(COMPARISONS);
        self.code.extend_from_slice(&[0x04, NO_RESULT]);
    }

    fn operator(&mut self, choices: &[u8]) {
        let opcode = self.random.one_of(choices);
        self.code.push(opcode);
    }

    /// A load or store without an alignment hint, at a random offset below 64 KiB.
    fn access(&mut self, choices: &[u8]) {
        self.operator(choices);
        self.code.push(0);
        let offset = self.random.below(65536);
        leb128(&mut self.code, offset);
    }

    fn get_wide(&mut self) {
        let local = self.random.below(WIDE);
        self.local(GET, local);
    }

    fn set_wide(&mut self) {
        let local = self.random.below(WIDE);
        self.local(SET, local);
    }

    fn wide_constant(&mut self) {
        self.code.push(I64_CONST);
        let shift = self.random.below(60);
        let value = (self.random.next() >> shift) as i64;
        signed(&mut self.code, value);
    }

    fn local(&mut self, opcode: u8, index: u32) {
        self.code.push(opcode);
        leb128(&mut self.code, index);
    }
}
