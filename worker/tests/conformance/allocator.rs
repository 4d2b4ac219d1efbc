//! The interface `allocator`: the functions themselves. What they do in a row, and when there is no room, is in
//! `heap.rs`.

use crate::{
    call::{Gives, Subject, host_functions, word},
    guest::HEAP,
};
use pvf_shared::params::ExecutorParam;

const PARAMS: &[ExecutorParam] = &[];
const MALLOC: &str = "ext_allocator_malloc_version_1";
const FREE: &str = "ext_allocator_free_version_1";
/// Where the parameters are, and the first block behind them: they take 32 KiB, and 8 bytes each for a header.
const PARAMETERS: u64 = HEAP as u64 + 8;
const NEXT: u64 = PARAMETERS + 32 * 1024 + 8;

host_functions! {
    ext_allocator_malloc_version_1 gives Gives::Nothing, |it| {
        for size in [0, 1, 7, 8, 9, 100, 65_536, 1 << 20, (1 << 25) - 1, 1 << 25] {
            it.says(&format!("{size} bytes"), &[word(size)], NEXT).await;
        }
        for size in [(1 << 25) + 1, 1 << 31, u64::from(u32::MAX)] {
            it.refuses(&format!("{size} bytes"), &[word(size)], "Requested allocation size is too large").await;
        }
    }
    ext_allocator_free_version_1 gives Gives::Nothing, |it| {
        it.gives("the parameters", &[word(PARAMETERS)], b"").await;
        it.refuses("no address", &[word(0)], "Invalid pointer for deallocation").await;
        it.refuses("below the first header", &[word(7)], "Invalid pointer for deallocation").await;
        it.refuses("what is free", &[word(8)], "the allocation points to an empty header").await;
        it.refuses("beyond memory", &[word(0xffff_fff0)], "read out of heap bounds").await;
    }
}

#[tokio::test]
async fn a_freed_block_is_taken_again_and_an_error_is_for_ever() {
    let it = Subject::new(&[FREE, MALLOC], Gives::Nothing, PARAMS).await;
    it.says("the same size class", &[word(PARAMETERS), word(20_000)], PARAMETERS).await;
    it.says("another size class", &[word(PARAMETERS), word(16_384)], NEXT).await;
    let it = Subject::new(&[FREE, FREE], Gives::Nothing, PARAMS).await;
    let twice = [word(PARAMETERS), word(PARAMETERS)];
    it.refuses("twice", &twice, "the allocation points to an empty header").await;
}
