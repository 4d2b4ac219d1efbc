//! The formats of a report.

pub(super) mod github;
pub(super) mod html;
pub(super) mod junit;
pub(super) mod markdown;
pub(super) mod text;

use super::report::{Quantity, Row};

/// The value of a row.
fn value(row: &Row) -> String {
    row.value.shown()
}

/// The limit of a row; empty if it has none.
fn limit(row: &Row) -> String {
    row.limit.as_ref().map(Quantity::shown).unwrap_or_default()
}

/// How much of its limit a row uses; empty if it has none.
fn percent(row: &Row) -> String {
    match row.percent {
        None => String::new(),
        Some(percent) if percent.is_infinite() => "over".into(),
        Some(percent) if percent > 0.0 && percent < 1.0 => "< 1 %".into(),
        // Never 100 % for what is over its limit.
        Some(percent) if percent > 100.0 => format!("{:.0} %", percent.ceil().max(101.0)),
        Some(percent) => format!("{percent:.0} %"),
    }
}
