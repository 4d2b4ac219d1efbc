//! The command line of the connection to NATS, the same for every program. The variables are those of the `nats`
//! command line tool, besides `PVF_NATS`.
//!
//! Secrets are given in files or variables: a command line can be read by every user of the machine.

use super::{
    connection::{Credentials, NatsConnection, Secret, Tls},
    context,
    files::{credentials_of, read_credentials, read_secret},
};
use clap::builder::{OsStringValueParser, TypedValueParser};
use std::{ffi::OsString, path::PathBuf};

/// How to reach NATS. In a configuration file the fields have the names of the options.
#[derive(Debug, Clone, Default, clap::Args, serde::Deserialize)]
#[command(next_help_heading = "Connection to NATS")]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct NatsArgs {
    /// NATS servers of the fleet, e.g. nats://host:4222 or tls://host1:4222,tls://host2:4222
    #[arg(long, global = true, env = "PVF_NATS", hide_env_values = true, value_name = "URL[,URL]")]
    pub nats: Option<String>,
    /// Settings of the `nats` tool that are used unless others are given: nats/context/NAME.json
    #[arg(long, global = true, env = "NATS_CONTEXT", value_name = "NAME")]
    pub nats_context: Option<String>,
    /// User; its password is in --nats-password-file or NATS_PASSWORD
    #[arg(long, global = true, env = "NATS_USER", value_name = "USER")]
    pub nats_user: Option<String>,
    /// File with the password of --nats-user
    #[arg(long, global = true, env = "PVF_NATS_PASSWORD_FILE", value_name = "FILE", value_parser = path())]
    pub nats_password_file: Option<PathBuf>,
    /// File with a token; or NATS_TOKEN, which has the token itself
    #[arg(long, global = true, env = "PVF_NATS_TOKEN_FILE", value_name = "FILE", value_parser = path())]
    pub nats_token_file: Option<PathBuf>,
    /// File with the seed of an nkey
    #[arg(long, global = true, env = "NATS_NKEY", value_name = "FILE", value_parser = path())]
    pub nats_nkey: Option<PathBuf>,
    /// Credentials file (a user's JWT and seed); or NATS_JWT and NATS_SEED
    #[arg(long, global = true, env = "NATS_CREDS", value_name = "FILE", value_parser = path())]
    pub nats_creds: Option<PathBuf>,
    /// Name of this user in subjects [default: the user, public key or JWT name of the credentials, else `default`]
    #[arg(long, global = true, env = "PVF_NATS_SUBJECT_USER", value_name = "NAME")]
    pub nats_subject_user: Option<String>,
    /// File with certificates of authorities that servers are checked against, besides those of the system
    #[arg(long, global = true, env = "NATS_CA", value_name = "FILE", value_parser = path())]
    pub nats_ca: Option<PathBuf>,
    /// File with this client's certificate, with --nats-key
    #[arg(long, global = true, env = "NATS_CERT", value_name = "FILE", value_parser = path())]
    pub nats_cert: Option<PathBuf>,
    /// File with the private key of --nats-cert
    #[arg(long, global = true, env = "NATS_KEY", value_name = "FILE", value_parser = path())]
    pub nats_key: Option<PathBuf>,
    /// TLS before the server's greeting, as the server's `handshake_first` asks for
    #[arg(long, global = true)]
    pub nats_tls_first: bool,
}

/// A path; an empty one, as an empty variable gives, is none.
fn path() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().map(PathBuf::from)
}

fn set(path: Option<&PathBuf>) -> Option<&PathBuf> {
    path.filter(|path| !path.as_os_str().is_empty())
}

/// A variable of the environment; an empty one is none.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

impl NatsArgs {
    /// The connection; `None` if no server is named: neither `--nats`, `PVF_NATS`, `NATS_URL` nor a context.
    ///
    /// # Errors
    /// The option, variable or file that is wrong.
    pub fn connection(&self) -> Result<Option<NatsConnection>, String> {
        self.resolve(&variable)
    }

    /// As [`NatsArgs::connection`], for programs that need one.
    ///
    /// # Errors
    /// As there, and that no server is named.
    pub fn required(&self) -> Result<NatsConnection, String> {
        let missing = "the NATS servers of the fleet are missing: --nats URL (or PVF_NATS, NATS_URL, --nats-context)";
        self.connection()?.ok_or_else(|| missing.into())
    }

    /// The connection that these settings alone describe, whatever the environment has: for settings from a file.
    ///
    /// # Errors
    /// As for [`NatsArgs::required`].
    pub fn without_environment(&self) -> Result<NatsConnection, String> {
        self.resolve(&|_| None)?.ok_or_else(|| "the NATS servers of the fleet are missing: nats".into())
    }

    fn resolve(&self, env: &dyn Fn(&str) -> Option<String>) -> Result<Option<NatsConnection>, String> {
        let context = match self.nats_context.as_deref().filter(|name| !name.is_empty()) {
            Some(name) => Some(context::load(name, env).map_err(|e| format!("--nats-context: {e}"))?),
            None => None,
        };
        let servers = match (self.nats.as_ref().filter(|servers| !servers.is_empty()), env("NATS_URL")) {
            (Some(servers), _) => Some(NatsConnection::to(servers).map_err(|e| format!("--nats: {e}"))?),
            (None, Some(servers)) => Some(NatsConnection::to(&servers).map_err(|e| format!("NATS_URL: {e}"))?),
            (None, None) => None,
        };
        let Some(mut connection) = servers.clone().or_else(|| context.clone()) else { return Ok(None) };
        let given = self.credentials(env)?;
        let of_context =
            || context.as_ref().map(|context| context.credentials.clone()).filter(|of| *of != Credentials::None);
        // Those of a URL come last.
        connection.credentials = given.or_else(of_context).unwrap_or(connection.credentials);
        if let Some(name) = self.nats_subject_user.as_deref().filter(|name| !name.is_empty()) {
            connection.user = Some(name.parse().map_err(|e| format!("--nats-subject-user: {e}"))?);
        }
        let of_context = context.as_ref().map(|context| context.tls.clone()).unwrap_or_default();
        let client = match (set(self.nats_cert.as_ref()), set(self.nats_key.as_ref())) {
            (Some(certificate), Some(key)) => Some((certificate.clone(), key.clone())),
            (None, None) => of_context.client,
            (Some(_), None) => return Err("--nats-cert (NATS_CERT) needs --nats-key (NATS_KEY)".into()),
            (None, Some(_)) => return Err("--nats-key (NATS_KEY) needs --nats-cert (NATS_CERT)".into()),
        };
        let (ca, first) =
            (set(self.nats_ca.as_ref()).cloned().or(of_context.ca), self.nats_tls_first || of_context.first);
        let files = client.iter().flat_map(|(certificate, key)| [("--nats-cert", certificate), ("--nats-key", key)]);
        for (option, file) in ca.iter().map(|ca| ("--nats-ca", ca)).chain(files) {
            std::fs::metadata(file).map_err(|e| format!("{option} {}: {e}", file.display()))?;
        }
        connection.tls = Tls { ca, client, first };
        Ok(Some(connection))
    }

    /// The credentials of options and variables; `None` if there are none.
    fn credentials(&self, env: &dyn Fn(&str) -> Option<String>) -> Result<Option<Credentials>, String> {
        let mut found: Vec<(&str, Credentials)> = Vec::new();
        let file = |option: &str, file: &PathBuf| read_secret(file).map_err(|e| format!("{option}: {e}"));
        if let Some(user) = self.nats_user.clone().filter(|user| !user.is_empty()) {
            let password = match (set(self.nats_password_file.as_ref()), env("NATS_PASSWORD")) {
                (Some(path), _) => file("--nats-password-file", path)?,
                (None, Some(password)) => Secret(password),
                (None, None) => {
                    return Err("--nats-user needs its password: --nats-password-file FILE or NATS_PASSWORD".into());
                }
            };
            found.push(("--nats-user", Credentials::User { user, password }));
        } else if set(self.nats_password_file.as_ref()).is_some() {
            return Err("--nats-password-file needs --nats-user".into());
        }
        if let Some(path) = set(self.nats_creds.as_ref()) {
            let credentials = read_credentials(path).map_err(|e| format!("--nats-creds: {e}"))?;
            found.push(("--nats-creds", credentials));
        } else {
            match (env("NATS_JWT"), env("NATS_SEED")) {
                (Some(jwt), Some(seed)) => found.push(("NATS_JWT", credentials_of(&jwt, &seed))),
                (Some(_), None) => return Err("NATS_JWT needs NATS_SEED".into()),
                (None, Some(seed)) => found.push(("NATS_SEED", Credentials::Nkey(Secret(seed)))),
                (None, None) => {}
            }
        }
        if let Some(path) = set(self.nats_nkey.as_ref()) {
            found.push(("--nats-nkey", Credentials::Nkey(file("--nats-nkey", path)?)));
        }
        if let Some(path) = set(self.nats_token_file.as_ref()) {
            found.push(("--nats-token-file", Credentials::Token(file("--nats-token-file", path)?)));
        } else if let Some(token) = env("NATS_TOKEN") {
            found.push(("NATS_TOKEN", Credentials::Token(Secret(token))));
        }
        if let [(first, _), (second, _), ..] = &found[..] {
            return Err(format!(
                "{first} and {second} are both credentials: give one of them (options and NATS_* variables)"
            ));
        }
        Ok(found.pop().map(|(_, credentials)| credentials))
    }

    /// These options as arguments for another program of this project: those that `typed` says were on the command
    /// line. Variables are inherited.
    pub fn forwarded(&self, typed: &dyn Fn(&str) -> bool) -> Vec<OsString> {
        let text = |value: &Option<String>| value.clone().map(OsString::from);
        let path = |value: &Option<PathBuf>| value.clone().map(OsString::from);
        let options = [
            ("nats", text(&self.nats)),
            ("nats_context", text(&self.nats_context)),
            ("nats_user", text(&self.nats_user)),
            ("nats_password_file", path(&self.nats_password_file)),
            ("nats_token_file", path(&self.nats_token_file)),
            ("nats_nkey", path(&self.nats_nkey)),
            ("nats_subject_user", text(&self.nats_subject_user)),
            ("nats_creds", path(&self.nats_creds)),
            ("nats_ca", path(&self.nats_ca)),
            ("nats_cert", path(&self.nats_cert)),
            ("nats_key", path(&self.nats_key)),
        ];
        let mut arguments = Vec::new();
        for (id, value) in options {
            if let Some(value) = value.filter(|_| typed(id)) {
                arguments.extend([format!("--{}", id.replace('_', "-")).into(), value]);
            }
        }
        if self.nats_tls_first && typed("nats_tls_first") {
            arguments.push("--nats-tls-first".into());
        }
        arguments
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args() -> NatsArgs {
        NatsArgs { nats: Some("nats://given:1".into()), ..NatsArgs::default() }
    }

    fn resolve(args: &NatsArgs, variables: &[(&str, &str)]) -> Result<Option<NatsConnection>, String> {
        let find = |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        args.resolve(&find)
    }

    #[test]
    fn options_come_before_variables_and_these_before_a_context() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("nats/context");
        std::fs::create_dir_all(&folder).unwrap();
        let text = r#"{"url":"nats://context:3","token":"c","ca":"/dev/null"}"#;
        std::fs::write(folder.join("fleet.json"), text).unwrap();
        let home = home.path().display().to_string();
        let variables = [("XDG_CONFIG_HOME", &home[..]), ("NATS_URL", "nats://variable:2"), ("NATS_TOKEN", "v")];
        let of_context = NatsArgs { nats_context: Some("fleet".into()), ..NatsArgs::default() };
        let given = NatsArgs { nats_context: Some("fleet".into()), ..args() };
        for (args, variables, server, token) in [
            (&given, &variables[..], "nats://given:1", "v"),
            (&of_context, &variables, "nats://variable:2", "v"),
            (&of_context, &variables[..1], "nats://context:3", "c"),
            (&given, &variables[..1], "nats://given:1", "c"),
        ] {
            let connection = resolve(args, variables).unwrap().unwrap();
            assert_eq!(connection.servers(), [server]);
            assert_eq!(connection.credentials, Credentials::Token(Secret(token.into())));
            assert_eq!(connection.tls.ca, Some("/dev/null".into()));
        }
        assert_eq!(resolve(&NatsArgs::default(), &[]), Ok(None));
        // Empty variables are none.
        let empty = NatsArgs { nats: Some(String::new()), nats_creds: Some(PathBuf::new()), ..NatsArgs::default() };
        assert_eq!(resolve(&empty, &[]), Ok(None));
        assert_eq!(resolve(&NatsArgs { nats_context: Some(String::new()), ..NatsArgs::default() }, &[]), Ok(None));
    }

    #[test]
    fn what_does_not_belong_together_is_an_error_that_names_it() {
        let file = |file: &str| Some(PathBuf::from(file));
        for (args, variables, words) in [
            (NatsArgs { nats_password_file: file("/f"), ..args() }, &[][..], "needs --nats-user"),
            (NatsArgs { nats_cert: file("/f"), ..args() }, &[], "needs --nats-key"),
            (NatsArgs { nats_key: file("/f"), ..args() }, &[], "needs --nats-cert"),
            (args(), &[("NATS_SEED", "s"), ("NATS_TOKEN", "t")], "NATS_SEED and NATS_TOKEN"),
            (args(), &[("NATS_JWT", "j")], "NATS_JWT needs NATS_SEED"),
            (NatsArgs::default(), &[("NATS_URL", "x://")], "NATS_URL"),
        ] {
            let error = resolve(&args, variables).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn typed_options_are_forwarded_and_others_not() {
        let args = NatsArgs { nats_user: Some("u".into()), nats_tls_first: true, ..args() };
        let forwarded = |typed: &[&str]| args.forwarded(&|option| typed.contains(&option));
        assert_eq!(forwarded(&["nats", "nats_user"]), ["--nats", "nats://given:1", "--nats-user", "u"]);
        assert_eq!(forwarded(&["nats_tls_first"]), ["--nats-tls-first"]);
        assert!(forwarded(&[]).is_empty());
    }
}
