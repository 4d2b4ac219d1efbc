//! The guest's heap: every address and every growth of memory equals that of the allocator run natively, and the heap
//! can be used to its last byte.

use crate::{
    call::Plain,
    guest::{ANSWER, Guest, HEAP, PAGE, Random, SHORTEST, answering, head_data, word},
};
use pvf_shared::params::{ExecutorParam, ExecutorParams};
use sc_allocator::{FreeingBumpHeapAllocator, Memory as _};

const IMPORTS: &str = r#"(import "env" "ext_allocator_malloc_version_1" (func $malloc (param i32) (result i32)))
    (import "env" "ext_allocator_free_version_1" (func $free (param i32)))"#;
/// Number of words of a script, and of its answer.
const WORDS: usize = SHORTEST as usize / 4;
/// Bytes that the parameters of a script take on the heap: the block of their size class, and its header.
const PARAMETERS: u64 = 32 * 1024 + 8;
/// Bytes of the encoded parameters besides the block, for blocks of at least 2^14 bytes.
const AROUND: usize = 5 + 4 + 4 + 32;
const NO_SPACE: &str = "Allocator ran out of space";

/// A guest that follows a script. The lowest six bits of each word name a slot, the others a size. If the slot holds a
/// block the guest frees it, and answers with the size of memory. Otherwise it allocates a block of that size, writes
/// to it, and answers with its address.
fn scripted() -> String {
    let body = format!(
        "(local $op i32) (local $n i32) (local $slot i32) (local $got i32)
         (loop $next
             (local.set $op (i32.load offset=9 (i32.add (local.get $at) (local.get $n))))
             (local.set $slot (i32.shl (i32.and (local.get $op) (i32.const 63)) (i32.const 2)))
             (local.set $got (i32.load offset=32768 (local.get $slot)))
             (if (local.get $got)
                 (then
                     (call $free (local.get $got))
                     (i32.store offset=32768 (local.get $slot) (i32.const 0))
                     (local.set $got (memory.size)))
                 (else
                     (local.set $got (call $malloc (i32.shr_u (local.get $op) (i32.const 6))))
                     (i64.store (local.get $got) (i64.const -1))
                     (i32.store offset=32768 (local.get $slot) (local.get $got))))
             (i32.store offset={ANSWER} (local.get $n) (local.get $got))
             (local.set $n (i32.add (local.get $n) (i32.const 4)))
             (br_if $next (i32.lt_u (local.get $n) (i32.const {SHORTEST}))))"
    );
    answering(2, HEAP, SHORTEST, IMPORTS, &body)
}

/// The answer to a script, computed natively.
fn native(script: &[u32]) -> Vec<u32> {
    let mut memory = Plain(vec![0; 2 * PAGE as usize]);
    let mut allocator = FreeingBumpHeapAllocator::new(HEAP);
    allocator.allocate(&mut memory, (AROUND + 4 * script.len()) as u32).unwrap();
    let mut slots = [None; 64];
    let mut follow = |op: &u32| match slots[*op as usize % 64].take() {
        Some(block) => {
            allocator.deallocate(&mut memory, block).unwrap();
            memory.pages()
        }
        None => {
            let block = allocator.allocate(&mut memory, *op >> 6).unwrap();
            let at = u32::from(block) as usize;
            memory.0[at..at + 8].fill(0xff);
            slots[*op as usize % 64] = Some(block);
            u32::from(block)
        }
    };
    script.iter().map(&mut follow).collect()
}

#[tokio::test]
async fn every_address_equals_that_of_the_allocator() {
    let guest = Guest::new(&scripted(), &[]).await;
    for seed in [1, 2, 3] {
        let mut random = Random(seed);
        let mut op = || {
            // Sizes of every size class up to 256 KiB.
            let size = (random.next() as u32 & 0x3_ffff) >> (random.next() % 19);
            size << 6 | random.next() as u32 & 63
        };
        let script: Vec<u32> = (0..WORDS).map(|_| op()).collect();
        let block: Vec<u8> = script.iter().flat_map(|op| op.to_le_bytes()).collect();
        let answer = head_data(guest.call(b"head", &block, &guest.params).await).unwrap();
        for (n, expected) in native(&script).into_iter().enumerate() {
            let op = script[n];
            assert_eq!(word(&answer, n), expected, "seed {seed}, step {n}: slot {}, size {}", op % 64, op >> 6);
        }
    }
}

/// A guest that allocates blocks of the sizes in the script, which ends with the size 2^32 - 1, and answers with the
/// size of memory after each.
fn allocating(heap: u32) -> String {
    let body = format!(
        "(local $size i32) (local $n i32)
         (loop $next
             (local.set $size (i32.load offset=9 (i32.add (local.get $at) (local.get $n))))
             (if (i32.ne (local.get $size) (i32.const -1))
                 (then
                     (drop (call $malloc (local.get $size)))
                     (i32.store offset={ANSWER} (local.get $n) (memory.size))
                     (local.set $n (i32.add (local.get $n) (i32.const 4)))
                     (br $next))))"
    );
    answering(2, heap, SHORTEST, IMPORTS, &body)
}

/// Sizes of blocks that together take exactly this number of bytes, headers included.
fn filling(mut bytes: u64) -> Vec<u32> {
    let mut sizes = Vec::new();
    while bytes > 0 {
        // The rest must be 0, or enough for another block.
        let fits = |size: &u64| bytes == size + 8 || bytes >= size + 8 + 16;
        let size = (3..=20).rev().map(|order| 1_u64 << order).find(fits).expect("a multiple of 8 from 16 on");
        sizes.push(size as u32);
        bytes -= size + 8;
    }
    sizes
}

#[tokio::test]
async fn the_heap_can_be_used_to_its_last_byte_and_no_further() {
    let params = [ExecutorParam::MaxMemoryPages(1)];
    let pages = ExecutorParams(params.to_vec()).memory_page_limit();
    assert_eq!(pages, 33);
    let room = u64::from(pages) * PAGE - u64::from(HEAP) - PARAMETERS;
    // A heap base of one byte more leaves eight bytes less, because it is rounded up to a multiple of eight.
    let (exact, later) =
        (Guest::new(&allocating(HEAP), &params).await, Guest::new(&allocating(HEAP + 1), &params).await);
    let take = async |guest: &Guest, sizes: &[u32]| {
        let mut block: Vec<u8> = sizes.iter().chain([&u32::MAX]).flat_map(|size| size.to_le_bytes()).collect();
        block.resize(1 << 14, 0);
        head_data(guest.call(b"head", &block, &guest.params).await)
    };
    for order in [3, 4, 10, 16, 20] {
        let last = 1_u32 << order;
        let mut sizes = filling(room - u64::from(last) - 8);
        sizes.push(last);
        let answer = take(&exact, &sizes).await.unwrap_or_else(|why| panic!("the last {last} bytes: {why}"));
        assert_eq!(word(&answer, sizes.len() - 1), pages, "all pages are in use, with a last block of {last} bytes");
        for (case, guest, sizes) in [
            ("one byte more than the last block", &exact, [&sizes[..sizes.len() - 1], &[last + 1]].concat()),
            ("a block of size 0 behind the last byte", &exact, [&sizes[..], &[0]].concat()),
            ("the same blocks with a heap base of one byte more", &later, sizes.clone()),
        ] {
            let why = take(guest, &sizes).await.expect_err(case);
            assert!(why.contains(NO_SPACE), "{case}, 2^{order}: {why}");
        }
    }
}

/// Calls a guest with a block of `len` bytes.
async fn with_block(guest: &Guest, len: usize) -> Result<Vec<u8>, String> {
    head_data(guest.call(b"head", &vec![0; len], &guest.params).await)
}

#[tokio::test]
async fn the_limit_of_parameters_is_exact() {
    let largest = (1 << 25) - AROUND;
    let guest = Guest::new(&answering(2, HEAP, SHORTEST, "", ""), &[]).await;
    with_block(&guest, largest).await.expect("the largest block of the allocator");
    let why = with_block(&guest, largest + 1).await.expect_err("one byte more");
    assert!(why.contains("Requested allocation size is too large"), "{why}");

    // A heap with room for one block of 1 MiB, and one with a heap base of one byte more.
    let (len, limit) = ((1 << 20) - AROUND, 33 * PAGE as u32);
    let heap = limit - (1 << 20) - 8;
    let params = [ExecutorParam::MaxMemoryPages(1)];
    let guest = Guest::new(&answering(2, heap, SHORTEST, "", ""), &params).await;
    with_block(&guest, len).await.expect("the whole heap");
    let why = with_block(&guest, len + 1).await.expect_err("one byte more");
    assert!(why.contains(NO_SPACE), "{why}");
    let guest = Guest::new(&answering(2, heap + 1, SHORTEST, "", ""), &params).await;
    let why = with_block(&guest, len).await.expect_err("less room");
    assert!(why.contains(NO_SPACE), "{why}");
}
