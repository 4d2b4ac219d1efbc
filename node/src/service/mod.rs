//! The node service: one process of a machine that is connected to the fleet, and answers the calls of the machine's
//! worker executables on a Unix socket. So no job waits for a connection to the bus, and nothing that fails in the
//! service ends a worker executable, which the node would take for a sign against the candidate.

mod caller;
mod codes;
mod messages;
mod server;
#[cfg(test)]
mod tests;

pub use caller::{Lost, ServiceCaller};
pub use server::{Listening, Server};
