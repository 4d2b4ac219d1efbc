//! The matrix: each resource that a machine can deny, at the start of a process and under load. Whatever is denied, a
//! valid candidate is valid, or the verdict is `internal`, or the request waits; never anything else. The worker goes
//! on, or pauses saying why, or refuses to start naming the resource; it recovers when it has the resource again; and
//! `pvf doctor` is red where jobs would fail.
//!
//! `at_start` has the cells of the start, `under_load` those of a worker that runs jobs; `denials` how a resource is
//! denied, `observe` what a process does then, `load` the jobs. docs/operate/machine-limits.md lists every resource,
//! with its cell here, or why there is none. The cells take root and cgroups of version 1, as in CI; a cell that cannot
//! have what it needs fails.

mod at_start;
mod cells;
mod cgroups;
mod denials;
mod load;
mod observe;
mod under_load;
