//! The header of a message that names the span that it belongs to.

use crate::traces::{self, HEADER, TraceContext};
use async_nats::HeaderMap;

/// More than the headers of a message with this header take up, bytes. They count as part of the message.
const ROOM: usize = 128;

/// The headers of a message that is sent now. None without a span, and none if the message has no room for them.
pub(super) fn headers(payload: usize, max_payload: usize) -> Option<HeaderMap> {
    let context = traces::current().filter(|_| payload + ROOM <= max_payload)?;
    let mut headers = HeaderMap::new();
    headers.insert(HEADER, context.to_string().as_str());
    Some(headers)
}

/// The span that a message belongs to.
pub(super) fn of(headers: &HeaderMap) -> Option<TraceContext> {
    headers.get(HEADER)?.as_str().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn headers_fit_into_the_message() {
        let context: TraceContext = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".parse().unwrap();
        assert_eq!(headers(0, 1000), None);
        traces::within(Some(context), async {
            let all = headers(1000 - ROOM, 1000).unwrap();
            assert_eq!(of(&all), Some(context));
            let text: usize = all.iter().map(|(name, values)| name.to_string().len() + values[0].as_str().len()).sum();
            assert!("NATS/1.0\r\n: \r\n\r\n".len() + text <= ROOM, "{text}");
            assert_eq!(headers(1001 - ROOM, 1000), None);
        })
        .await;
        let mut wrong = HeaderMap::new();
        wrong.insert(HEADER, "00-no-context-01");
        assert_eq!(of(&wrong), None);
    }
}
