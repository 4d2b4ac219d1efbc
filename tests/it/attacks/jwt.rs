//! The same permissions on a server with JWTs: each role is a scoped signing key with the rendered template, and users
//! have nothing but a name.

use super::*;
use crate::connection::named_jwt;
use data_encoding::BASE64URL_NOPAD;
use nkeys::KeyPair;
use pvf_shared::{permissions::template, subjects};
use serde_json::{Value, json};

/// A scope of an account, as `nsc edit signing-key` writes it.
fn scope(role: Role, key: &KeyPair) -> Value {
    let allowed = template(role, &fleet());
    json!({
        "kind": "user_scope", "key": key.public_key(), "role": role.name(),
        "template": {
            "pub": { "allow": allowed.publish }, "sub": { "allow": allowed.subscribe },
            "subs": -1, "data": -1, "payload": -1,
        },
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scoped_signing_keys_give_the_same_permissions() {
    let (operator, account) = (KeyPair::new_operator(), KeyPair::new_account());
    let keys = Role::ALL.map(|role| (role, KeyPair::new_account()));
    let scopes: Vec<_> = keys.iter().map(|(role, key)| scope(*role, key)).collect();
    let limits = json!({
        "subs": -1, "conn": -1, "leaf": -1, "imports": -1, "exports": -1, "data": -1, "payload": -1, "wildcards": true,
    });
    let of_account = json!({ "type": "account", "version": 2, "limits": limits, "signing_keys": scopes });
    let config = format!(
        "operator: {}\nresolver: MEMORY\nresolver_preload: {{ {}: {} }}",
        named_jwt(&operator, &operator, "fleet", &json!({ "type": "operator", "version": 2 })),
        account.public_key(),
        named_jwt(&operator, &account, "pvf", &of_account),
    );
    let nats = NatsServer::start_with(DEFAULT_PAYLOAD, &config).await;
    let connect = |role: Role, name: &str| {
        let (_, key) = keys.iter().find(|(of, _)| *of == role).unwrap();
        let user = KeyPair::new_user();
        let claims = json!({ "type": "user", "version": 2, "issuer_account": account.public_key() });
        let jwt = named_jwt(key, &user, name, &claims);
        let connected = Raw::connect_with(&nats.url, name, |greeting| {
            let nonce = greeting["nonce"].as_str().unwrap();
            json!({ "jwt": jwt, "sig": BASE64URL_NOPAD.encode(&user.sign(nonce.as_bytes()).unwrap()) })
        });
        connected.unwrap_or_else(|error| panic!("{name}: {error}"))
    };
    let mut coordinator = connect(Role::Coordinator, "coordinator");
    let mut alice = connect(Role::Client, "alice");
    let mut mallory = connect(Role::Client, "mallory");
    let requests = subjects::all_client_requests(&fleet());
    assert_eq!(coordinator.subscribe(requests.as_str()), [""; 0]);

    let (request, verdict) = (
        subjects::client_requests(&fleet(), &session("alice")),
        subjects::client_verdicts(&fleet(), &session("alice")),
    );
    assert_eq!(alice.subscribe(verdict.as_str()), [""; 0]);
    assert_eq!(alice.publish(request.as_str(), None, b"hello"), [""; 0]);
    coordinator.wait_for("request", |message| (message.subject == request.as_str()).then_some(()));
    assert_eq!(coordinator.publish(verdict.as_str(), None, b"verdict"), [""; 0]);
    alice.wait_for("verdict", |message| (message.payload == "verdict").then_some(()));

    assert_unheard(&mut mallory, verdict.as_str());
    for (role, name) in [(Role::Client, "mallory"), (Role::Observer, "eve"), (Role::Worker(WorkerKind::Execute), "w")] {
        let mut other_user = connect(role, name);
        assert_refused(&mut other_user, &mut coordinator, &request, b"hello");
        assert_refused(&mut other_user, &mut coordinator, &verdict, b"verdict");
    }
}
