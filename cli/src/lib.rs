//! A PVF validation host in one process: [`start`] returns a handle, and the future that drives the host.
//!
//! The embedded host has the coordinator and the workers of a fleet, connected by a bus inside the process. Jobs still
//! run in child processes. By default the host starts its own executable for them, so `main` must begin with
//! [`run_job_if_asked`] and the executable must declare [`JobAllocator`]. Alternatively [`Config::worker_exe`] names
//! another executable, which [`worker_main!`] declares.
//!
//! ```no_run
//! use pvf::{
//!     BlockDataForm, CandidateContext, Config, ExecuteKind, ExecuteRequest, ExecutorParams, Metrics, Outcome, Pvf,
//!     StorageRoot,
//! };
//!
//! #[global_allocator]
//! static ALLOCATOR: pvf::JobAllocator = pvf::JobAllocator::new();
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     // Does not return in a job process.
//!     pvf::run_job_if_asked::<()>();
//!     let context = CandidateContext {
//!         parent_head: std::fs::read("parent-head")?.into(),
//!         relay_parent_number: 7,
//!         relay_parent_storage_root: StorageRoot([0; 32]),
//!         extension: None,
//!         block_data_form: BlockDataForm::MaybeCompressed,
//!     };
//!     tokio::runtime::Runtime::new()?.block_on(validate(context, std::fs::read("pov")?))
//! }
//!
//! async fn validate(context: CandidateContext, block_data: Vec<u8>) -> Result<(), Box<dyn std::error::Error>> {
//!     let (host, run) = pvf::start(Config::new("/var/lib/my-node/pvf"), Metrics::default()).await?;
//!     // Drives coordinator and workers. Ends when the last handle is dropped.
//!     tokio::spawn(run);
//!     let pvf = Pvf::new(std::fs::read("runtime.wasm")?, ExecutorParams::default());
//!     let request = ExecuteRequest::new(ExecuteKind::Backing, context, block_data);
//!     // Dropping this future cancels the request.
//!     let answer = host.execute_pvf(pvf, request).await?;
//!     if let Outcome::Valid(result) = answer.outcome {
//!         println!("valid, with {} bytes of head data", result.head_data.len());
//!     }
//!     Ok(())
//! }
//! ```
//!
//! The host refuses to start where the sandbox for the jobs is incomplete. To start it anyway, where all validation
//! code is trusted, set [`Config::secure`] to `false`.
//!
//! This crate re-exports the types that its interface uses, so an embedding program depends on `pvf` only. Host
//! functions of its own (`examples/embed`) are written against [`sp_wasm_interface`].

mod embedded;
pub mod metrics;
#[doc(hidden)]
pub mod tool;

pub use embedded::{Config, StartError, start};
pub use metrics::Metrics;
pub use pvf_coordinator::{Ceilings, CoordinatorConfig, CoordinatorError, scheduler::Policy};
pub use pvf_shared::{
    Bytes, ValidationHost,
    bundle::{Bundle, BundleError, BundleFolder, Retention},
    candidate::{
        BlockDataForm, CandidateContext, HorizontalMessage, ValidationParams, ValidationParamsExtension,
        ValidationResult, decode_params, encode_params,
    },
    client::{Answer, BundleSettings, ClientError, ExecuteRequest, Pvf},
    config::ProtocolTimeouts,
    identity::WorkerId,
    ids::{ArtifactId, CodeHash, FencingToken, FleetName, RequestId, StorageRoot},
    keys::{ArtifactKeys, KeyError, KeyFingerprint, PrivateKey, PublicKey},
    params::{ExecutorParam, ExecutorParams, HostFunctionSet, ParamsError, PvfExecKind, PvfPrepKind},
    priority::ExecuteKind,
    store::StoreError,
    verdict::{AmbiguousReason, Blame, InternalError, InvalidReason, Outcome, PrepareError},
    wire::{ActiveLeaf, ActiveLeavesUpdate, ArtifactSummary, FleetStatus, Refusal, Timings, WorkerKind, WorkerStatus},
};
pub use pvf_worker::{JobAllocator, run_job_if_asked, sandbox::Mechanism, worker_main};
pub use sp_wasm_interface;

/// Compiles the samples of the page for embedding programs.
#[cfg(doctest)]
#[doc = include_str!("../../docs/integrate/embedding.md")]
struct EmbeddingPage;
