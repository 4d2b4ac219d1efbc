//! Traces: one from the caller of the tool to the verdict, through client, coordinator and worker, as a collector of
//! OpenTelemetry receives it.

use crate::tool::CliFixture;
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{KeyValue, any_value::Value},
};
use prost::Message as _;
use pvf_tests::{
    fleet::{Fleet, FleetConfig, Role},
    processes::{signal, until},
};
use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
};

const CALLER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// A span as it was received.
#[derive(Debug, Clone)]
struct Received {
    service: String,
    name: String,
    trace: String,
    span: String,
    parent: String,
    attributes: BTreeMap<String, String>,
    /// Nanoseconds since 1970.
    time: (u64, u64),
    is_error: bool,
}

fn texts(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |value: &Value| match value {
        Value::StringValue(text) => text.clone(),
        Value::IntValue(number) => number.to_string(),
        other => format!("{other:?}"),
    };
    let value = |attribute: &KeyValue| attribute.value.as_ref().and_then(|any| any.value.as_ref()).map(text);
    attributes.iter().map(|attribute| (attribute.key.clone(), value(attribute).unwrap_or_default())).collect()
}

/// A collector: answers `POST /v1/traces`.
struct Collector {
    url: String,
    spans: Arc<Mutex<Vec<Received>>>,
}

impl Collector {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let spans = Arc::<Mutex<Vec<Received>>>::default();
        let received = spans.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let received = received.clone();
                std::thread::spawn(move || receive(stream.unwrap(), &received));
            }
        });
        Self { url, spans }
    }

    fn spans(&self) -> Vec<Received> {
        self.spans.lock().unwrap().clone()
    }
}

/// Takes the requests of one connection.
fn receive(stream: TcpStream, spans: &Mutex<Vec<Received>>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    loop {
        let (mut length, mut line) = (0, String::new());
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        assert!(line.starts_with("POST /v1/traces "), "{line}");
        loop {
            let mut header = String::new();
            reader.read_line(&mut header).unwrap();
            match header.trim().to_ascii_lowercase().split_once(": ") {
                Some(("content-length", value)) => length = value.parse().unwrap(),
                Some(_) => {}
                None => break,
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        for of in ExportTraceServiceRequest::decode(&body[..]).unwrap().resource_spans {
            let about = texts(&of.resource.unwrap().attributes);
            for span in of.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                spans.lock().unwrap().push(Received {
                    service: about["service.name"].clone(),
                    name: span.name,
                    trace: hex::encode(span.trace_id),
                    span: hex::encode(span.span_id),
                    parent: hex::encode(span.parent_span_id),
                    attributes: texts(&span.attributes),
                    time: (span.start_time_unix_nano, span.end_time_unix_nano),
                    is_error: span.status.is_some_and(|status| status.code == 2),
                });
            }
        }
        let answer = "HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n";
        (&stream).write_all(answer.as_bytes()).unwrap();
    }
}

/// The spans as a tree, a line for each: its service and its name, below its parent.
fn tree(spans: &[Received], parent: &str, depth: usize, lines: &mut Vec<String>) {
    let mut children: Vec<_> = spans.iter().filter(|span| span.parent == parent).collect();
    children.sort_by_key(|span| span.time.0);
    for span in children {
        let error = if span.is_error { " (failed)" } else { "" };
        lines.push(format!("{}{}: {}{error}", "  ".repeat(depth), span.service, span.name));
        tree(spans, &span.span, depth + 1, lines);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_trace_goes_from_the_caller_to_the_verdict() {
    let collector = Collector::start();
    let exporting = ["--otlp-endpoint", &collector.url];
    let coordinator_arguments = exporting.map(String::from).to_vec();
    let config = FleetConfig { prepare: 0, execute: 0, coordinator_arguments, ..FleetConfig::default() };
    let mut fleet = Fleet::with(config).await;
    fleet.add_with(Role::Prepare, &exporting);
    fleet.add_with(Role::Execute, &exporting);
    fleet.complete(1, 1).await;
    let cli = CliFixture::new();
    let ask = ["execute", "code.wasm", "--params", "good", "--json", "--nats", &fleet.nats.url];
    let output = cli.command(&[&ask[..], &exporting].concat()).env("TRACEPARENT", CALLER).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let request = answer["request"].as_str().unwrap();
    // A process that ends sends what it has; the others do so every few seconds.
    for process in [&fleet.coordinator].into_iter().chain(&fleet.prepare).chain(&fleet.execute) {
        signal(process.pid(), libc::SIGTERM);
    }
    let expected = [
        "pvf: request execute",
        "  pvf-coordinator: coordinate execute",
        "    pvf-coordinator: attempt prepare",
        "      pvf-prepare-worker: job prepare",
        "        pvf-prepare-worker: fetch",
        "        pvf-prepare-worker: process",
        "    pvf-coordinator: attempt execute",
        "      pvf-execute-worker: job execute",
        "        pvf-execute-worker: fetch",
        "        pvf-execute-worker: process",
    ];
    until("all spans are received", async || (collector.spans().len() >= expected.len()).then_some(())).await;
    let spans = collector.spans();
    let mut lines = Vec::new();
    tree(&spans, "00f067aa0ba902b7", 0, &mut lines);
    println!("{}", lines.join("\n"));
    assert_eq!(lines, expected, "{spans:#?}");
    assert!(spans.iter().all(|span| span.trace == "4bf92f3577b34da6a3ce929d0e0e4736"), "{spans:#?}");
    assert!(spans.iter().all(|span| span.time.0 <= span.time.1), "{spans:#?}");
    let of = |name: &str| &spans.iter().find(|span| span.name == name).unwrap().attributes;
    for name in ["request execute", "coordinate execute", "job execute"] {
        assert_eq!(of(name)["pvf.request"], request, "{name}");
    }
    assert_eq!(of("request execute")["pvf.outcome"], "valid");
    assert_eq!(of("coordinate execute")["pvf.attempts"], "1");
    assert!(of("process").contains_key("pvf.cpu_ms"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_embedded_host_has_the_whole_trace_and_begins_one() {
    let (collector, cli) = (Collector::start(), CliFixture::new());
    let ask = ["execute", "code.wasm", "--params", "bad", "--otlp-endpoint", &collector.url];
    assert_eq!(cli.command(&ask).env_remove("TRACEPARENT").status().unwrap().code(), Some(1));
    let spans = collector.spans();
    let mut lines = Vec::new();
    tree(&spans, "", 0, &mut lines);
    assert_eq!(lines.first().map(String::as_str), Some("pvf: request execute"), "{spans:#?}");
    assert!(lines.iter().any(|line| line == "      pvf: job execute"), "{lines:#?}");
    assert_eq!(lines.len(), spans.len(), "{lines:#?}");
}

/// A request is not worse for a collector that is not there, or for a trace that is not sampled.
#[test]
fn a_collector_that_is_not_there_changes_no_verdict() {
    let cli = CliFixture::new();
    let ask = ["execute", "code.wasm", "--params", "good", "--otlp-endpoint", "http://127.0.0.1:1"];
    let output = cli.pvf(&ask);
    assert!(output.status.success(), "{output:?}");
    let collector = Collector::start();
    let ask = ["execute", "code.wasm", "--params", "good", "--otlp-endpoint", &collector.url];
    let unsampled = CALLER.replace("-01", "-00");
    assert!(cli.command(&ask).env("TRACEPARENT", unsampled).status().unwrap().success());
    assert!(collector.spans().is_empty(), "{:?}", collector.spans());
    cli.fails(&["execute", "code.wasm", "--params", "good", "--otlp-endpoint", "host:1"], 2, &["--otlp-endpoint"]);
}
