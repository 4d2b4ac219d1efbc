//! One call of a host function, twice: from a guest in a job process, and natively, as `sp-io` does it over a plain
//! byte vector. Both have the same parameters at the same addresses and the same allocator, so they must agree in
//! every bit, addresses included.

use crate::guest::{ANSWER, Guest, HEAP, answering, seen};
use parity_scale_codec::Encode as _;
use pvf_shared::{
    params::{ExecutorParam, ExecutorParams},
    verdict::clean_reason,
};
use sc_allocator::{FreeingBumpHeapAllocator, Memory};
use sp_wasm_interface::{Function, FunctionContext, Pointer, Value, ValueType, WordSize};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Pages that the guest has at first.
const PAGES: u32 = 2;
/// Most bytes that the guest hands on.
const ROOM: usize = 16 * 1024;
/// Where the guest finds the block: behind the allocator's header, the parent head (5 bytes) and a length (4 bytes).
const BLOCK: u32 = HEAP + 8 + BLOCK_OFFSET;
/// The same, from the start of the parameters.
const BLOCK_OFFSET: u32 = 5 + 4;

/// What a host function gives back beside its number.
#[derive(Debug, Clone, Copy)]
pub enum Gives {
    /// Nothing.
    Nothing,
    /// So many bytes at the address that it returns.
    Bytes(u32),
    /// What the address and length that it returns are of.
    Slice,
    /// What it wrote into this one of its arguments.
    Written(usize),
}

/// An argument.
#[derive(Debug, Clone)]
pub enum Arg {
    /// As it is.
    Word(u64),
    /// The address of these bytes.
    At(Vec<u8>),
    /// Their address and length.
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

/// What a call gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    Gave { number: u64, bytes: Vec<u8> },
    Refused(String),
}

/// Host functions that are called one after the other by one guest; the last one's result is seen.
pub struct Subject {
    functions: Vec<&'static dyn Function>,
    gives: Gives,
    guest: Guest,
    native: bool,
}

impl Subject {
    /// A guest that imports these and no others.
    pub async fn new(names: &[&str], gives: Gives, params: &[ExecutorParam]) -> Self {
        let linked = pvf_worker::wasm::host_functions(&ExecutorParams(params.to_vec()));
        let find = |name: &&str| {
            let found = linked.iter().find(|function| function.name() == *name);
            *found.unwrap_or_else(|| panic!("{name} is not linked"))
        };
        let functions: Vec<_> = names.iter().map(find).collect();
        let guest = Guest::new(&text(&functions, gives), params).await;
        Self { functions, gives, guest, native: true }
    }

    /// What the native function needs is only there in a job.
    pub fn without_native(self) -> Self {
        Self { native: false, ..self }
    }

    fn names(&self) -> String {
        self.functions.iter().map(|function| function.name()).collect::<Vec<_>>().join(", ")
    }

    /// Calls it in a job and natively; both must do the same.
    pub async fn call(&self, case: &str, args: &[Arg]) -> Seen {
        let (words, block) = lay_out(args);
        let seen = self.guest_call(&block, &self.guest.params).await;
        if self.native {
            let native = native(&self.functions, self.gives, &words, block);
            let same = match (&native, &seen) {
                (Seen::Refused(native), Seen::Refused(why)) => *why == clean_reason(native),
                (native, seen) => native == seen,
            };
            assert!(same, "{} of {case}:\nnative {native:?}\n   job {seen:?}", self.names());
        }
        seen
    }

    async fn guest_call(&self, block: &[u8], params: &ExecutorParams) -> Seen {
        match seen(self.guest.call(b"head", block, params).await) {
            Ok(head) => {
                let number = u64::from_le_bytes(head[..8].try_into().unwrap());
                let size = u32::from_le_bytes(head[8..12].try_into().unwrap()) as usize;
                Seen::Gave { number, bytes: head[12..12 + size].to_vec() }
            }
            Err(why) => Seen::Refused(why),
        }
    }

    /// It gives these bytes.
    pub async fn gives(&self, case: &str, args: &[Arg], expected: impl AsRef<[u8]>) {
        let expected = expected.as_ref();
        match self.call(case, args).await {
            Seen::Gave { bytes, .. } if bytes == expected => {}
            other => panic!("{} of {case}:\nexpected {expected:?}\n    seen {other:?}", self.names()),
        }
    }

    /// It says this number.
    pub async fn says(&self, case: &str, args: &[Arg], expected: u64) {
        match self.call(case, args).await {
            Seen::Gave { number, .. } if number == expected => {}
            other => panic!("{} of {case}:\nexpected {expected}\n    seen {other:?}", self.names()),
        }
    }

    /// The candidate is invalid for this reason.
    pub async fn refuses(&self, case: &str, args: &[Arg], expected: &str) {
        self.refused(case, expected, self.call(case, args).await);
    }

    /// The same under other parameters, that the native function does not know.
    pub async fn refuses_under(&self, params: &[ExecutorParam], case: &str, args: &[Arg], expected: &str) {
        let (_, block) = lay_out(args);
        self.refused(case, expected, self.guest_call(&block, &ExecutorParams(params.to_vec())).await);
    }

    fn refused(&self, case: &str, expected: &str, seen: Seen) {
        match seen {
            Seen::Refused(why) if why.contains(expected) => {}
            other => panic!("{} of {case}:\nexpected refusal: {expected}\n            seen {other:?}", self.names()),
        }
    }
}

/// The arguments as the functions get them, and the block that brings them: the words first, then what they point to.
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
    // So that its length takes four bytes.
    block.resize(block.len().max(1 << 14), 0);
    (words, block)
}

/// The guest: it answers with the last function's number, how many bytes it gave, and these.
fn text(functions: &[&'static dyn Function], gives: Gives) -> String {
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
    let given = |pair: &str| format!("(i32.wrap_i64 {pair}) (i32.wrap_i64 (i64.shr_u {pair} (i64.const 32)))");
    let number = "(local.get $number)";
    let from_and_size = match gives {
        Gives::Nothing => "(i32.const 0) (i32.const 0)".into(),
        Gives::Bytes(size) => format!("(i32.wrap_i64 {number}) (i32.const {size})"),
        Gives::Slice => given(number),
        Gives::Written(argument) => given(&load(argument as u32)),
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
        ValueType::F32 | ValueType::F64 => panic!("no host function takes or gives floats"),
    }
}

/// A guest's memory, natively.
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

fn native(functions: &[&'static dyn Function], gives: Gives, words: &[u64], block: Vec<u8>) -> Seen {
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
                let said = panic.downcast_ref::<String>().cloned();
                let said = said.or_else(|| panic.downcast_ref::<&str>().map(|said| (*said).into())).unwrap();
                Err(format!("host code panicked while being called by the runtime: {said}"))
            })?;
        }
        Ok::<(), String>(())
    };
    if let Err(why) = sp_io::TestExternalities::default().execute_with(&mut calls) {
        return Seen::Refused(why);
    }
    let number = match last {
        None => 0,
        Some(Value::I32(number)) => u64::from(number as u32),
        Some(Value::I64(number)) => number as u64,
        Some(other) => panic!("{other:?}"),
    };
    let (from, size) = match gives {
        Gives::Nothing => (0, 0),
        Gives::Bytes(size) => (number as u32, size),
        Gives::Slice => (number as u32, (number >> 32) as u32),
        Gives::Written(argument) => (words[argument] as u32, (words[argument] >> 32) as u32),
    };
    let bytes = native.memory.0[from as usize..(from + size) as usize].to_vec();
    Seen::Gave { number, bytes }
}

/// Tests of host functions, each named for its function, and the list of them.
macro_rules! host_functions {
    ($($name:ident gives $gives:expr, |$subject:ident| $test:block)*) => {
        /// The host functions that are tested here.
        pub const TESTED: &[&str] = &[$(stringify!($name)),*];
        $(
            #[tokio::test]
            async fn $name() {
                let $subject = crate::call::Subject::new(&[stringify!($name)], $gives, PARAMS).await;
                $test
            }
        )*
    };
}
pub(crate) use host_functions;
