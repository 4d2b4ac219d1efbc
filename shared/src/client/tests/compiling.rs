//! How far the compiler has come with the codes that requests wait for.

use super::*;
use crate::{
    ids::JobId,
    wire::{CompileProgress, CompilingRequest},
};

#[tokio::test(start_paused = true)]
async fn a_preparation_that_several_requests_wait_for_counts_once() {
    let mut fixture = Fixture::new().await;
    let mut shown = fixture.client.compiling();
    assert_eq!(*shown.borrow(), None);
    let answers = [fixture.precheck(), fixture.precheck()];
    let [first, second] = [fixture.accept().await, fixture.accept().await];
    let of = |submission: &Submission, job, compiled| CompilingRequest {
        request: submission.id,
        job: JobId(job),
        progress: CompileProgress { compiled, functions: 10 },
    };
    for (compiling, expected) in [
        (vec![of(&first, 1, 4), of(&second, 1, 4)], Some(CompileProgress { compiled: 4, functions: 10 })),
        (vec![of(&first, 1, 5), of(&second, 2, 3)], Some(CompileProgress { compiled: 8, functions: 20 })),
        (vec![], None),
    ] {
        let (_, reply) = fixture.receive_question().await;
        fixture.reply(&reply, &AskReply { compiling, ..AskReply::default() }).await;
        shown.changed().await.unwrap();
        assert_eq!(*shown.borrow_and_update(), expected);
    }
    answers.iter().for_each(|answer| answer.abort());
}
