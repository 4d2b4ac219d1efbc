//! A real server of the S3 protocol: `moto_server`, which keeps its objects in memory.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpStream},
    path::PathBuf,
    process::Command,
};

/// The server: beside the `nats-server` that `.ci/setup` installs, or on the PATH.
pub fn server_path() -> PathBuf {
    let beside = std::env::var_os("PVF_NATS_SERVER")
        .map(|path| PathBuf::from(path).with_file_name("moto_server"))
        .filter(|path| path.is_file());
    beside.unwrap_or_else(|| "moto_server".into())
}

/// Tells a command where the server is.
pub fn locate(command: &mut Command, (host, port): (Ipv4Addr, u16)) -> &mut Command {
    command.env("AWS_ENDPOINT", format!("http://{host}:{port}")).env("AWS_ALLOW_HTTP", "true");
    command.env("AWS_ACCESS_KEY_ID", "test").env("AWS_SECRET_ACCESS_KEY", "test").env("AWS_REGION", "us-east-1")
}

/// Makes a bucket; `false` while the server does not answer.
pub fn make_bucket((host, port): (Ipv4Addr, u16), name: &str) -> bool {
    let Ok(mut stream) = TcpStream::connect((host, port)) else { return false };
    let request = format!("PUT /{name} HTTP/1.0\r\nHost: {host}\r\nContent-Length: 0\r\n\r\n");
    let mut answer = String::new();
    let made = stream.write_all(request.as_bytes()).and_then(|()| stream.read_to_string(&mut answer));
    made.is_ok() && answer.split(' ').nth(1) == Some("200")
}
