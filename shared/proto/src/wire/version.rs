//! Versions of the protocol.

use serde::{Deserialize, Serialize};

/// The protocol version of this build.
pub const VERSION: u16 = 4;

/// The versions of the protocol that this build speaks: its own, and from version 5 on also the one before.
pub const SPEAKS: VersionRange = VersionRange { min: VERSION, max: VERSION };

/// The versions of the protocol that a program speaks. Client and worker name theirs when they submit or register; the
/// coordinator answers in the highest that both speak, or refuses and says who must be upgraded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionRange {
    /// The lowest.
    pub min: u16,
    /// The highest.
    pub max: u16,
}

impl VersionRange {
    /// The highest version that both speak; `None` if there is none.
    pub fn common(self, other: Self) -> Option<u16> {
        let highest = self.max.min(other.max);
        (highest >= self.min.max(other.min)).then_some(highest)
    }
}

impl std::fmt::Display for VersionRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.min == self.max { write!(f, "{}", self.max) } else { write!(f, "{} to {}", self.min, self.max) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_common_version_is_spoken() {
        let range = |min, max| VersionRange { min, max };
        for (one, other, common) in [
            (range(4, 4), range(4, 4), Some(4)),
            (range(4, 5), range(4, 4), Some(4)),
            (range(4, 5), range(5, 6), Some(5)),
            (range(4, 4), range(5, 6), None),
            (range(1, 9), range(2, 3), Some(3)),
        ] {
            assert_eq!(one.common(other), common);
            assert_eq!(other.common(one), common);
        }
    }
}
