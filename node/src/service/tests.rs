use super::{
    messages::{FromService, ToService, read, write},
    *,
};
use crate::{
    calls::{ExecuteCall, PrepareCall},
    code_call::CodeCall,
    fleet::Fleet,
    metrics::NodeMetrics,
    protocol::{PrepareError, WorkerError},
};
use bytes::Bytes;
use pvf_shared::{
    ValidationHost,
    bus::{SharedBus, local::LocalBus},
    candidate::{BlockDataForm, CandidateContext},
    client::ClientConfig,
    config::ProtocolTimeouts,
    ids::{CodeHash, StorageRoot},
    params::ExecutorParams,
    priority::ExecuteKind,
};
use std::{path::PathBuf, sync::Arc, time::Duration};
use tempfile::TempDir;
use tokio::{net::UnixStream, task::JoinHandle};

const SHORT: Duration = Duration::from_millis(50);

/// A service of a fleet without a coordinator: every call ends with its time.
struct Service {
    dir: TempDir,
    task: JoinHandle<()>,
}

impl Drop for Service {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Service {
    async fn start() -> Self {
        let timing = ProtocolTimeouts { ask_again: Duration::from_millis(10), ..ProtocolTimeouts::default() };
        let config = ClientConfig { timing, patience: Duration::from_secs(600), ..ClientConfig::default() };
        let bus: SharedBus = Arc::new(LocalBus::new());
        let fleet = Fleet::of(ValidationHost::connect(bus.clone(), config).await.unwrap(), bus);
        let dir = tempfile::tempdir().unwrap();
        let listening = Listening::bind(&dir.path().join("socket")).unwrap();
        let task = tokio::spawn(async move {
            Server::new(fleet, 1 << 20, NodeMetrics::new().unwrap()).run(&listening, std::future::pending()).await;
        });
        Self { dir, task }
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("socket")
    }
}

fn code_call(code: &[u8]) -> CodeCall {
    CodeCall { hash: CodeHash::of(code), bomb_limit: 1, executor_params: ExecutorParams::default() }
}

fn execute_call(code: &[u8]) -> ExecuteCall {
    let candidate = CandidateContext {
        parent_head: Bytes::new(),
        relay_parent_number: 1,
        relay_parent_storage_root: StorageRoot([0; 32]),
        extension: None,
        block_data_form: BlockDataForm::MaybeCompressed,
    };
    ExecuteCall {
        code: code_call(code),
        candidate,
        kind: ExecuteKind::Backing,
        timeout: SHORT,
        node_timeout: SHORT,
        answer_within: SHORT,
        fallback_after: SHORT,
    }
}

#[tokio::test]
async fn a_code_is_brought_once() {
    let service = Service::start().await;
    let mut caller = ServiceCaller::connect(&service.socket()).await.unwrap();
    let (code, other, block_data) = (Bytes::from_static(b"code"), Bytes::from_static(b"other"), Bytes::new());
    let answer = caller.execute(&execute_call(&code), &code, &block_data).await.unwrap();
    assert!(matches!(answer, Err(WorkerError::Internal(_))), "{answer:?}");
    // The service has it, so it does not look at this one.
    let mut second = ServiceCaller::connect(&service.socket()).await.unwrap();
    assert!(second.execute(&execute_call(&code), &other, &block_data).await.is_ok());
    let call = PrepareCall { code: code_call(&code), timeout: SHORT, precheck: true, answer_within: SHORT };
    let answer = second.prepare(&call, &other).await.unwrap();
    assert!(matches!(answer, Err(PrepareError::Io(_))), "{answer:?}");
    // Another code than that of the call is not kept.
    let wrong = second.execute(&execute_call(b"third"), &other, &block_data).await;
    assert!(matches!(wrong, Err(Lost::Closed | Lost::Io(_))), "{wrong:?}");
}

#[tokio::test]
async fn a_caller_of_another_version_learns_that_of_the_service() {
    let service = Service::start().await;
    let mut stream = UnixStream::connect(service.socket()).await.unwrap();
    write(&mut stream, &ToService::Hello { version: 99 }, &[]).await.unwrap();
    let (answer, _) = read::<FromService>(&mut stream).await.unwrap().unwrap();
    assert!(matches!(answer, FromService::Hello { version: 1 }), "{answer:?}");
    assert!(read::<FromService>(&mut stream).await.unwrap().is_none(), "the connection ends");
}

#[tokio::test]
async fn one_service_listens_and_what_a_killed_one_left_is_replaced() {
    let service = Service::start().await;
    let error = Listening::bind(&service.socket()).unwrap_err();
    assert!(error.to_string().contains("another node service"), "{error}");
    let left = service.dir.path().join("left");
    drop(std::os::unix::net::UnixListener::bind(&left).unwrap());
    assert!(left.exists());
    let again = Listening::bind(&left).unwrap();
    drop(again);
    assert!(!left.exists());
    // Nothing but a socket is ever removed.
    std::fs::write(&left, "precious").unwrap();
    let error = Listening::bind(&left).unwrap_err();
    assert!(error.to_string().contains("not a socket"), "{error}");
    assert_eq!(std::fs::read(&left).unwrap(), b"precious");
    let error = Listening::bind(&left.with_file_name("folder/socket")).unwrap_err();
    assert!(error.to_string().contains("its folder does not exist"), "{error}");
    std::fs::remove_file(&left).unwrap();
    let missing = ServiceCaller::connect(&left).await.map(drop);
    assert!(matches!(missing, Err(Lost::Io(_))), "{missing:?}");
}
