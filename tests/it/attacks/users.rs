//! `pvf nats`: the users that a fleet begins with, more of them, new passwords, and the permissions as text.

use super::*;
use std::{collections::BTreeSet, os::unix::fs::MetadataExt as _, path::Path};

fn listing(folder: &Path) -> BTreeSet<String> {
    std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn contents(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let read = |name: String| {
        let bytes = std::fs::read(folder.join(&name)).unwrap();
        (name, bytes)
    };
    let files = listing(folder).into_iter().filter(|name| name != "nats").map(read);
    files.chain([("users.conf".into(), std::fs::read(folder.join("nats/users.conf")).unwrap())]).collect()
}

#[test]
fn a_fleet_begins_with_a_user_for_each_role_and_nothing_is_overwritten() {
    let cli = CliFixture::new();
    let init = |words: &str| {
        let output = cli.pvf(&["nats", "init", "secrets"]);
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && text.contains(words), "{text}");
    };
    init("added the users client, prepare-worker, execute-worker, coordinator, observer, operator");
    let secrets = cli.path().join("secrets");
    let mode = |path: &Path| std::fs::metadata(path).unwrap().mode() & 0o777;
    assert_eq!((mode(&secrets), mode(&secrets.join("nats"))), (0o700, 0o700));
    let first = contents(&secrets);
    assert_eq!(first.len(), 2 * Role::ALL.len() + 1);
    let users = std::fs::read_to_string(secrets.join("nats/users.conf")).unwrap();
    let mut passwords = BTreeSet::new();
    for role in Role::ALL {
        let (password, env) = (secrets.join(format!("{role}.password")), secrets.join(format!("{role}.env")));
        assert_eq!((mode(&password), mode(&env)), (0o600, 0o600));
        let text = std::fs::read_to_string(&password).unwrap();
        let password = text.trim();
        assert!(password.len() == 64 && password.bytes().all(|b| b.is_ascii_hexdigit()), "256 bits");
        assert!(!users.contains(password), "the server has hashes only");
        assert_eq!(std::fs::read_to_string(&env).unwrap(), format!("NATS_USER={role}\nNATS_PASSWORD={password}\n"));
        passwords.insert(password.to_owned());
    }
    assert_eq!(passwords.len(), Role::ALL.len());
    init("complete, nothing was changed");
    assert_eq!(contents(&secrets), first);

    // What is missing is added; what is there stays.
    cli.fails(&["nats", "add-user", "client", "client", "secrets"], 2, &["there is a user client already"]);
    cli.file("secrets/bob.password", b"precious");
    cli.fails(&["nats", "add-user", "client", "bob", "secrets"], 2, &["bob.password", "exists"]);
    assert_eq!(std::fs::read(secrets.join("bob.password")).unwrap(), b"precious");
    assert!(cli.pvf(&["nats", "add-user", "observer", "carol", "secrets"]).status.success());
    let after = contents(&secrets);
    let kept = first.iter().filter(|(name, _)| name != "users.conf");
    assert!(kept.into_iter().all(|file| after.contains(file)));

    cli.fails(&["nats", "add-user", "client", "a.b", "secrets"], 2, &["user of the bus"]);
    cli.fails(&["nats", "add-user", "admin", "a", "secrets"], 2, &["role"]);
    cli.fails(&["nats", "add-user", "client", "a", "elsewhere"], 2, &["elsewhere/nats/users.conf"]);
    cli.fails(&["nats", "rotate", "nobody", "secrets"], 2, &["there is no user nobody"]);
    cli.fails(&["--fleet", "other", "nats", "init", "secrets"], 2, &["users of fleet pvf, not other"]);
    cli.file("secrets/nats/users.conf", b"users: []\n");
    cli.fails(&["nats", "init", "secrets"], 2, &["not as `pvf nats` wrote it"]);
}

/// The file of a version with other permissions: users and passwords stay.
#[test]
fn permissions_of_another_version_are_rendered_again() {
    let cli = CliFixture::new();
    assert!(cli.pvf(&["nats", "init", "secrets"]).status.success());
    let path = cli.path().join("secrets/nats/users.conf");
    let current = std::fs::read_to_string(&path).unwrap();
    let run = |args: &[&str], code| {
        let output = cli.pvf(&[&["nats", "render", "secrets"], args].concat());
        assert_eq!(output.status.code(), Some(code), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    for args in [&[][..], &["--check"]] {
        assert!(run(args, 0).contains("has the permissions of this version"));
    }
    let older = current.replace("\"pvf.v4.client.client.*.pull\", ", "").replace("\"pvf.v4.event.>\"", "\"pvf.>\"");
    cli.file("secrets/nats/users.conf", older.as_bytes());
    let render = ["pvf nats render secrets", "--check"];
    for command in [&["init", "secrets"][..], &["rotate", "client", "secrets"], &["add-user", "client", "a", "secrets"]]
    {
        cli.fails(&[&["nats"], command].concat(), 2, &render);
    }
    let shown = run(&["--check"], 1);
    for line in [
        "client client\n  + subscribe pvf.v4.client.client.*.pull\n",
        "observer observer\n  + subscribe pvf.v4.event.>\n  - subscribe pvf.>\n",
        "is not as this version writes it",
    ] {
        assert!(shown.contains(line), "{line}: {shown}");
    }
    let json: serde_json::Value = serde_json::from_str(&run(&["--check", "--json"], 1)).unwrap();
    assert_eq!((&json["current"], &json["changes"][0]["user"]), (&false.into(), &"client".into()));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), older);
    assert!(run(&[], 0).contains("the server must be told to reload its configuration"));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), current, "with the same hashes");
    cli.file("secrets/nats/users.conf", current.replace("users: [", "users: [\n  {user: bob}").as_bytes());
    cli.fails(&["nats", "render", "secrets"], 2, &["line 5: not as `pvf nats` wrote it"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_is_replaced() {
    let server = Server::start().await;
    let url = &server.nats.url;
    let old = server.password("client");
    assert!(server.cli.pvf(&["nats", "rotate", "client", "secrets"]).status.success());
    let new = server.password("client");
    assert_ne!(old, new);
    // This server has not read the new file yet.
    Raw::connect(url, "client", &old).unwrap();
    // The server may be gone before its reason was read.
    let is_refused = |error: &str| error == "Authorization Violation" || error.contains("closed");
    assert!(Raw::connect(url, "client", &new).is_err_and(|error| is_refused(&error)));
    let users = std::fs::read_to_string(server.cli.path().join("secrets/nats/users.conf")).unwrap();
    let reloaded = NatsServer::start_with(DEFAULT_PAYLOAD, &format!("authorization {{\n{users}}}")).await;
    Raw::connect(&reloaded.url, "client", &new).unwrap();
    assert!(Raw::connect(&reloaded.url, "client", &old).is_err_and(|error| is_refused(&error)));
}

#[test]
fn permissions_are_printed_for_servers_and_for_nsc() {
    let cli = CliFixture::new();
    let text = |args: &[&str]| String::from_utf8(cli.pvf(&[&["nats", "permissions"], args].concat()).stdout).unwrap();
    let of_observer = text(&["observer", "o"]);
    assert!(of_observer.starts_with("{ publish: { allow: [\"pvf.v4.status\","), "{of_observer}");
    assert_eq!(
        text(&["client", "--nsc", "--fleet", "f"]),
        "--allow-pub 'f.v4.client.{{name()}}.*.req,f.v4.worker.*.*.*.pull,f.v4.status,_INBOX.*.{{name()}}.>' \
         --allow-sub 'f.v4.client.{{name()}}.*.verdict,f.v4.client.{{name()}}.*.pull,f.v4.coordinator.announce,_INBOX.{{name()}}.>'\n"
    );
    let of_worker: serde_json::Value = serde_json::from_str(&text(&["prepare-worker", "w", "--json"])).unwrap();
    assert_eq!(of_worker["subscribe"][0], "pvf.v4.worker.prepare.w.*.cmd");
}

/// The page has the permissions as they are rendered.
#[test]
fn the_page_about_permissions_has_what_is_rendered() {
    let page = crate::repository::root().join("docs/operate/permissions.md");
    let page = std::fs::read_to_string(page).unwrap();
    for role in Role::ALL {
        let allowed = pvf_shared::permissions::permissions(role, &user("U"), &FleetName::parse("f").unwrap());
        let cell = |subjects: &[String]| {
            let shown = |subject: &String| {
                let names = [("f.v4", "F.v4"), ("f.from", "F.from"), ("f-coord", "F-coord")];
                names.iter().fold(format!("`{subject}`"), |text, (from, to)| text.replace(from, to))
            };
            let subjects: Vec<_> = subjects.iter().map(shown).collect();
            subjects.join("<br>")
        };
        let line = format!("| {role} | {} | {} |", cell(&allowed.publish), cell(&allowed.subscribe));
        assert!(page.lines().any(|have| have == line), "{line}");
    }
}
