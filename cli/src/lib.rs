//! The whole host in one process, for whoever embeds it: [`start`] gives a handle and the future that drives it.
//!
//! The same coordinator and workers as in a fleet run over a bus within the process. Jobs still run in child
//! processes of their own: by default this executable starts itself, so its `main` begins with
//! [`run_job_if_asked`]; or [`Config::worker_exe`] names another executable, made with
//! [`pvf_worker::worker_main!`].

mod embedded;
pub mod metrics;
#[doc(hidden)]
pub mod tool;

pub use embedded::{Config, StartError, start};
pub use metrics::Metrics;
pub use pvf_shared::{
    ValidationHost,
    client::{Answer, ClientError, ExecuteRequest, Pvf},
};
pub use pvf_worker::run_job_if_asked;
