//! The host interface `allocator`: single calls. Sequences of calls and exhaustion are tested in `heap.rs`.

use crate::{
    call::{Output, Subject, host_functions, word},
    guest::HEAP,
};
use pvf_shared::params::ExecutorParam;

const PARAMS: &[ExecutorParam] = &[];
const MALLOC: &str = "ext_allocator_malloc_version_1";
const FREE: &str = "ext_allocator_free_version_1";
/// Addresses of the parameters, which take a block of 32 KiB, and of the block behind them. Each block has a header of
/// 8 bytes.
const PARAMETERS: u64 = HEAP as u64 + 8;
const NEXT: u64 = PARAMETERS + 32 * 1024 + 8;

host_functions! {
    ext_allocator_malloc_version_1 -> Output::Nothing, |it| {
        for size in [0, 1, 7, 8, 9, 100, 65_536, 1 << 20, (1 << 25) - 1, 1 << 25] {
            it.returns(&format!("{size} bytes"), &[word(size)], NEXT).await;
        }
        for size in [(1 << 25) + 1, 1 << 31, u64::from(u32::MAX)] {
            it.rejects(&format!("{size} bytes"), &[word(size)], "Requested allocation size is too large").await;
        }
    }
    ext_allocator_free_version_1 -> Output::Nothing, |it| {
        it.outputs("the parameters", &[word(PARAMETERS)], b"").await;
        it.rejects("address 0", &[word(0)], "Invalid pointer for deallocation").await;
        it.rejects("below the first header", &[word(7)], "Invalid pointer for deallocation").await;
        it.rejects("an address that was never allocated", &[word(8)], "the allocation points to an empty header").await;
        it.rejects("an address beyond memory", &[word(0xffff_fff0)], "read out of heap bounds").await;
    }
}

#[tokio::test]
async fn a_freed_block_is_reused_by_its_size_class_and_cannot_be_freed_twice() {
    let it = Subject::new(&[FREE, MALLOC], Output::Nothing, PARAMS).await;
    it.returns("the same size class", &[word(PARAMETERS), word(20_000)], PARAMETERS).await;
    it.returns("another size class", &[word(PARAMETERS), word(16_384)], NEXT).await;
    let it = Subject::new(&[FREE, FREE], Output::Nothing, PARAMS).await;
    let twice = [word(PARAMETERS), word(PARAMETERS)];
    it.rejects("freed twice", &twice, "the allocation points to an empty header").await;
}
