//! Credentials and TLS of the connection to NATS, on servers that ask for them. `pvf status` without a coordinator
//! tells the cases apart: exit code 3 and "no coordinator" if the server took the connection, 2 if it refused the
//! credentials.

use crate::tool::CliFixture;
use data_encoding::BASE64URL_NOPAD;
use nkeys::KeyPair;
use pvf_testkit::nats::{DEFAULT_PAYLOAD, NatsServer};
use pvf_tests::processes::{Process, binary, until};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair as CertificateKey};
use serde_json::{Value, json};
use std::{
    fs::File,
    path::Path,
    process::{Command, Output},
};

const SECRET: &str = "correct-horse-battery";

/// Runs `pvf status` against this server, with these options and variables.
fn status(cli: &CliFixture, url: &str, options: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = cli.command(&["status"]);
    command.args(options).envs(variables.iter().copied());
    if !url.is_empty() {
        command.env("PVF_NATS", url);
    }
    command.output().unwrap()
}

fn stderr(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!text.contains(SECRET) && !text.contains("panicked"), "{text}");
    text
}

fn assert_connected(output: &Output) {
    let text = stderr(output);
    assert!(output.status.code() == Some(3) && text.contains("no coordinator answers"), "{}: {text}", output.status);
}

/// It is an error with exit code 2 that says these words.
fn assert_refused(output: &Output, words: &str) {
    let text = stderr(output);
    assert!(output.status.code() == Some(2) && text.contains(words), "{}: {words}: {text}", output.status);
}

#[tokio::test]
async fn users_and_tokens_are_taken_from_files_and_variables() {
    let cli = CliFixture::new();
    let nats = NatsServer::start_with(
        DEFAULT_PAYLOAD,
        &format!("authorization {{ users: [{{ user: alice, password: \"{SECRET}\" }}] }}"),
    )
    .await;
    let url = &nats.url;
    cli.file("password", format!("{SECRET}\n").as_bytes());
    cli.file("wrong", b"something-else");
    let user = ["--nats-user", "alice", "--nats-password-file"];
    assert_connected(&status(&cli, url, &[&user[..], &["password"]].concat(), &[]));
    assert_connected(&status(&cli, url, &[], &[("NATS_USER", "alice"), ("NATS_PASSWORD", SECRET)]));
    assert_connected(&status(&cli, &url.replace("nats://", &format!("nats://alice:{SECRET}@")), &[], &[]));
    assert_refused(&status(&cli, url, &[&user[..], &["wrong"]].concat(), &[]), "refused: authorization violation");
    assert_refused(&status(&cli, url, &[], &[]), "refused: authorization violation");
    assert_refused(
        &status(&cli, url, &[&user[..], &["missing"]].concat(), &[]),
        "--nats-password-file: missing: No such",
    );
    assert_refused(&status(&cli, url, &user[..2], &[]), "--nats-password-file FILE or NATS_PASSWORD");
    // A role ends as well, instead of trying again without end.
    let mut role = Command::new(binary("pvf-coordinator"));
    role.env("PVF_STORE", cli.path().join("store")).args(["--nats", url, "--unsigned"]);
    assert_refused(&role.output().unwrap(), "refused: authorization violation");

    let nats = NatsServer::start_with(DEFAULT_PAYLOAD, &format!("authorization {{ token: \"{SECRET}\" }}")).await;
    let url = &nats.url;
    assert_connected(&status(&cli, url, &["--nats-token-file", "password"], &[]));
    assert_connected(&status(&cli, url, &[], &[("NATS_TOKEN", SECRET)]));
    assert_connected(&status(&cli, &url.replace("nats://", &format!("nats://{SECRET}@")), &[], &[]));
    assert_refused(&status(&cli, url, &["--nats-token-file", "wrong"], &[]), "refused: authorization violation");
    let both = status(&cli, url, &["--nats-token-file", "password", "--nats-nkey", "password"], &[]);
    assert_refused(&both, "--nats-nkey and --nats-token-file are both credentials");
}

/// A role tries again without end once its password is another one. Its log names the cause once, not with each
/// attempt.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn credentials_that_are_refused_later_are_named_in_the_log() {
    let cli = CliFixture::new();
    let users = |password: &str| format!("authorization {{ users: [{{ user: alice, password: \"{password}\" }}] }}");
    let mut nats = NatsServer::start_with(DEFAULT_PAYLOAD, &users(SECRET)).await;
    cli.file("password", SECRET.as_bytes());
    let options = ["--nats-user", "alice", "--nats-password-file", "password"];
    let log = cli.path().join("log");
    let mut role = Command::new(binary("pvf-coordinator"));
    role.current_dir(cli.path()).env("PVF_STORE", cli.path().join("store")).env("PVF_LOG", "pvf_shared=debug");
    role.args(["--nats", &nats.url, "--unsigned"]).args(options).stderr(File::create(&log).unwrap());
    let _role = Process::start(&mut role);
    let health = [&options[..], &["--health", "coordinator"]].concat();
    let answers = async || status(&cli, &nats.url, &health, &[]).status.success().then_some(());
    until("the coordinator answers", answers).await;
    let lines = |words: &str| -> Vec<String> {
        let text = std::fs::read_to_string(&log).unwrap();
        assert!(!text.contains(SECRET), "{text}");
        text.lines().filter(|line| line.contains(words)).map(str::to_owned).collect()
    };
    nats.reload_with(&users("another"));
    until("the coordinator is refused again and again", async || {
        (lines("still refuses the credentials").len() >= 2).then_some(())
    })
    .await;
    let named = lines("refuses the credentials of this process");
    assert_eq!(named.len(), 1, "{named:?}");
    for part in ["WARN", "alice", &nats.url, "uthorization", "give it the new ones and restart it"] {
        assert!(named[0].contains(part), "{part}: {}", named[0]);
    }
    nats.reload_with(&users(SECRET));
    until("the coordinator is connected again", async || (lines("bus: connected").len() >= 2).then_some(())).await;
}

/// A JWT of NATS with the name `test`: signed by `issuer`, about `subject`.
fn jwt(issuer: &KeyPair, subject: &KeyPair, nats: &Value) -> String {
    named_jwt(issuer, subject, "test", nats)
}

/// A JWT of NATS: signed by `issuer`, about `subject`.
pub(crate) fn named_jwt(issuer: &KeyPair, subject: &KeyPair, name: &str, nats: &Value) -> String {
    let part = |value: &Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
    let claims = json!({
        "jti": subject.public_key(), "iat": 1, "iss": issuer.public_key(), "sub": subject.public_key(), "name": name,
        "nats": nats,
    });
    let signed = format!("{}.{}", part(&json!({ "typ": "JWT", "alg": "ed25519-nkey" })), part(&claims));
    let signature = issuer.sign(signed.as_bytes()).unwrap();
    format!("{signed}.{}", BASE64URL_NOPAD.encode(&signature))
}

#[tokio::test]
async fn nkeys_and_credentials_files_are_taken() {
    let cli = CliFixture::new();
    let (user, unknown) = (KeyPair::new_user(), KeyPair::new_user());
    for (name, key) in [("seed", &user), ("unknown", &unknown)] {
        cli.file(name, key.seed().unwrap().as_bytes());
    }
    let users = format!("authorization {{ users: [{{ nkey: {} }}] }}", user.public_key());
    let nats = NatsServer::start_with(DEFAULT_PAYLOAD, &users).await;
    assert_connected(&status(&cli, &nats.url, &["--nats-nkey", "seed"], &[]));
    assert_connected(&status(&cli, &nats.url, &[], &[("NATS_SEED", &user.seed().unwrap())]));
    assert_refused(&status(&cli, &nats.url, &["--nats-nkey", "unknown"], &[]), "refused");
    assert_refused(&status(&cli, &nats.url, &["--nats-nkey", "code.wasm"], &[]), "code.wasm");

    let (operator, account) = (KeyPair::new_operator(), KeyPair::new_account());
    let limits = json!({
        "subs": -1, "conn": -1, "leaf": -1, "imports": -1, "exports": -1, "data": -1, "payload": -1, "wildcards": true,
    });
    let of_account = jwt(&operator, &account, &json!({ "type": "account", "version": 2, "limits": limits }));
    let of_user = json!({ "type": "user", "version": 2, "pub": {}, "sub": {}, "subs": -1, "data": -1, "payload": -1 });
    let of_user = jwt(&account, &user, &of_user);
    let config = format!(
        "operator: {}\nresolver: MEMORY\nresolver_preload: {{ {}: {of_account} }}",
        jwt(&operator, &operator, &json!({ "type": "operator", "version": 2 })),
        account.public_key()
    );
    let nats = NatsServer::start_with(DEFAULT_PAYLOAD, &config).await;
    let seed = user.seed().unwrap();
    let creds = format!(
        "-----BEGIN NATS USER JWT-----\n{of_user}\n------END NATS USER JWT------\n\n-----BEGIN USER NKEY SEED-----\n\
         {seed}\n------END USER NKEY SEED------\n"
    );
    cli.file("user.creds", creds.as_bytes());
    cli.file("other.creds", creds.replace(&seed, &unknown.seed().unwrap()).as_bytes());
    assert_connected(&status(&cli, &nats.url, &["--nats-creds", "user.creds"], &[]));
    assert_connected(&status(&cli, &nats.url, &[], &[("NATS_JWT", &of_user), ("NATS_SEED", &seed)]));
    assert_refused(&status(&cli, &nats.url, &["--nats-creds", "other.creds"], &[]), "refused");
    assert_refused(&status(&cli, &nats.url, &["--nats-creds", "seed"], &[]), "no JWT and seed");
    // The same in a context of the `nats` tool.
    let contexts = cli.path().join("config/nats/context");
    std::fs::create_dir_all(&contexts).unwrap();
    let file = cli.path().join("user.creds");
    std::fs::write(contexts.join("fleet.json"), json!({ "url": nats.url, "creds": file }).to_string()).unwrap();
    let config = cli.path().join("config").display().to_string();
    let context = [("XDG_CONFIG_HOME", &config[..]), ("NATS_CONTEXT", "fleet")];
    assert_connected(&status(&cli, "", &[], &context));
    assert_refused(&status(&cli, "", &["--nats-context", "other"], &context[..1]), "other.json");
}

/// Writes an authority's certificate, and certificates and keys of a server and a client that it has issued.
fn write_certificates(folder: &Path) {
    let write = |name: &str, text: String| std::fs::write(folder.join(name), text).unwrap();
    let mut authority = CertificateParams::new([]).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, CertificateKey::generate().unwrap()).unwrap();
    write("ca.pem", authority.pem());
    for name in ["server", "client"] {
        let key = CertificateKey::generate().unwrap();
        let params = CertificateParams::new(["localhost".into(), "127.0.0.1".into()]).unwrap();
        write(&format!("{name}.pem"), params.signed_by(&key, &authority).unwrap().pem());
        write(&format!("{name}-key.pem"), key.serialize_pem());
    }
}

#[tokio::test]
async fn tls_with_an_own_authority_and_client_certificates() {
    let cli = CliFixture::new();
    write_certificates(cli.path());
    let at = |name: &str| cli.path().join(name).display().to_string();
    let tls = |more: &str| {
        let (cert, key, ca) = (at("server.pem"), at("server-key.pem"), at("ca.pem"));
        format!("tls {{ cert_file: \"{cert}\", key_file: \"{key}\", ca_file: \"{ca}\", {more} }}")
    };
    let nats = NatsServer::start_with(DEFAULT_PAYLOAD, &tls("timeout: 10")).await;
    let ca = ["--nats-ca", "ca.pem"];
    assert_connected(&status(&cli, &nats.url, &ca, &[]));
    assert_connected(&status(&cli, &nats.url.replace("nats:", "tls:"), &[], &[("NATS_CA", "ca.pem")]));
    let unknown = status(&cli, &nats.url, &[], &[]);
    assert!(unknown.status.code() == Some(3) && stderr(&unknown).contains("certificate"), "{}", stderr(&unknown));
    assert_refused(&status(&cli, &nats.url, &["--nats-ca", "missing.pem"], &[]), "--nats-ca missing.pem");

    let nats = NatsServer::start_with(DEFAULT_PAYLOAD, &tls("timeout: 10, verify: true, handshake_first: true")).await;
    let client = ["--nats-cert", "client.pem", "--nats-key", "client-key.pem", "--nats-tls-first"];
    assert_connected(&status(&cli, &nats.url, &[&ca[..], &client].concat(), &[]));
    let without = status(&cli, &nats.url, &[&ca[..], &client[4..]].concat(), &[]);
    assert_eq!(without.status.code(), Some(3), "{}", stderr(&without));
    assert_refused(&status(&cli, &nats.url, &[&ca[..], &client[..2]].concat(), &[]), "--nats-key");
}

#[tokio::test]
async fn several_servers_and_the_variables_of_the_nats_tool_are_understood() {
    let cli = CliFixture::new();
    let nats = NatsServer::start(DEFAULT_PAYLOAD).await;
    // Nothing listens on port 1.
    let both = format!("nats://127.0.0.1:1,{}", nats.url);
    assert_connected(&status(&cli, &both, &[], &[]));
    assert_connected(&status(&cli, "", &[], &[("NATS_URL", &both)]));
    for variable in ["NATS_URL", "PVF_NATS"] {
        let embedded = status(&cli, "", &["--embedded"], &[(variable, &both)]);
        assert_refused(&embedded, "--nats is required");
    }
    assert_refused(&status(&cli, &format!("ws://u:{SECRET}@127.0.0.1:1"), &[], &[]), "websockets");
    assert_connected(&status(&cli, &both, &[], &[("NATS_CREDS", ""), ("NATS_CA", ""), ("NATS_CONTEXT", "")]));
    // One that takes connections and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let both = format!("{},{}", silent.local_addr().unwrap(), nats.url);
    for _ in 0..3 {
        assert_connected(&status(&cli, &both, &[], &[]));
    }
    let down = status(&cli, "nats://127.0.0.1:1,127.0.0.1:2", &[], &[]);
    assert!(down.status.code() == Some(3) && stderr(&down).contains("127.0.0.1:1"), "{}", stderr(&down));
}

/// `pvf up` on a server that asks for a user: its roles have the same options.
#[tokio::test]
async fn a_whole_fleet_works_on_a_server_with_users() {
    let cli = CliFixture::new();
    let users = format!("authorization {{ users: [{{ user: alice, password: \"{SECRET}\" }}] }}");
    let nats = NatsServer::start_with(8 << 20, &users).await;
    cli.file("password", SECRET.as_bytes());
    let options = ["--nats", &nats.url, "--nats-user", "alice", "--nats-password-file", "password"];
    let mut up = cli.command(&options);
    up.args(["up", "--execute-workers", "1", "--no-http"]);
    let fleet = Process::start(&mut up);
    until("the fleet is complete", async || {
        cli.pvf(&[&options[..], &["status", "--health", "execute-worker"]].concat()).status.success().then_some(())
    })
    .await;
    let output = cli.pvf(&[&options[..], &["execute", "code.wasm", "--params", "good"]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    drop(fleet);
}
