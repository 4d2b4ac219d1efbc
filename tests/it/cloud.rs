//! Artifacts in a bucket: the tool with `--store s3://…`, against a real server of the S3 protocol.

use crate::tool::CliFixture;
use pvf_tests::processes::{Process, binary, until};
use serde_json::Value;
use std::{
    net::TcpListener,
    process::{Command, Output, Stdio},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// The S3 server: beside the `nats-server` that `.ci/setup` installs, or on the PATH.
fn server() -> Command {
    let beside = std::env::var_os("PVF_NATS_SERVER")
        .map(|path| std::path::PathBuf::from(path).with_file_name("moto_server"))
        .filter(|path| path.is_file());
    Command::new(beside.unwrap_or_else(|| "moto_server".into()))
}

/// Creates the bucket; `None` while the server does not answer.
async fn put_bucket(port: u16) -> Option<()> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
    let request = "PUT /pvf-test HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    answer.starts_with("HTTP/1.1 200").then_some(())
}

fn pvf(cli: &CliFixture, port: u16, bucket: &str, args: &[&str]) -> Output {
    let mut command = Command::new(binary("pvf"));
    command.current_dir(cli.path()).args(args).args(["--json", "--store", bucket]).env_remove("PVF_NATS");
    command.env("AWS_ENDPOINT", format!("http://127.0.0.1:{port}")).env("AWS_ALLOW_HTTP", "true");
    command.env("AWS_ACCESS_KEY_ID", "test").env("AWS_SECRET_ACCESS_KEY", "test").env("AWS_REGION", "us-east-1");
    command.output().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn artifacts_in_a_bucket_outlive_the_process() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut command = server();
    command.args(["-H", "127.0.0.1", "-p", &port.to_string()]).stderr(Stdio::null());
    let _server = Process::start(&mut command);
    until("the bucket is made", async || put_bucket(port).await).await;
    let cli = CliFixture::new();
    let bucket = "s3://pvf-test/some/prefix";
    for cached in [false, true] {
        let output = pvf(&cli, port, bucket, &["execute", "code.wasm", "--params", "good"]);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{stderr}");
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((&answer["verdict"], &answer["artifact"]["cached"]), (&"valid".into(), &cached.into()));
    }
    let absent = pvf(&cli, port, "s3://no-such-bucket", &["precheck", "code.wasm"]);
    let stderr = String::from_utf8_lossy(&absent.stderr);
    assert_eq!(absent.status.code(), Some(3), "{stderr}");
    assert!(stderr.contains("store s3://no-such-bucket"), "{stderr}");
}
