use super::*;

mod schedules;

const LEASE: Duration = Duration::from_millis(2400);

fn at(millis: u64) -> Timestamp {
    Timestamp::at(Duration::from_millis(millis))
}

/// A lease with the expected actions.
struct Fixture(Lease);

impl Fixture {
    fn new() -> Self {
        let mut lease = Lease::new(LEASE, at(0));
        lease.handle_timeout(at(0));
        let mut fixture = Self(lease);
        fixture.expect(&[Action::Start(Operation::Open)]);
        fixture.done(Outcome::Opened { duration: LEASE, taken: false }, 0);
        fixture.expect(&[Action::Start(Operation::Claim)]);
        fixture
    }

    /// One that has the lease with revision 7, written at 0.
    fn holder() -> Self {
        let mut fixture = Self::new();
        fixture.done(Outcome::Written(7), 10);
        fixture.expect(&[Action::Acquired { revision: 7, until: at(2160) }]);
        fixture
    }

    fn done(&mut self, outcome: Outcome, millis: u64) {
        self.0.handle(Event::Done(outcome), at(millis));
    }

    /// Waits for the next timer, which is at this time.
    fn wait_until(&mut self, millis: u64) {
        assert_eq!(self.0.poll_timeout(), Some(at(millis)));
        self.0.handle_timeout(at(millis));
    }

    #[track_caller]
    fn expect(&mut self, expected: &[Action]) {
        let actions: Vec<_> = std::iter::from_fn(|| self.0.poll_action()).collect();
        assert_eq!(actions, expected);
    }
}

#[test]
fn a_holder_renews_three_times_in_a_lease_and_counts_from_before_it_sent() {
    let mut f = Fixture::holder();
    f.wait_until(800);
    f.expect(&[Action::Start(Operation::Renew { revision: 7 })]);
    // It was sent at 800 and answered much later.
    f.done(Outcome::Written(9), 1400);
    f.expect(&[Action::Extended { until: at(800 + 2160) }]);
    f.wait_until(1600);
    f.expect(&[Action::Start(Operation::Renew { revision: 9 })]);
}

#[test]
fn a_holder_that_cannot_renew_stops_a_tenth_before_the_end() {
    let mut f = Fixture::holder();
    f.wait_until(800);
    f.expect(&[Action::Start(Operation::Renew { revision: 7 })]);
    f.wait_until(2160);
    f.expect(&[Action::Lost(Loss::Expired)]);
    // The answer that comes then changes nothing.
    f.done(Outcome::Written(8), 2200);
    f.expect(&[]);
    assert!(f.0.poll_timeout() > Some(at(2200)));
}

#[test]
fn a_process_that_was_stopped_finds_its_lease_over_whatever_answers_wait() {
    let mut f = Fixture::holder();
    f.wait_until(800);
    f.expect(&[Action::Start(Operation::Renew { revision: 7 })]);
    // Stopped; the renewal was written, and its answer is the first thing that is read.
    f.done(Outcome::Written(8), 2161);
    f.expect(&[Action::Lost(Loss::Expired)]);
}

#[test]
fn a_renewal_without_an_answer_may_have_been_written() {
    let mut f = Fixture::holder();
    f.wait_until(800);
    f.expect(&[Action::Start(Operation::Renew { revision: 7 })]);
    f.done(Outcome::Failed, 1000);
    f.wait_until(1120);
    f.expect(&[Action::Start(Operation::Renew { revision: 7 })]);
    f.done(Outcome::Conflict, 1130);
    f.expect(&[Action::Start(Operation::Inspect)]);
    // The first one was written. The lease counts from before that was sent.
    f.done(Outcome::Read(Some(8)), 1140);
    f.expect(&[Action::Extended { until: at(800 + 2160) }]);

    let mut f = Fixture::holder();
    f.wait_until(800);
    f.done(Outcome::Failed, 1000);
    f.wait_until(1120);
    f.done(Outcome::Conflict, 1130);
    f.done(Outcome::Read(None), 1140);
    f.0.poll_action();
    f.0.poll_action();
    f.0.poll_action();
    f.expect(&[Action::Lost(Loss::Taken)]);
}

#[test]
fn another_revision_means_that_another_has_the_lease() {
    let mut f = Fixture::holder();
    f.wait_until(800);
    f.expect(&[Action::Start(Operation::Renew { revision: 7 })]);
    f.done(Outcome::Conflict, 900);
    f.expect(&[Action::Lost(Loss::Taken)]);
    f.wait_until(1500);
    f.expect(&[Action::Start(Operation::Claim)]);
}

#[test]
fn a_standby_waits_while_it_sees_renewals_and_claims_at_once_after_a_release() {
    let mut f = Fixture::new();
    f.done(Outcome::Conflict, 10);
    f.expect(&[]);
    for seen in [400, 1000, 1600] {
        f.0.handle(Event::RenewalSeen, at(seen));
        assert_eq!(f.0.poll_timeout(), Some(at(seen + 2400)));
    }
    f.0.handle(Event::ReleaseSeen, at(1700));
    f.expect(&[Action::Start(Operation::Claim)]);
    // A release that is seen while a claim is under way.
    f.0.handle(Event::ReleaseSeen, at(1701));
    f.done(Outcome::Conflict, 1702);
    f.wait_until(1726);
    f.expect(&[Action::Start(Operation::Claim)]);
    // Somebody else was faster.
    f.0.handle(Event::RenewalSeen, at(1727));
    f.done(Outcome::Conflict, 1728);
    f.expect(&[]);
    assert_eq!(f.0.poll_timeout(), Some(at(1727 + 2400)));
}

#[test]
fn a_standby_without_an_answer_opens_the_bucket_again() {
    let mut f = Fixture::new();
    f.done(Outcome::Failed, 10);
    f.wait_until(610);
    f.expect(&[Action::Start(Operation::Open)]);
    f.done(Outcome::Failed, 700);
    f.wait_until(1300);
    f.expect(&[Action::Start(Operation::Open)]);
    // A bucket that had to be made, beside somebody who still acts: that one's lease runs out first.
    f.done(Outcome::Opened { duration: LEASE, taken: true }, 1400);
    f.wait_until(3800);
    f.expect(&[Action::Start(Operation::Claim)]);
}

#[test]
fn an_answer_that_comes_too_late_gives_no_lease() {
    let mut f = Fixture::new();
    f.done(Outcome::Written(7), 2160);
    f.expect(&[]);
    assert_eq!(f.0.poll_timeout(), Some(at(4560)));
}

#[test]
fn a_holder_that_resigns_removes_the_key() {
    let mut f = Fixture::holder();
    f.0.handle(Event::Resign, at(20));
    f.expect(&[Action::Lost(Loss::Resigned), Action::Start(Operation::Release { revision: 7 })]);
    assert!(!f.0.has_ended());
    f.done(Outcome::Removed, 30);
    assert!(f.0.has_ended());

    // The revision is known only when the renewal has been answered.
    let mut f = Fixture::holder();
    f.wait_until(800);
    f.0.handle(Event::Resign, at(810));
    f.done(Outcome::Written(8), 820);
    f.0.poll_action();
    f.expect(&[Action::Lost(Loss::Resigned), Action::Start(Operation::Release { revision: 8 })]);

    let mut f = Fixture::new();
    f.0.handle(Event::Resign, at(5));
    f.done(Outcome::Conflict, 6);
    f.expect(&[]);
    assert!(f.0.has_ended());
}

#[test]
fn a_shorter_duration_counts_from_the_last_renewal_on_and_a_longer_one_from_the_next() {
    let mut f = Fixture::holder();
    f.0.handle(Event::Duration(LEASE / 4), at(20));
    assert_eq!(f.0.held_until(), Some(at(540)));
    f.wait_until(200);
    f.expect(&[Action::Start(Operation::Renew { revision: 7 })]);
    f.done(Outcome::Written(8), 210);
    f.expect(&[Action::Extended { until: at(200 + 540) }]);
    f.0.handle(Event::Duration(LEASE), at(220));
    assert!(f.0.held_until() <= Some(at(800)));
    f.wait_until(400);
    f.expect(&[Action::Start(Operation::Renew { revision: 8 })]);
    f.done(Outcome::Written(9), 410);
    f.expect(&[Action::Extended { until: at(400 + 2160) }]);
}
