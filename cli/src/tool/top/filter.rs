//! Which requests are listed.

/// Which requests are listed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Filter {
    #[default]
    All,
    Open,
    Ended,
    Failed,
    Slow,
}

impl Filter {
    /// Its name in the API; `None` for all.
    pub(super) fn name(self) -> Option<&'static str> {
        match self {
            Self::All => None,
            Self::Open => Some("open"),
            Self::Ended => Some("ended"),
            Self::Failed => Some("failed"),
            Self::Slow => Some("slow"),
        }
    }

    pub(super) fn next(self) -> Self {
        match self {
            Self::All => Self::Open,
            Self::Open => Self::Ended,
            Self::Ended => Self::Failed,
            Self::Failed => Self::Slow,
            Self::Slow => Self::All,
        }
    }
}
