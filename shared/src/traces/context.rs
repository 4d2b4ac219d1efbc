//! The place of a span in a trace, as messages carry it: <https://www.w3.org/TR/trace-context/>.

use std::{fmt, str::FromStr};

/// A span of a trace, by which spans of other processes name it as their parent. Its text is the value of a
/// `traceparent` header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    /// The trace; not zero.
    pub trace: [u8; 16],
    /// The span; not zero.
    pub span: [u8; 8],
    /// Whether the trace is recorded.
    pub sampled: bool,
}

impl TraceContext {
    /// The id of the trace, as collectors show it: 32 digits.
    pub fn trace_id(&self) -> String {
        hex::encode(self.trace)
    }
}

/// A text that is no `traceparent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a traceparent: 00-<32 digits>-<16 digits>-<2 digits>, hexadecimal in lower case")]
pub struct NotATraceparent;

/// `N` bytes from twice as many hexadecimal digits in lower case.
fn bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return None;
    }
    let mut bytes = [0; N];
    hex::decode_to_slice(text, &mut bytes).ok().map(|()| bytes)
}

impl FromStr for TraceContext {
    type Err = NotATraceparent;

    fn from_str(text: &str) -> Result<Self, NotATraceparent> {
        let mut parts = text.trim().split('-');
        let mut next = || parts.next().ok_or(NotATraceparent);
        let (version, trace, span, flags) = (next()?, next()?, next()?, next()?);
        let [version] = bytes(version).ok_or(NotATraceparent)?;
        // A later version may have more parts.
        if version == 0xff || (version == 0 && parts.next().is_some()) {
            return Err(NotATraceparent);
        }
        let (trace, span) = (bytes(trace).ok_or(NotATraceparent)?, bytes(span).ok_or(NotATraceparent)?);
        let [flags] = bytes(flags).ok_or(NotATraceparent)?;
        if trace == [0; 16] || span == [0; 8] {
            return Err(NotATraceparent);
        }
        Ok(Self { trace, span, sampled: flags & 1 == 1 })
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{}-{}-{:02x}", hex::encode(self.trace), hex::encode(self.span), u8::from(self.sampled))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_context_is_read_and_written() {
        let context: TraceContext = EXAMPLE.parse().unwrap();
        assert!(context.sampled);
        assert_eq!((context.trace[0], context.span[7]), (0x4b, 0xb7));
        assert_eq!(context.to_string(), EXAMPLE);
        let unsampled: TraceContext = EXAMPLE.replace("-01", "-00").parse().unwrap();
        assert!(!unsampled.sampled);
        let later = format!("{}-more", EXAMPLE.replacen("00-", "01-", 1));
        assert_eq!(later.parse(), Ok(context), "of a later version what is known");
    }

    #[test]
    fn what_is_no_context_is_refused() {
        let zero_trace = format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32));
        let zero_span = format!("00-4bf92f3577b34da6a3ce929d0e0e4736-{}-01", "0".repeat(16));
        for wrong in [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            &EXAMPLE.to_uppercase(),
            &EXAMPLE.replacen("00-", "ff-", 1),
            &format!("{EXAMPLE}-more"),
            &EXAMPLE.replace("4bf9", "4bf"),
            &EXAMPLE.replace("4bf9", "xxxx"),
            &zero_trace,
            &zero_span,
            "00-é",
        ] {
            assert_eq!(wrong.parse::<TraceContext>(), Err(NotATraceparent), "{wrong}");
        }
    }
}
