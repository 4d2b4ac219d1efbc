//! What the four lifecycles (execution, preparation, artifact, worker) have in common.

use std::fmt;

/// A transition that the lifecycle does not have: a bug of the scheduler, never the fault of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IllegalTransition {
    /// Which lifecycle.
    pub(crate) of: &'static str,
    /// The state it was in.
    pub(crate) state: String,
    /// What was to happen.
    pub(crate) event: String,
}

impl IllegalTransition {
    pub(crate) fn new(of: &'static str, state: &dyn fmt::Debug, event: &dyn fmt::Debug) -> Self {
        Self { of, state: format!("{state:?}"), event: format!("{event:?}") }
    }
}

impl fmt::Display for IllegalTransition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in state {} cannot take {}", self.of, self.state, self.event)
    }
}

/// Checks every pair of a state and an event: those in `legal` lead to the third value, and return the state before;
/// all others are illegal and change nothing. `apply` returns the result and the state afterwards.
#[cfg(test)]
pub(super) fn assert_lifecycle<S: Clone + PartialEq + fmt::Debug, E: Clone + PartialEq + fmt::Debug>(
    (states, events): (&[S], &[E]),
    legal: &[(S, E, S)],
    apply: impl Fn(S, E) -> (Result<S, IllegalTransition>, S),
) {
    assert!(
        legal
            .iter()
            .all(|(from, event, to)| { states.contains(from) && events.contains(event) && states.contains(to) })
    );
    for state in states {
        for event in events {
            let (result, after) = apply(state.clone(), event.clone());
            match legal.iter().find(|(from, with, _)| (from, with) == (state, event)) {
                Some((from, _, to)) => assert_eq!((result.as_ref(), &after), (Ok(from), to), "{state:?} and {event:?}"),
                None => {
                    assert!(result.is_err(), "{state:?} must not take {event:?}");
                    assert_eq!(after, *state, "an illegal transition changes nothing");
                }
            }
        }
    }
}
