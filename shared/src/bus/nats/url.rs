//! URLs of NATS servers.

use percent_encoding::percent_decode_str;

/// Checks the URLs of NATS servers, separated by commas: `nats://host:4222`, `tls://…` or a bare `host:port`. It does
/// not connect.
///
/// # Errors
/// What is wrong with the first wrong one.
pub fn parse_servers(text: &str) -> Result<Vec<String>, String> {
    text.split(',').map(|url| parse_server(url.trim())).collect()
}

fn parse(text: &str) -> Result<url::Url, url::ParseError> {
    if text.contains("://") { url::Url::parse(text) } else { url::Url::parse(&format!("nats://{text}")) }
}

/// The user in a URL, or the token, and the password if there is one.
pub(super) fn user_of(text: &str) -> Option<(String, Option<String>)> {
    let url = parse(text).ok()?;
    let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    (!url.username().is_empty()).then(|| (decoded(url.username()), url.password().map(decoded)))
}

fn parse_server(text: &str) -> Result<String, String> {
    let url = parse(text).map_err(|e| format!("not the URL of a NATS server: {e}"))?;
    match url.scheme() {
        "nats" | "tls" => {}
        scheme @ ("ws" | "wss") => {
            return Err(format!(
                "{scheme}:// (NATS over websockets) is not supported; use nats:// or tls:// and the server's client port"
            ));
        }
        scheme => return Err(format!("scheme {scheme:?} is neither nats nor tls")),
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err("no host".into());
    }
    Ok(text.to_owned())
}

/// A URL for logs and errors: without user, password and token.
pub fn without_secrets(url: &str) -> String {
    match url.rsplit_once('@') {
        Some((before, host)) => {
            let scheme = before.split_once("://").map_or("", |(s, _)| s);
            let scheme = if scheme.is_empty() { "nats" } else { scheme };
            format!("{scheme}://…@{host}")
        }
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_urls_are_checked() {
        for good in ["nats://host:4222", "host:4222", "127.0.0.1:4222", "tls://user:pw@host"] {
            assert_eq!(parse_servers(good).unwrap(), [good]);
        }
        assert_eq!(parse_servers("nats://a:1, tls://b,c").unwrap(), ["nats://a:1", "tls://b", "c"]);
        for (bad, word) in [
            ("", "host"),
            ("foo://x", "neither nats nor tls"),
            ("http://host:4222", "neither nats nor tls"),
            ("nats://127.0.0.1:99999", "port"),
            ("nats://", "host"),
            ("nats://a,", "host"),
            ("ws://h:1", "websockets"),
            ("nats://a,wss://h", "websockets"),
        ] {
            let error = parse_servers(bad).unwrap_err();
            assert!(error.contains(word), "{bad}: {error}");
        }
    }

    #[test]
    fn urls_are_shown_without_secrets() {
        assert_eq!(without_secrets("nats://user:pw@host:4222"), "nats://…@host:4222");
        assert_eq!(without_secrets("user:pw@host:4222"), "nats://…@host:4222");
        assert_eq!(without_secrets("nats://host:4222"), "nats://host:4222");
    }
}
