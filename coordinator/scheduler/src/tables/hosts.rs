//! Machines: which workers are on the same one.

use crate::keys::{HostKey, Origin};
use lru::LruCache;
use pvf_proto::{
    host::{HostIdentity, HostMark},
    verdict::clean_reason,
    wire::WorkerHello,
};

/// Marks that are remembered, two for each of as many workers as there may be; the one that was seen last the longest
/// ago goes first.
const CAPACITY: usize = 200_000;

/// Most characters of what a worker says of itself that are shown.
const MAX_SHOWN: usize = 100;

/// Text of a worker, as verdicts, logs and events show it.
fn shown(text: &str) -> Box<str> {
    clean_reason(text).chars().take(MAX_SHOWN).collect()
}

/// The machines that workers have told of. A mark never changes its machine while it is remembered.
#[derive(Debug)]
pub(crate) struct Hosts {
    by_mark: LruCache<HostMark, HostKey>,
    last: u64,
}

impl Default for Hosts {
    fn default() -> Self {
        Self { by_mark: LruCache::unbounded(), last: 0 }
    }
}

impl Hosts {
    /// Where a worker runs, and what it is built from.
    pub(crate) fn origin_of(&mut self, hello: &WorkerHello) -> Origin {
        Origin {
            host: self.find_or_add(&hello.host, hello.identity),
            host_name: shown(&hello.host),
            engine: hello.engine.clone(),
            version: shown(&hello.version),
            host_functions: shown(&hello.host_functions),
        }
    }

    /// The machine of a worker: that of an earlier one with the same boot id, or else the same machine id. A worker
    /// that tells neither is known by the name of its machine.
    fn find_or_add(&mut self, name: &str, identity: HostIdentity) -> HostKey {
        let identity = if identity.is_unknown() { HostIdentity::named(name) } else { identity };
        let marks = [identity.boot, identity.machine].into_iter().flatten();
        let found: Vec<_> = marks.clone().map(|mark| self.by_mark.get(&mark).copied()).collect();
        let host = found.into_iter().flatten().next().unwrap_or_else(|| {
            self.last += 1;
            HostKey(self.last)
        });
        for mark in marks {
            self.by_mark.get_or_insert(mark, || host);
        }
        while self.by_mark.len() > CAPACITY {
            self.by_mark.pop_lru();
        }
        host
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_kernel_is_one_machine_and_so_is_one_that_was_started_again() {
        let mut hosts = Hosts::default();
        let of = |machine, boot| HostIdentity::new(machine, boot);
        let first = hosts.find_or_add("a", of(Some("m1"), Some("b1")));
        // Containers, with and without a machine id of their own.
        assert_eq!(hosts.find_or_add("container1", of(Some("image"), Some("b1"))), first);
        assert_eq!(hosts.find_or_add("container2", of(None, Some("b1"))), first);
        assert_eq!(hosts.find_or_add("a", of(Some("m1"), Some("b2"))), first, "after a restart");
        assert_eq!(hosts.find_or_add("container3", of(None, Some("b2"))), first);
        let other = hosts.find_or_add("a", of(Some("m2"), Some("b3")));
        assert_ne!(other, first, "another machine with the same name");
        // Where the two contradict each other the kernel counts.
        assert_eq!(hosts.find_or_add("b", of(Some("m1"), Some("b3"))), other);
        assert_eq!(hosts.find_or_add("b", of(Some("m1"), None)), first);
    }

    #[test]
    fn names_count_if_nothing_else_is_known_or_the_operator_gave_them() {
        let mut hosts = Hosts::default();
        let unknown = HostIdentity::default();
        let a = hosts.find_or_add("a", unknown);
        assert_eq!(hosts.find_or_add("a", unknown), a);
        assert_ne!(hosts.find_or_add("b", unknown), a);
        assert_eq!(hosts.find_or_add("a", HostIdentity::named("a")), a);
    }
}
