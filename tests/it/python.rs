//! The client in Python, which was written from the protocol's page, against a real fleet.

use crate::repository::root;
use parity_scale_codec::{Decode as _, Encode as _};
use pvf_guests::{
    adder::{ADDER, Block, Head},
    corpus::{RESULT, busy, returns},
};
use pvf_shared::candidate::ValidationResult;
use pvf_tests::{fleet::Fleet, requests::padded};
use serde_json::{Value, json};
use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// The cases of one run; code and block data are files.
struct Cases {
    folder: tempfile::TempDir,
    cases: Vec<Value>,
}

impl Cases {
    fn file(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    fn prepare(&mut self, name: &str, work: &str, code: &[u8], expect: &str) {
        let code = self.file(&format!("{name}.wasm"), code);
        self.cases.push(json!({"name": name, "work": work, "code": code, "expect": expect}));
    }

    /// `expect` is the head of a valid candidate, or another outcome.
    fn execute(&mut self, name: &str, code: &[u8], block_data: &[u8], expect: Result<&[u8], &str>) {
        let code = self.file(&format!("{name}.wasm"), code);
        let block_data = self.file(&format!("{name}.block"), block_data);
        let parent = hex::encode(Head::genesis().encode());
        let mut case = json!({"name": name, "work": "execute", "code": code, "block_data": block_data,
            "parent_head": parent, "expect": expect.err().unwrap_or("valid")});
        if let Ok(head) = expect {
            case["head_data"] = hex::encode(head).into();
        }
        self.cases.push(case);
    }
}

fn python() -> PathBuf {
    let server = std::env::var_os("PVF_NATS_SERVER").expect("PVF_NATS_SERVER names the nats-server of .ci/setup");
    Path::new(&server).with_file_name("python")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_python_client_gets_the_verdicts_of_a_fleet() {
    let fleet = Fleet::start(1, 2).await;
    let mut cases = Cases { folder: tempfile::tempdir().unwrap(), cases: Vec::new() };
    let good = Block { state: 0, increment: 5 };
    let head = Head::genesis().next(&good).encode();
    let result = ValidationResult::decode(&mut &RESULT[..]).unwrap();
    cases.prepare("precheck", "precheck", ADDER, "precheck-ok");
    cases.prepare("garbage", "precheck", b"no wasm", "preparation-failed");
    cases.prepare("heads-up", "heads-up", &padded(ADDER.to_vec(), 3 << 20), "heads-up-taken|heads-up-prepared");
    cases.prepare("wait", "heads-up-prepared", &padded(ADDER.to_vec(), 2 << 20), "heads-up-prepared");
    cases.execute("valid", ADDER, &good.encode(), Ok(&head));
    cases.execute("joined", ADDER, &good.encode(), Ok(&head));
    cases.execute("invalid", ADDER, &Block { state: 1, increment: 5 }.encode(), Err("invalid"));
    let large = padded(ADDER.to_vec(), 4 << 20);
    cases.execute("large code", &large, &good.encode(), Ok(&head));
    cases.execute("large block", &returns(RESULT), &vec![7; 3 << 20], Ok(&result.head_data));
    let large_head = vec![9; 2 << 20];
    let large_result = ValidationResult { head_data: large_head.clone(), ..result }.encode();
    cases.execute("large result", &returns(&large_result), b"block", Ok(&large_head));
    cases.execute("cancelled", &busy(u64::MAX), b"block", Err("cancelled"));
    let list = cases.file("cases.json", json!(cases.cases).to_string().as_bytes());
    let url = fleet.nats.url.clone();
    let run = tokio::task::spawn_blocking(move || {
        let mut command = Command::new(python());
        command.arg(root().join("docs/integrate/python/check_fleet.py")).arg(list).args(["--nats", &url]);
        command.env("PYTHONDONTWRITEBYTECODE", "1").output().unwrap()
    });
    let output = run.await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{out}\n{err}");
    assert!(out.contains("11 of 11 as expected"), "{out}\n{err}");
}
