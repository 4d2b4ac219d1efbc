//! How to reach NATS: servers, credentials, TLS. Secrets are never shown: not in logs, errors or `Debug` output.

use super::url::{parse_servers, user_of, without_secrets};
use crate::identity::UserName;
use async_nats::ConnectOptions;
use std::{fmt, path::PathBuf};

/// A secret text.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

/// Who a process is on the bus.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Credentials {
    /// None are sent: the server takes connections without a user, or knows the client by its certificate.
    #[default]
    None,
    /// A user and its password.
    User {
        /// Name of the user.
        user: String,
        /// Its password.
        password: Secret,
    },
    /// A token.
    Token(Secret),
    /// The seed of an nkey.
    Nkey(Secret),
    /// The content of a credentials file: a user's JWT, and the seed that belongs to it.
    Jwt(Secret),
}

/// Transport security of the connection.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tls {
    /// File with certificates of authorities that servers are checked against, besides those of the system.
    pub ca: Option<PathBuf>,
    /// Files with the client's certificate and its private key.
    pub client: Option<(PathBuf, PathBuf)>,
    /// The TLS handshake comes before the server's greeting.
    pub first: bool,
}

/// How to reach the NATS servers of a fleet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NatsConnection {
    /// URLs of the servers; at least one.
    servers: Vec<String>,
    /// Who this process is on the bus.
    pub credentials: Credentials,
    /// Name of the user in subjects, if it is not to be that of the credentials.
    pub user: Option<UserName>,
    /// Transport security.
    pub tls: Tls,
}

impl NatsConnection {
    /// To these servers, URLs separated by commas.
    ///
    /// # Errors
    /// What is wrong with one of the URLs.
    pub fn to(servers: &str) -> Result<Self, String> {
        let servers = parse_servers(servers)?;
        let credentials = servers.iter().find_map(|url| credentials_in(url)).unwrap_or_default();
        Ok(Self { servers, credentials, user: None, tls: Tls::default() })
    }

    /// The user in this connection's subjects: the one that is set, or the name of the credentials: the user, the
    /// public key of an nkey, the name in a JWT. Without any of these it is `default`.
    ///
    /// # Errors
    /// The name is not one token of a subject, or the credentials have none that can be read.
    pub fn user(&self) -> Result<UserName, String> {
        if let Some(user) = self.user {
            return Ok(user);
        }
        let name = match &self.credentials {
            Credentials::None | Credentials::Token(_) => return Ok(UserName::default()),
            Credentials::User { user, .. } => user.clone(),
            Credentials::Nkey(seed) => public_key(seed)?,
            Credentials::Jwt(text) => name_in_jwt(text).ok_or("the credentials have no JWT with a name")?,
        };
        UserName::parse(&name).map_err(|e| format!("{e}; --nats-subject-user gives another name for subjects"))
    }

    /// URLs of the servers, which may contain a user and password.
    pub fn servers(&self) -> &[String] {
        &self.servers
    }

    /// The URLs, separated by commas, with their secrets.
    pub fn joined(&self) -> String {
        self.servers.join(",")
    }

    /// The servers for logs and errors, without secrets.
    pub fn shown(&self) -> String {
        let shown: Vec<_> = self.servers.iter().map(|url| without_secrets(url)).collect();
        shown.join(",")
    }

    /// Adds these settings to the options of the client library.
    pub(super) fn apply(&self, options: ConnectOptions) -> Result<ConnectOptions, String> {
        let mut options = match &self.credentials {
            Credentials::None => options,
            Credentials::User { user, password } => options.user_and_password(user.clone(), password.0.clone()),
            Credentials::Token(token) => options.token(token.0.clone()),
            Credentials::Nkey(seed) => options.nkey(seed.0.clone()),
            Credentials::Jwt(text) => {
                // Its error could quote the text.
                options.credentials(&text.0).map_err(|_| "the credentials have no JWT and seed of a user".to_owned())?
            }
        };
        let Tls { ca, client, first } = &self.tls;
        if let Some(ca) = ca {
            options = options.add_root_certificates(ca.clone()).require_tls(true);
        }
        if let Some((certificate, key)) = client {
            options = options.add_client_certificate(certificate.clone(), key.clone()).require_tls(true);
        }
        Ok(if *first { options.tls_first() } else { options })
    }
}

fn public_key(seed: &Secret) -> Result<String, String> {
    let pair = nkeys::KeyPair::from_seed(seed.0.trim()).map_err(|_| "the nkey is no seed of a user".to_owned())?;
    Ok(pair.public_key())
}

/// The name of the user in the JWT of a credentials file. The server checks the JWT, not this.
fn name_in_jwt(credentials: &Secret) -> Option<String> {
    let jwt = credentials.0.lines().map(str::trim).find(|line| line.matches('.').count() == 2)?;
    let claims = data_encoding::BASE64URL_NOPAD.decode(jwt.split('.').nth(1)?.as_bytes()).ok()?;
    let claims: serde_json::Value = serde_json::from_slice(&claims).ok()?;
    Some(claims.get("name")?.as_str()?.to_owned())
}

/// The credentials in a URL: `nats://user:password@host`, or `nats://token@host`.
fn credentials_in(url: &str) -> Option<Credentials> {
    Some(match user_of(url)? {
        (user, Some(password)) => Credentials::User { user, password: Secret(password) },
        (token, None) => Credentials::Token(Secret(token)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_never_shown() {
        let secret = || Secret("hunter2".into());
        for credentials in [
            Credentials::User { user: "u".into(), password: secret() },
            Credentials::Token(secret()),
            Credentials::Nkey(secret()),
            Credentials::Jwt(secret()),
        ] {
            let connection = NatsConnection { credentials, ..NatsConnection::to("nats://h:1").unwrap() };
            assert!(!format!("{connection:?}").contains("hunter2"), "{connection:?}");
        }
        let connection = NatsConnection::to("nats://u:hunter2@h:1,tls://t0ken@g").unwrap();
        assert_eq!(connection.shown(), "nats://…@h:1,tls://…@g");
        let user = Credentials::User { user: "u".into(), password: secret() };
        assert_eq!(connection.credentials, user);
        let of = |url| NatsConnection::to(url).unwrap().credentials;
        assert_eq!(of("nats://h,u%40x:hunter2@g"), Credentials::User { user: "u@x".into(), password: secret() });
        assert_eq!(of("tls://hunter2@g"), Credentials::Token(secret()));
        assert_eq!(of("h:4222"), Credentials::None);
        let connection = NatsConnection { credentials: Credentials::Jwt(secret()), ..connection };
        let error = connection.apply(ConnectOptions::new()).err().unwrap();
        assert!(!error.contains("hunter2") && error.contains("JWT"), "{error}");
    }
}
