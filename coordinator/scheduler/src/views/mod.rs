//! What people see of the scheduler: reading the state, in bounded pieces. The coordinator shows it over HTTP and on
//! the bus. Nothing here changes anything.

pub(crate) mod artifacts;
pub(crate) mod explain;
mod page;
pub(crate) mod requests;
pub(crate) mod workers;

pub use artifacts::{ArtifactCondition, ArtifactFilter, ArtifactOrder, ArtifactView};
pub use page::Page;
pub use requests::{RequestFilter, RequestView, Stage};
pub use workers::{WorkerFilter, WorkerView};
