//! The times at which requests of an open loop are due. A thread of its own waits for each: the timers of the runtime
//! are accurate to a millisecond only, which is as long as a short execution.

use super::args::Rate;
use rustix::{io::Errno, thread::NanosleepRelativeResult, time::Timespec};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// When no more are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Until {
    Elapsed(Duration),
    Sent(u64),
}

/// The longest sleep: the thread ends this long after its receiver, at the latest.
const LONGEST_SLEEP: Duration = Duration::from_millis(100);

/// Each time, once it has come. The channel has no bound: what is due is due, also if it cannot be sent yet.
pub(super) fn times(started: Instant, rate: Rate, until: Until) -> std::io::Result<mpsc::UnboundedReceiver<Instant>> {
    let (sender, receiver) = mpsc::unbounded_channel();
    let run = move || {
        for number in 0.. {
            let Some(due) = due(started, rate, until, number) else { return };
            if !wait_until(due, &sender) || sender.send(due).is_err() {
                return;
            }
        }
    };
    std::thread::Builder::new().name("pace".into()).spawn(run)?;
    Ok(receiver)
}

/// When the request with this number is due. Computed from the start, so that no error adds up.
fn due(started: Instant, rate: Rate, until: Until, number: u64) -> Option<Instant> {
    let after = Duration::from_secs_f64(number as f64 / rate.per_second());
    let more = match until {
        Until::Elapsed(time) => after < time,
        Until::Sent(requests) => number < requests,
    };
    if more { started.checked_add(after) } else { None }
}

/// Whether the receiver still waits when the time has come.
fn wait_until(due: Instant, sender: &mpsc::UnboundedSender<Instant>) -> bool {
    loop {
        let left = due.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return true;
        }
        if sender.is_closed() {
            return false;
        }
        let time = left.min(LONGEST_SLEEP);
        let time = Timespec { tv_sec: 0, tv_nsec: i64::from(time.subsec_nanos()) };
        match rustix::thread::nanosleep(&time) {
            NanosleepRelativeResult::Ok | NanosleepRelativeResult::Interrupted(_) => {}
            NanosleepRelativeResult::Err(Errno::INTR) => {}
            NanosleepRelativeResult::Err(_) => std::thread::yield_now(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_time_comes_once_it_is_due_and_in_order() {
        let (started, rate) = (Instant::now(), "1500/s".parse::<Rate>().unwrap());
        let mut times = times(started, rate, Until::Sent(20)).unwrap();
        for number in 0..20 {
            let due = times.recv().await.unwrap();
            assert!(due <= Instant::now(), "{number}");
            let after = Duration::from_secs_f64(f64::from(number) / 1500.0);
            assert_eq!(due, started + after);
        }
        assert_eq!(times.recv().await, None);
    }

    #[test]
    fn a_load_that_ends_at_a_time_has_what_is_due_before_it() {
        let started = Instant::now();
        let until = Until::Elapsed(Duration::from_secs(1));
        let due = |rate: &str, number| due(started, rate.parse().unwrap(), until, number);
        assert_eq!(due("4/s", 3), Some(started + Duration::from_millis(750)));
        assert_eq!(due("4/s", 4), None);
        // An interval of whole nanoseconds would have one more.
        assert!(due("3000/s", 2999).is_some() && due("3000/s", 3000).is_none());
    }
}
