//! Makes one call of a host function twice: from a guest in a job process, and natively, with the implementation of
//! `sp-io` on a byte vector. Both have the same parameters at the same addresses and the same allocator, so their
//! results must be equal in every bit, addresses included.

use crate::guest::{ANSWER, Guest, HEAP, answering, head_data};
use parity_scale_codec::Encode as _;
use pvf_shared::{
    params::{ExecutorParam, ExecutorParams},
    verdict::clean_reason,
};
use sc_allocator::{FreeingBumpHeapAllocator, Memory};
use sp_wasm_interface::{Function, FunctionContext, Pointer, Value, ValueType, WordSize};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Initial size of the guest's memory, pages.
const PAGES: u32 = 2;
/// Maximum length of an output that the guest can return, bytes.
const ROOM: usize = 16 * 1024;
/// Address of the block: behind the allocator's header, the parent head (5 bytes) and a length (4 bytes).
const BLOCK: u32 = HEAP + 8 + BLOCK_OFFSET;
/// Offset of the block in the parameters.
const BLOCK_OFFSET: u32 = 5 + 4;

/// What a host function outputs besides its return value.
#[derive(Debug, Clone, Copy)]
pub enum Output {
    /// Nothing.
    Nothing,
    /// A fixed number of bytes at the address that it returns.
    Bytes(u32),
    /// The bytes at the address and of the length that it returns.
    Slice,
    /// The contents of this argument, an address and a length, after the call.
    Written(usize),
}

/// An argument of a host function.
#[derive(Debug, Clone)]
pub enum Arg {
    /// A number.
    Word(u64),
    /// The address of these bytes.
    At(Vec<u8>),
    /// The address and length of these bytes.
    Slice(Vec<u8>),
}

pub fn word(word: u64) -> Arg {
    Arg::Word(word)
}

pub fn at(bytes: impl AsRef<[u8]>) -> Arg {
    Arg::At(bytes.as_ref().to_vec())
}

pub fn slice(bytes: impl AsRef<[u8]>) -> Arg {
    Arg::Slice(bytes.as_ref().to_vec())
}

/// The result of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallResult {
    /// The return value, and the output.
    Returned { value: u64, bytes: Vec<u8> },
    /// The reason why the candidate is invalid.
    Rejected(String),
}

/// A guest that calls some host functions one after the other, and returns the result of the last one.
pub struct Subject {
    functions: Vec<&'static dyn Function>,
    output: Output,
    guest: Guest,
    native: bool,
}

impl Subject {
    /// A guest that imports these host functions and no others.
    pub async fn new(names: &[&str], output: Output, params: &[ExecutorParam]) -> Self {
        let linked = pvf_worker::wasm::host_functions(&ExecutorParams(params.to_vec()));
        let find = |name: &&str| {
            let found = linked.iter().find(|function| function.name() == *name);
            *found.unwrap_or_else(|| panic!("{name} is not linked"))
        };
        let functions: Vec<_> = names.iter().map(find).collect();
        let guest = Guest::new(&text(&functions, output), params).await;
        Self { functions, output, guest, native: true }
    }

    /// Skips the native call, for functions whose environment exists in jobs only.
    pub fn without_native(self) -> Self {
        Self { native: false, ..self }
    }

    fn names(&self) -> String {
        self.functions.iter().map(|function| function.name()).collect::<Vec<_>>().join(", ")
    }

    /// Calls the functions in a job and natively, and asserts that the results are equal.
    pub async fn call(&self, case: &str, args: &[Arg]) -> CallResult {
        let (words, block) = lay_out(args);
        let seen = self.guest_call(&block, &self.guest.params).await;
        if self.native {
            let native = native(&self.functions, self.output, &words, block);
            let same = match (&native, &seen) {
                (CallResult::Rejected(native), CallResult::Rejected(why)) => *why == clean_reason(native),
                (native, seen) => native == seen,
            };
            assert!(same, "{} of {case}:\nnative {native:?}\n   job {seen:?}", self.names());
        }
        seen
    }

    async fn guest_call(&self, block: &[u8], params: &ExecutorParams) -> CallResult {
        match head_data(self.guest.call(b"head", block, params).await) {
            Ok(head) => {
                let number = u64::from_le_bytes(head[..8].try_into().unwrap());
                let size = u32::from_le_bytes(head[8..12].try_into().unwrap()) as usize;
                CallResult::Returned { value: number, bytes: head[12..12 + size].to_vec() }
            }
            Err(why) => CallResult::Rejected(why),
        }
    }

    /// Asserts that the output is `expected`.
    pub async fn outputs(&self, case: &str, args: &[Arg], expected: impl AsRef<[u8]>) {
        let expected = expected.as_ref();
        match self.call(case, args).await {
            CallResult::Returned { bytes, .. } if bytes == expected => {}
            other => panic!("{} of {case}:\nexpected {expected:?}\n    seen {other:?}", self.names()),
        }
    }

    /// Asserts that the return value is `expected`.
    pub async fn returns(&self, case: &str, args: &[Arg], expected: u64) {
        match self.call(case, args).await {
            CallResult::Returned { value, .. } if value == expected => {}
            other => panic!("{} of {case}:\nexpected {expected}\n    seen {other:?}", self.names()),
        }
    }

    /// Asserts that the candidate is invalid for a reason that contains `expected`.
    pub async fn rejects(&self, case: &str, args: &[Arg], expected: &str) {
        self.assert_rejected(case, expected, self.call(case, args).await);
    }

    /// As [`Subject::rejects`], with other executor parameters and without the native call.
    pub async fn rejects_under(&self, params: &[ExecutorParam], case: &str, args: &[Arg], expected: &str) {
        let (_, block) = lay_out(args);
        self.assert_rejected(case, expected, self.guest_call(&block, &ExecutorParams(params.to_vec())).await);
    }

    fn assert_rejected(&self, case: &str, expected: &str, seen: CallResult) {
        match seen {
            CallResult::Rejected(why) if why.contains(expected) => {}
            other => panic!("{} of {case}:\nexpected reason: {expected}\n           seen {other:?}", self.names()),
        }
    }
}

/// The arguments as numbers, and the block that contains them: the numbers first, then the bytes that they point to.
fn lay_out(args: &[Arg]) -> (Vec<u64>, Vec<u8>) {
    let (mut words, mut data) = (Vec::new(), Vec::new());
    for arg in args {
        let address = u64::from(BLOCK) + 8 * args.len() as u64 + data.len() as u64;
        words.push(match arg {
            Arg::Word(word) => *word,
            Arg::At(_) => address,
            Arg::Slice(bytes) => address | (bytes.len() as u64) << 32,
        });
        if let Arg::At(bytes) | Arg::Slice(bytes) = arg {
            data.extend_from_slice(bytes);
        }
    }
    let mut block: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    block.extend(data);
    // The encoding of its length must take four bytes.
    block.resize(block.len().max(1 << 14), 0);
    (words, block)
}

/// The text of the guest: it answers with the return value of the last function, the length of the output, and the
/// output.
fn text(functions: &[&'static dyn Function], output: Output) -> String {
    let (mut imports, mut calls) = (String::new(), String::new());
    let mut next = 0;
    let mut argument = |ty: &ValueType| {
        let load = load(next);
        next += 1;
        if *ty == ValueType::I32 { format!("(i32.wrap_i64 {load})") } else { load }
    };
    for (n, function) in functions.iter().enumerate() {
        let (name, signature) = (function.name(), function.signature());
        let types: Vec<_> = signature.args.iter().map(wasm_type).collect();
        let result = signature.return_value.map_or(String::new(), |ty| format!("(result {})", wasm_type(&ty)));
        imports += &format!("(import \"env\" \"{name}\" (func $f{n} (param {}) {result}))\n", types.join(" "));
        let arguments: String = signature.args.iter().map(&mut argument).collect();
        let call = format!("(call $f{n} {arguments})");
        calls += &match signature.return_value {
            None => call,
            Some(ValueType::I32) => format!("(local.set $number (i64.extend_i32_u {call}))"),
            Some(_) => format!("(local.set $number {call})"),
        };
    }
    let pointed_to = |pair: &str| format!("(i32.wrap_i64 {pair}) (i32.wrap_i64 (i64.shr_u {pair} (i64.const 32)))");
    let number = "(local.get $number)";
    let from_and_size = match output {
        Output::Nothing => "(i32.const 0) (i32.const 0)".into(),
        Output::Bytes(size) => format!("(i32.wrap_i64 {number}) (i32.const {size})"),
        Output::Slice => pointed_to(number),
        Output::Written(argument) => pointed_to(&load(argument as u32)),
    };
    let body = format!(
        "(local $number i64) (local $from i32) (local $size i32) (local $n i32)
         (if (i32.ne (local.get $at) (i32.const {})) (then unreachable))
         {calls}
         {from_and_size} (local.set $size) (local.set $from)
         (if (i32.gt_u (local.get $size) (i32.const {ROOM})) (then unreachable))
         (i64.store (i32.const {ANSWER}) (local.get $number))
         (i32.store (i32.const {}) (local.get $size))
         (block $done
             (loop $next
                 (br_if $done (i32.eq (local.get $n) (local.get $size)))
                 (i32.store8 offset={} (local.get $n)
                     (i32.load8_u (i32.add (local.get $from) (local.get $n))))
                 (local.set $n (i32.add (local.get $n) (i32.const 1)))
                 (br $next)))",
        HEAP + 8,
        ANSWER + 8,
        ANSWER + 12,
    );
    answering(PAGES, HEAP, 12 + ROOM as u32, &imports, &body)
}

fn load(word: u32) -> String {
    format!("(i64.load offset={} (local.get $at))", BLOCK_OFFSET + 8 * word)
}

fn wasm_type(ty: &ValueType) -> &'static str {
    match ty {
        ValueType::I32 => "i32",
        ValueType::I64 => "i64",
        ValueType::F32 | ValueType::F64 => panic!("no host function takes or returns floats"),
    }
}

/// A guest's memory, for native calls.
pub struct Plain(pub Vec<u8>);

impl Memory for Plain {
    fn with_access_mut<R>(&mut self, run: impl FnOnce(&mut [u8]) -> R) -> R {
        run(&mut self.0)
    }
    fn with_access<R>(&self, run: impl FnOnce(&[u8]) -> R) -> R {
        run(&self.0)
    }
    fn grow(&mut self, additional: u32) -> Result<(), ()> {
        self.0.resize(self.0.len() + additional as usize * 65_536, 0);
        Ok(())
    }
    fn pages(&self) -> u32 {
        (self.0.len() / 65_536) as u32
    }
    fn max_pages(&self) -> Option<u32> {
        Some(ExecutorParams::default().memory_page_limit())
    }
}

struct Native {
    memory: Plain,
    allocator: FreeingBumpHeapAllocator,
}

impl FunctionContext for Native {
    fn read_memory_into(&mut self, address: Pointer<u8>, dest: &mut [u8]) -> Result<(), String> {
        let start = u32::from(address) as usize;
        let bytes = self.memory.0.get(start..start + dest.len()).ok_or("memory read is out of bounds")?;
        dest.copy_from_slice(bytes);
        Ok(())
    }
    fn write_memory(&mut self, address: Pointer<u8>, data: &[u8]) -> Result<(), String> {
        let start = u32::from(address) as usize;
        let bytes = self.memory.0.get_mut(start..start + data.len()).ok_or("memory write is out of bounds")?;
        bytes.copy_from_slice(data);
        Ok(())
    }
    fn allocate_memory(&mut self, size: WordSize) -> Result<Pointer<u8>, String> {
        self.allocator.allocate(&mut self.memory, size).map_err(|e| e.to_string())
    }
    fn deallocate_memory(&mut self, ptr: Pointer<u8>) -> Result<(), String> {
        self.allocator.deallocate(&mut self.memory, ptr).map_err(|e| e.to_string())
    }
    fn register_panic_error_message(&mut self, _: &str) {}
}

fn native(functions: &[&'static dyn Function], output: Output, words: &[u64], block: Vec<u8>) -> CallResult {
    let parameters = (b"head".to_vec(), block, 1_u32, [0_u8; 32]).encode();
    let mut native =
        Native { memory: Plain(vec![0; PAGES as usize * 65_536]), allocator: FreeingBumpHeapAllocator::new(HEAP) };
    let address = native.allocate_memory(parameters.len() as u32).unwrap();
    native.write_memory(address, &parameters).unwrap();
    let mut word = words.iter().copied();
    let mut last = None;
    let mut calls = || {
        for function in functions {
            let signature = function.signature();
            let value = |ty: &ValueType| match (ty, word.next().expect("as many words as arguments")) {
                (ValueType::I32, word) => Value::I32(word as i32),
                (_, word) => Value::I64(word as i64),
            };
            let args: Vec<_> = signature.args.iter().map(value).collect();
            let called = catch_unwind(AssertUnwindSafe(|| function.execute(&mut native, &mut args.into_iter())));
            last = called.unwrap_or_else(|panic| {
                let message = panic.downcast_ref::<String>().cloned();
                let message = message.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).into())).unwrap();
                Err(format!("host code panicked while being called by the runtime: {message}"))
            })?;
        }
        Ok::<(), String>(())
    };
    if let Err(why) = sp_io::TestExternalities::default().execute_with(&mut calls) {
        return CallResult::Rejected(why);
    }
    let number = match last {
        None => 0,
        Some(Value::I32(number)) => u64::from(number as u32),
        Some(Value::I64(number)) => number as u64,
        Some(other) => panic!("{other:?}"),
    };
    let (from, size) = match output {
        Output::Nothing => (0, 0),
        Output::Bytes(size) => (number as u32, size),
        Output::Slice => (number as u32, (number >> 32) as u32),
        Output::Written(argument) => (words[argument] as u32, (words[argument] >> 32) as u32),
    };
    let bytes = native.memory.0[from as usize..(from + size) as usize].to_vec();
    CallResult::Returned { value: number, bytes }
}

/// Defines a test for each host function, of the same name, and the list of these functions.
macro_rules! host_functions {
    ($($name:ident -> $output:expr, |$subject:ident| $test:block)*) => {
        /// The host functions that are tested here.
        pub const TESTED: &[&str] = &[$(stringify!($name)),*];
        $(
            #[tokio::test]
            async fn $name() {
                let $subject = crate::call::Subject::new(&[stringify!($name)], $output, PARAMS).await;
                $test
            }
        )*
    };
}
pub(crate) use host_functions;
