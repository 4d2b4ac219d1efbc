//! A part of a list.

/// A list that may be longer than what is shown of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Page<T> {
    /// The first entries that match.
    pub entries: Vec<T>,
    /// How many match, of those that were looked at.
    pub matching: usize,
    /// Whether all were looked at.
    pub complete: bool,
}

impl<T> Page<T> {
    /// Nothing matches.
    pub fn empty() -> Self {
        Self { entries: Vec::new(), matching: 0, complete: true }
    }
}
