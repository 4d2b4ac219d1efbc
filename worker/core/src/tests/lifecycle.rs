//! The lifecycle of a job: exactly these transitions are legal.

use super::*;
use crate::{FetchId, JobEvent, JobState};
use pvf_proto::{job::JobUsage, wire::JobReport};

fn report() -> Box<JobReport> {
    let (outcome, usage) = (outcome(), JobUsage::default());
    Box::new(JobReport { token: TOKEN, job: JobId(1), attempt: 1, outcome, usage })
}

#[test]
fn exactly_the_documented_transitions_are_legal() {
    let (run, behind) = (RunId(2), RunId(1));
    let fetching = JobState::Fetching { fetch: FetchId(1), place: 5 };
    let queued = fetching.transition(JobEvent::Fetched).unwrap();
    assert_eq!(queued, JobState::Queued { place: 5 });
    let staged = queued.transition(JobEvent::Staged { run, behind }).unwrap();
    let running = queued.transition(JobEvent::Started { run, order: 1 }).unwrap();
    let finishing = running.transition(JobEvent::SlotReleased).unwrap();
    let finished = finishing.transition(JobEvent::Ended(report())).unwrap();
    let gone = finished.transition(JobEvent::Acknowledged).unwrap();
    let states = [fetching, queued, staged, running, finishing, finished, gone];
    let events = [
        JobEvent::Fetched,
        JobEvent::Failed(report()),
        JobEvent::Started { run, order: 1 },
        JobEvent::Staged { run, behind },
        JobEvent::Displaced { place: -1 },
        JobEvent::SlotGranted { order: 9 },
        JobEvent::SlotReleased,
        JobEvent::Ended(report()),
        JobEvent::Acknowledged,
        JobEvent::Withdrawn,
    ];
    let mut legal = Vec::new();
    for state in &states {
        for event in &events {
            match state.transition(event.clone()) {
                Ok(next) => legal.push(format!("{} {} {}", state.name(), event.name(), next.name())),
                Err(illegal) => assert_eq!((illegal.state, illegal.event), (state.name(), event.name())),
            }
        }
    }
    let expected = [
        "fetching fetched queued",
        "fetching failed finished",
        "fetching withdrawn gone",
        "queued started running",
        "queued staged staged",
        "queued withdrawn gone",
        "staged displaced queued",
        "staged slot-granted running",
        "staged slot-released finishing",
        "staged withdrawn gone",
        "running slot-released finishing",
        "running withdrawn gone",
        "finishing slot-released finishing",
        "finishing ended finished",
        "finishing withdrawn gone",
        "finished acknowledged gone",
        "finished withdrawn gone",
    ];
    assert_eq!(legal, expected);
}

#[test]
fn a_displaced_job_has_no_run() {
    let staged = JobState::Staged { run: RunId(2), behind: RunId(1) };
    let queued = staged.transition(JobEvent::Displaced { place: -3 }).unwrap();
    assert_eq!((staged.run(), queued), (Some(RunId(2)), JobState::Queued { place: -3 }));
}
