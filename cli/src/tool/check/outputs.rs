//! A candidate's outputs, held against the relay chain's configuration.

use super::{
    checking::Checking,
    report::{Quantity, Row},
};
use crate::tool::network::snapshot::Limits;
use pvf_shared::candidate::ValidationResult;

/// The rows about a result. What the candidate does not have (messages, a new code) has no row.
pub(super) fn rows(checking: &Checking<'_>, result: &ValidationResult) -> Vec<Row> {
    rows_under(&checking.network.limits(), result)
        .into_iter()
        .map(|(check, value, limit)| Row::limited(check, value, limit, checking.thresholds))
        .collect()
}

type Measured = (&'static str, Quantity, Option<Quantity>);

fn rows_under(limits: &Limits, result: &ValidationResult) -> Vec<Measured> {
    let bytes = |n: usize| Quantity::Bytes(n as u64);
    let count = |n: usize| Quantity::Count(n as u64);
    let max_bytes = |limit: Option<u32>| limit.map(|limit| Quantity::Bytes(limit.into()));
    let max_count = |limit: Option<u32>| limit.map(|limit| Quantity::Count(limit.into()));
    let mut rows = vec![("head-data", bytes(result.head_data.len()), max_bytes(limits.max_head_data_size))];
    // Behind an empty message come signals to the relay chain, which are not counted.
    let upward: Vec<_> = result.upward_messages.iter().take_while(|message| !message.is_empty()).collect();
    if let Some(longest) = upward.iter().map(|message| message.len()).max() {
        rows.push(("upward-messages", count(upward.len()), max_count(limits.max_upward_message_num_per_candidate)));
        rows.push(("upward-message-size", bytes(longest), max_bytes(limits.max_upward_message_size)));
    }
    let horizontal = &result.horizontal_messages;
    if let Some(longest) = horizontal.iter().map(|message| message.data.len()).max() {
        rows.push((
            "horizontal-messages",
            count(horizontal.len()),
            max_count(limits.hrmp_max_message_num_per_candidate),
        ));
        rows.push(("horizontal-message-size", bytes(longest), max_bytes(limits.hrmp_channel_max_message_size)));
    }
    if let Some(code) = &result.new_validation_code {
        rows.push(("new-code-size", bytes(code.len()), max_bytes(limits.max_code_size)));
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use pvf_shared::candidate::HorizontalMessage;

    #[test]
    fn what_there_is_is_held_against_its_limit() {
        let limits = Limits {
            max_head_data_size: Some(10),
            max_upward_message_num_per_candidate: Some(16),
            max_upward_message_size: Some(100),
            ..Limits::default()
        };
        let mut result = ValidationResult {
            head_data: vec![0; 4],
            new_validation_code: None,
            upward_messages: [vec![1; 7], vec![2; 9], vec![], vec![3; 1000]].map(Into::into).into(),
            horizontal_messages: vec![],
            processed_downward_messages: 0,
            hrmp_watermark: 0,
        };
        let expected = vec![
            ("head-data", Quantity::Bytes(4), Some(Quantity::Bytes(10))),
            ("upward-messages", Quantity::Count(2), Some(Quantity::Count(16))),
            ("upward-message-size", Quantity::Bytes(9), Some(Quantity::Bytes(100))),
        ];
        assert_eq!(rows_under(&limits, &result), expected);
        result.upward_messages.clear();
        result.horizontal_messages = vec![HorizontalMessage { recipient: 1, data: vec![0; 5] }];
        result.new_validation_code = Some(vec![0; 6].into());
        let names: Vec<_> = rows_under(&limits, &result).into_iter().map(|(name, ..)| name).collect();
        assert_eq!(names, ["head-data", "horizontal-messages", "horizontal-message-size", "new-code-size"]);
    }
}
