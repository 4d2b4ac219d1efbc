//! Contexts of the `nats` command line tool: named settings in `nats/context/NAME.json` of the user's configuration
//! folder.

use super::connection::{Credentials, NatsConnection, Secret, Tls};
use super::files::{credentials_of, expanded, read_credentials, read_secret};
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// What is used of a context. The tool's newer versions have more; an empty text is none.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Context {
    url: String,
    user: String,
    password: String,
    token: String,
    creds: String,
    nkey: String,
    user_jwt: String,
    user_seed: String,
    cert: String,
    key: String,
    ca: String,
    tls_first: bool,
}

/// The user's configuration folder.
fn configuration(env: &dyn Fn(&str) -> Option<String>) -> Option<PathBuf> {
    let home = || env("HOME").map(|home| PathBuf::from(home).join(".config"));
    env("XDG_CONFIG_HOME").map(PathBuf::from).filter(|path| path.is_absolute()).or_else(home)
}

/// The connection that this context describes. Credentials are looked for in the order of the `nats` tool: user,
/// credentials file, nkey, token.
pub(super) fn load(name: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<NatsConnection, String> {
    if name.is_empty() || name.contains(['/', '\\']) || name.starts_with('.') {
        return Err(format!("{name:?} is not the name of a context"));
    }
    let folder = configuration(env).ok_or("neither XDG_CONFIG_HOME nor HOME is set, so there are no contexts")?;
    let file = folder.join("nats/context").join(format!("{name}.json"));
    let wrong = |why: &dyn std::fmt::Display| format!("context {name:?} in {}: {why}", file.display());
    let text = std::fs::read(&file).map_err(|e| wrong(&e))?;
    // The position, and not the text around it, which may be a secret.
    let context: Context = serde_json::from_slice(&text)
        .map_err(|e| wrong(&format_args!("not such a JSON object (line {}, column {})", e.line(), e.column())))?;
    let set = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let path = |text: &str| set(text).map(|text| expanded(&text, env));
    let url = set(&context.url).unwrap_or_else(|| "nats://127.0.0.1:4222".into());
    let mut connection = NatsConnection::to(&url).map_err(|e| wrong(&format_args!("url: {e}")))?;
    let secret = |file: &Path| read_secret(file).map_err(|e| wrong(&e));
    connection.credentials = if let Some(user) = set(&context.user) {
        Credentials::User { user, password: Secret(context.password) }
    } else if let Some(file) = path(&context.creds) {
        read_credentials(&file).map_err(|e| wrong(&e))?
    } else if let Some(file) = path(&context.nkey) {
        Credentials::Nkey(secret(&file)?)
    } else if let (Some(jwt), Some(seed)) = (set(&context.user_jwt), set(&context.user_seed)) {
        credentials_of(&jwt, &seed)
    } else if let Some(token) = set(&context.token) {
        Credentials::Token(Secret(token))
    } else {
        connection.credentials
    };
    let client = match (path(&context.cert), path(&context.key)) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        _ => return Err(wrong(&"cert and key belong together")),
    };
    connection.tls = Tls { ca: path(&context.ca), client, first: context.tls_first };
    Ok(connection)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_context_is_read_as_the_nats_tool_reads_it() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("nats/context");
        std::fs::create_dir_all(&folder).unwrap();
        let env = |name: &str| match name {
            "XDG_CONFIG_HOME" => Some(home.path().display().to_string()),
            "HOME" => Some("/home/user".into()),
            _ => None,
        };
        let write = |name: &str, text: &str| std::fs::write(folder.join(format!("{name}.json")), text).unwrap();
        write("user", r#"{"url":"nats://a:1,nats://b:2","user":"u","password":"p","token":"t","new":{"x":[1]}}"#);
        let user = load("user", &env).unwrap();
        assert_eq!(user.servers(), ["nats://a:1", "nats://b:2"]);
        assert_eq!(user.credentials, Credentials::User { user: "u".into(), password: Secret("p".into()) });
        std::fs::write(home.path().join("seed"), "SUX\n").unwrap();
        write("nkey", &format!(r#"{{"nkey":"{}/seed","ca":"~/ca.pem","token":""}}"#, home.path().display()));
        let nkey = load("nkey", &env).unwrap();
        assert_eq!(nkey.servers(), ["nats://127.0.0.1:4222"]);
        assert_eq!(nkey.credentials, Credentials::Nkey(Secret("SUX".into())));
        assert_eq!(nkey.tls.ca, Some(PathBuf::from("/home/user/ca.pem")));

        write("half", r#"{"cert":"/c.pem"}"#);
        write("broken", r#"{"password":"hunter2"#);
        write("list", r#"{"password":["hunter2"]}"#);
        for (name, word) in [
            ("half", "belong together"),
            ("broken", "line 1"),
            ("list", "line 1"),
            ("missing", "No such file"),
            ("../x", "not the name"),
        ] {
            let error = load(name, &env).unwrap_err();
            assert!(error.contains(word) && !error.contains("hunter2"), "{name}: {error}");
        }
    }
}
