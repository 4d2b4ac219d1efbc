//! Hosts on one machine: each is a network namespace whose only way out is a TUN device, and a switch in this process
//! carries packets between these devices. What the switch does with packets from one host to another can be changed at
//! any moment, in one direction or in both: drop them all (no reset, no error, as a cable that is pulled), drop some, or
//! delay them.
//!
//! It needs no kernel module for traffic shaping and no firewall: root, or a user who may make user namespaces.

mod namespace;
mod switch;

pub use namespace::{Namespace, enter_own, isolate};
pub use switch::{Link, Switch};

use std::net::Ipv4Addr;

/// The address of a host, the number of which begins with 0.
pub fn address(host: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 90, 0, u8::try_from(host + 1).expect("fewer than 255 hosts"))
}

/// The host with this address.
fn host_of(address: [u8; 4]) -> Option<usize> {
    (address[..3] == [10, 90, 0]).then(|| usize::from(address[3]).checked_sub(1)).flatten()
}
