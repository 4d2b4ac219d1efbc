//! The memory limit, to the page: `MaxMemoryPages` and 32 more, at most the 65,536 pages that 32 bits can address.

use crate::{
    common::{execute_job, runner},
    guest::{ANSWER, Guest, HEAP, SHORTEST, answering, head_data, word},
};
use pvf_shared::{
    Bytes,
    job::ExecuteOutcome,
    params::{ExecutorParam, ExecutorParams},
    verdict::AmbiguousReason,
};

/// Values of the parameter (`None`: its default), and the limit that follows from each, pages.
const LIMITS: [(Option<u32>, u32); 7] = [
    (Some(1), 33),
    (Some(2), 34),
    (Some(64), 96),
    (None, 2080),
    (Some(2048), 2080),
    (Some(65_503), 65_535),
    (Some(65_536), 65_536),
];

fn params(pages: Option<u32>) -> ExecutorParams {
    ExecutorParams(pages.map(ExecutorParam::MaxMemoryPages).into_iter().collect())
}

/// A guest that grows its memory by the number of pages in the first word of the head, and repeats that as often as the
/// second word says. It writes the last byte of memory, and answers with the results of the first and the last growth
/// and with the final size.
fn growing() -> String {
    let body = format!(
        "(local $times i32) (local $got i32)
         (local.set $times (i32.load offset=5 (local.get $at)))
         (i32.store (i32.const {ANSWER}) (memory.grow (i32.load offset=1 (local.get $at))))
         (block $done
             (loop $next
                 (br_if $done (i32.eqz (local.get $times)))
                 (local.set $times (i32.sub (local.get $times) (i32.const 1)))
                 (local.set $got (memory.grow (i32.load offset=1 (local.get $at))))
                 (br $next)))
         (i32.store8 (i32.sub (i32.shl (memory.size) (i32.const 16)) (i32.const 1)) (i32.const 1))
         (i32.store (i32.const {}) (local.get $got))
         (i32.store (i32.const {}) (memory.size))",
        ANSWER + 4,
        ANSWER + 8,
    );
    answering(2, HEAP, SHORTEST, "", &body)
}

#[tokio::test]
async fn memory_grows_to_the_last_page_and_not_beyond() {
    let guest = Guest::new(&growing(), &[]).await;
    for (pages, limit) in LIMITS {
        let grow = async |by: u32, more: u32| {
            let head = [by.to_le_bytes(), more.to_le_bytes()].concat();
            let answer = head_data(guest.call(&head, b"", &params(pages)).await);
            let answer = answer.unwrap_or_else(|why| panic!("MaxMemoryPages {pages:?}, by {by}: {why}"));
            [word(&answer, 0), word(&answer, 1), word(&answer, 2)]
        };
        let case = |what: &str| format!("MaxMemoryPages {pages:?}: {what}");
        assert_eq!(grow(limit - 2, 0).await, [2, 0, limit], "{}", case("to the limit"));
        assert_eq!(grow(limit - 1, 0).await, [u32::MAX, 0, 2], "{}", case("a page beyond"));
        assert_eq!(grow(limit - 2, 1).await, [2, u32::MAX, limit], "{}", case("to the limit, and once more"));
        assert_eq!(grow(0, 1).await, [2, 2, 2], "{}", case("by no pages"));
        assert_eq!(grow(u32::MAX, 0).await, [u32::MAX, 0, 2], "{}", case("by the largest number of pages"));
        if limit < 100 {
            let steps = limit - 2;
            assert_eq!(grow(1, steps - 1).await, [2, limit - 1, limit], "{}", case("page by page"));
            assert_eq!(grow(1, steps).await, [2, u32::MAX, limit], "{}", case("page by page, and one more"));
        }
    }
}

#[tokio::test]
async fn initial_memory_may_reach_the_limit_and_not_exceed_it() {
    for (pages, limit) in LIMITS {
        let guest = Guest::new(&answering(limit, HEAP, SHORTEST, "", ""), &[]).await;
        head_data(guest.call(b"", b"", &params(pages)).await).unwrap_or_else(|why| panic!("{pages:?}: {why}"));
        if limit == 65_536 {
            // One page more than 65,536 does not compile.
            continue;
        }
        let guest = Guest::new(&answering(limit + 1, HEAP, SHORTEST, "", ""), &[]).await;
        let outcome = guest.call(b"", b"", &params(pages)).await;
        let construction = matches!(&outcome, ExecuteOutcome::Ambiguous(AmbiguousReason::RuntimeConstruction(_)));
        assert!(construction, "MaxMemoryPages {pages:?}, {} initial pages: {outcome:?}", limit + 1);
    }
}

#[tokio::test]
async fn growing_keeps_the_contents_and_adds_zeros() {
    // Growth beyond the reserved address space moves the memory, which the guest must not notice.
    let body = format!(
        "(i64.store (i32.const 131064) (i64.const 0x1122334455667788))
         (drop (memory.grow (i32.const 2000)))
         (i64.store (i32.const {ANSWER}) (i64.load (i32.const 131064)))
         (i64.store (i32.const {}) (i64.load (i32.const 131072)))",
        ANSWER + 8,
    );
    let guest = Guest::new(&answering(2, HEAP, SHORTEST, "", &body), &[]).await;
    let answer = head_data(guest.with_head(b"").await).unwrap();
    assert_eq!(answer[..8], 0x1122_3344_5566_7788_u64.to_le_bytes(), "old contents");
    assert_eq!(answer[8..16], [0; 8], "new pages");
}

#[tokio::test]
async fn one_call_leaves_no_state_to_the_next() {
    let body = format!(
        "(i32.store (i32.const {ANSWER}) (i32.load (i32.const 60000)))
         (i32.store (i32.const 60000) (i32.const -1))
         (i32.store (i32.const {}) (memory.grow (i32.const 1)))
         (i32.store (i32.const {}) (global.get $g))
         (global.set $g (i32.const 7))",
        ANSWER + 4,
        ANSWER + 8,
    );
    let items = "(global $g (mut i32) (i32.const 3))";
    let guest = Guest::new(&answering(2, HEAP, SHORTEST, items, &body), &[]).await;
    for _ in 0..5 {
        let answer = head_data(guest.with_head(b"").await).unwrap();
        assert_eq!([0, 1, 2].map(|n| word(&answer, n)), [0, 2, 3]);
    }
    // With another runner, the call is made in a fork of another template.
    let other = runner(std::path::Path::new(crate::common::WORKER));
    let outcome = other.execute(&execute_job(b"", guest.params.clone()), guest.artifact.file(), Bytes::new()).await.0;
    assert_eq!([0, 1, 2].map(|n| word(&head_data(outcome.clone()).unwrap(), n)), [0, 2, 3]);
}
