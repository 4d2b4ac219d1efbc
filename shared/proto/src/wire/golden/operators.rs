//! Messages of operators.

use super::*;

pub(super) fn add_golden(golden: &mut GoldenMessages) {
    golden.add("drain", &FromOperator::Drain { workers: vec![worker()] });
    for (name, state) in [
        ("told", DrainState::Told { jobs: 2 }),
        ("draining", DrainState::Draining { jobs: 1 }),
        ("left", DrainState::Left),
        ("lost", DrainState::Lost),
        ("unknown", DrainState::Unknown),
    ] {
        let drains = vec![WorkerDrain { worker: worker(), state }];
        golden.add(&format!("drain reply {name}"), &OperatorReply::Drains(drains));
    }
    let cancel = |client| FromOperator::Cancel { request: RequestId(uuid(1)), client };
    golden.add("operator cancels", &cancel(None));
    golden.add("operator cancels of client", &cancel(Some(client())));
    let code = CodeHash([1; 32]);
    golden.add("operator pins", &FromOperator::Pin { code });
    golden.add("operator unpins", &FromOperator::Unpin { code });
    golden.add("operator removes code", &FromOperator::Remove { artifacts: ArtifactChoice::Code(code) });
    golden.add("operator removes artifact", &FromOperator::Remove { artifacts: ArtifactChoice::One(artifact()) });
    golden.add("operator prunes", &FromOperator::Prune { older_than: None, dry_run: true });
    let older_than = Some(Duration::from_secs(5));
    golden.add("operator prunes older", &FromOperator::Prune { older_than, dry_run: false });
    add_replies(golden);
}

fn client() -> ClientId {
    ClientId { user: UserName::default(), session: uuid(4) }
}

fn add_replies(golden: &mut GoldenMessages) {
    for (name, reply) in [
        ("done", Cancellation::Done { client: client(), others: 2 }),
        ("not open", Cancellation::NotOpen),
        ("several", Cancellation::Several(vec![client()])),
    ] {
        golden.add(&format!("operator cancel reply {name}"), &OperatorReply::Cancel(reply));
    }
    for (name, reply) in [
        ("saved", Pinning::Saved { changed: true, artifacts: 3, bytes: 4 }),
        ("not saved", Pinning::NotSaved("why".into())),
        ("too many", Pinning::TooMany(5)),
        ("not now", Pinning::NotNow("why".into())),
    ] {
        golden.add(&format!("operator pin reply {name}"), &OperatorReply::Pin(reply));
    }
    let idle = Duration::from_secs(6);
    let fates = [Fate::Removed, Fate::Kept, Fate::Preparing, Fate::Failed("why".into())];
    let artifacts = fates.map(|fate| RemovedArtifact { artifact: artifact(), bytes: 7, idle, fate }).to_vec();
    for (name, reply) in [
        ("done", Removal::Done(Removed { artifacts, more: true, older_than: Some(idle) })),
        ("pinned", Removal::Pinned),
        ("not now", Removal::NotNow("why".into())),
    ] {
        golden.add(&format!("operator removal reply {name}"), &OperatorReply::Removal(reply));
    }
}
