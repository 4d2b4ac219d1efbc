//! The lease: which of several coordinators is active.
//!
//! It is one key in a JetStream key-value bucket that the server forgets after the lease's duration. A coordinator
//! writes the key if it is not there, renews it in time, and removes it when it ends. `core` decides, as a pure state
//! machine; `keeper` is the shell around it, and `bucket` what it knows of JetStream; `tenure` is what the rest of the
//! coordinator looks at before it acts.
//!
//! The fencing token of a term is the epoch of the bucket and the revision of the key: `epoch << 32 | revision`. It
//! grows with each term: revisions grow within a bucket, and the coordinator that makes a bucket gives it an epoch above the token
//! that the last coordinator left in the store.

mod bucket;
mod core;
mod keeper;
mod settings;
mod tenure;

pub(crate) use bucket::{ANSWER_LIMIT, Beside, beside};
pub(crate) use keeper::{Keeper, Standing};
pub use settings::LeaseConfig;
pub(crate) use tenure::Tenure;
