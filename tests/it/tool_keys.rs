//! `pvf keys`, and the keys that `pvf` has without being given any.

use crate::tool::CliFixture;
use std::os::unix::fs::PermissionsExt as _;

fn stdout(output: std::process::Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn keys_are_made_and_shown_without_the_private_one() {
    let cli = CliFixture::new();
    let text = stdout(cli.pvf(&["keys", "new", "--out", "made/"]));
    let secret = std::fs::read_to_string(cli.path().join("made/signing.key")).unwrap();
    let secret = secret.lines().last().unwrap().rsplit_once(':').unwrap().1.to_owned();
    for part in ["made/signing.key", "made/signing.pub", "--signing-key", "--trusted-key", "PVF_TRUSTED_KEYS"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let fingerprint = stdout(cli.pvf(&["keys", "show", "made/signing.pub"]));
    assert_eq!(fingerprint, stdout(cli.pvf(&["keys", "show", "made/signing.key"])));
    assert!(fingerprint.trim().len() == 16 && text.contains(fingerprint.trim()), "{text}");
    let shown = &cli.json(&["keys", "show", "made/signing.pub"], 0)[0];
    assert_eq!(shown["fingerprint"], fingerprint.trim());
    let made = &cli.json(&["keys", "new", "--out", "other.key"], 0)[0];
    assert_eq!((&made["private_key"], &made["public_key"]), (&"other.key".into(), &"other.pub".into()));
    cli.fails(&["keys", "new", "--out", "made"], 2, &["made/signing.key", "not overwritten"]);
    std::fs::set_permissions(cli.path().join("other.key"), std::fs::Permissions::from_mode(0o640)).unwrap();
    cli.fails(&["keys", "show", "other.key"], 2, &["other.key", "mode 0640", "chmod 600 other.key"]);
    cli.fails(&["keys", "show", "absent"], 2, &["absent"]);
    let public = std::fs::read_to_string(cli.path().join("made/signing.pub")).unwrap();
    assert!(!text.contains(&secret) && !public.contains(&secret));
}

/// Calls of `pvf` on one store share a key pair, so that an artifact is prepared once.
#[test]
fn the_embedded_host_keeps_its_keys_in_its_store() {
    let cli = CliFixture::new();
    let ask = ["execute", "code.wasm", "--params", "good"];
    cli.json(&ask, 0);
    let key = cli.path().join("store/keys/signing.key");
    assert_eq!(std::fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    let before = std::fs::read(&key).unwrap();
    let again = &cli.json(&ask, 0)[0];
    assert_eq!(again["verdict"], "valid");
    assert_eq!(std::fs::read(&key).unwrap(), before);
    // With another key the artifact is not valid, and is prepared again.
    assert!(cli.pvf(&["keys", "new", "--out", "mine.key"]).status.success());
    let mine = &cli.json(&[&ask[..], &["--signing-key", "mine.key"]].concat(), 0)[0];
    assert_eq!(mine["verdict"], "valid");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    cli.fails(&ask, 2, &["store/keys/signing.key", "chmod 600"]);
}
