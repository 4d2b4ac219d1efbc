//! What a coordinator says to everybody.

use serde::{Deserialize, Serialize};

/// A coordinator has become active. It is published on [`announcements`](crate::subjects::announcements) without an
/// answer, more than once, and its frame has the term. The coordinator knows nothing of what an earlier one knew.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announcement {
    /// The coordinator's version.
    pub version: String,
}
