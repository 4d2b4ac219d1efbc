//! A connection to NATS that sends whatever it likes, and sees what the server refuses.

use pvf_shared::Bytes;
use pvf_testkit::DEADLINE;
use serde_json::{Value, json};
use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    time::{Duration, Instant},
};

/// A message that the connection received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Received {
    pub(crate) subject: String,
    pub(crate) reply: Option<String>,
    pub(crate) payload: Bytes,
}

/// A connection of one user.
pub(crate) struct Raw {
    pub(crate) user: String,
    stream: BufReader<TcpStream>,
    subscriptions: u32,
    received: Vec<Received>,
}

impl Raw {
    /// Connects to a server on this machine with a password. The error is what the server says.
    pub(crate) fn connect(url: &str, user: &str, password: &str) -> Result<Self, String> {
        Self::connect_with(url, user, |_| json!({ "user": user, "pass": password }))
    }

    /// Connects with credentials that depend on the server's greeting.
    pub(crate) fn connect_with(url: &str, user: &str, credentials: impl Fn(&Value) -> Value) -> Result<Self, String> {
        let stream = TcpStream::connect(url.trim_start_matches("nats://")).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let mut stream = BufReader::new(stream);
        let mut greeting = String::new();
        stream.read_line(&mut greeting).unwrap();
        let mut options = credentials(&serde_json::from_str(greeting.strip_prefix("INFO ").unwrap()).unwrap());
        for (option, value) in [("verbose", false), ("pedantic", false), ("headers", true), ("no_responders", true)] {
            options[option] = value.into();
        }
        let mut raw = Self { user: user.to_owned(), stream, subscriptions: 0, received: vec![] };
        raw.send(format!("CONNECT {options}\r\n").as_bytes());
        match raw.sync().as_slice() {
            [] => Ok(raw),
            [error, ..] => Err(error.clone()),
        }
    }

    fn send(&mut self, bytes: &[u8]) {
        self.stream.get_mut().write_all(bytes).unwrap();
    }

    /// Waits until the server has processed what was sent: what it refused.
    fn sync(&mut self) -> Vec<String> {
        self.send(b"PING\r\n");
        let mut refused = Vec::new();
        loop {
            let mut line = String::new();
            match self.stream.read_line(&mut line) {
                Ok(1..) => {}
                Ok(0) => refused.push("the connection is closed".into()),
                Err(error) => refused.push(format!("the connection is closed: {error}")),
            }
            if line.is_empty() {
                return refused;
            }
            let words: Vec<_> = line.split_whitespace().collect();
            match words[..] {
                ["PONG"] => return refused,
                ["PING"] => self.send(b"PONG\r\n"),
                ["-ERR", ..] => refused.push(line.trim().trim_start_matches("-ERR ").trim_matches('\'').to_owned()),
                ["MSG", subject, _, len] => self.receive(subject, None, 0, len),
                ["MSG", subject, _, reply, len] => self.receive(subject, Some(reply), 0, len),
                ["HMSG", subject, _, header, len] => self.receive(subject, None, header.parse().unwrap(), len),
                ["HMSG", subject, _, reply, header, len] => {
                    self.receive(subject, Some(reply), header.parse().unwrap(), len);
                }
                _ => {}
            }
        }
    }

    fn receive(&mut self, subject: &str, reply: Option<&str>, header: usize, len: &str) {
        let mut payload = vec![0; len.parse::<usize>().unwrap() + 2];
        self.stream.read_exact(&mut payload).unwrap();
        payload.truncate(payload.len() - 2);
        let payload = payload.split_off(header).into();
        self.received.push(Received { subject: subject.to_owned(), reply: reply.map(str::to_owned), payload });
    }

    /// Subscribes: what the server refused.
    pub(crate) fn subscribe(&mut self, subject: &str) -> Vec<String> {
        self.subscriptions += 1;
        self.send(format!("SUB {subject} {}\r\n", self.subscriptions).as_bytes());
        self.sync()
    }

    /// Publishes: what the server refused.
    pub(crate) fn publish(&mut self, subject: &str, reply: Option<&str>, payload: &[u8]) -> Vec<String> {
        let reply = reply.map(|reply| format!("{reply} ")).unwrap_or_default();
        self.send(format!("PUB {subject} {reply}{}\r\n", payload.len()).as_bytes());
        self.send(payload);
        self.send(b"\r\n");
        self.sync()
    }

    /// Takes what was received so far.
    pub(crate) fn received(&mut self) -> Vec<Received> {
        assert_eq!(self.sync(), [""; 0]);
        std::mem::take(&mut self.received)
    }

    /// Waits for a message that `wanted` takes.
    pub(crate) fn wait_for<T>(&mut self, what: &str, mut wanted: impl FnMut(&Received) -> Option<T>) -> T {
        let started = Instant::now();
        loop {
            if let Some(found) = self.received().iter().find_map(&mut wanted) {
                return found;
            }
            assert!(started.elapsed() < DEADLINE, "{}: no {what}", self.user);
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }

    /// Sends a request to the coordinator, and waits for its answer.
    pub(crate) fn ask(&mut self, subject: &str, payload: &[u8]) -> Bytes {
        let inbox = format!("_INBOX.{}.@coordinator.raw.{}", self.user, self.subscriptions);
        assert_eq!(self.subscribe(&inbox), [""; 0]);
        assert_eq!(self.publish(subject, Some(&inbox), payload), [""; 0]);
        self.wait_for("answer", |message| (message.subject == inbox).then(|| message.payload.clone()))
    }
}
