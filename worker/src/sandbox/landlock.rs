//! Landlock with an empty rule set: the kernel denies every access that the landlock ABI in use handles. The empty root
//! and seccomp deny the same accesses; landlock still holds if either has a hole.
//!
//! Kernels differ in their landlock ABI. The probe tries in a child of its own which one takes hold here, from the
//! highest down, and job processes then apply exactly that one: a job process that cannot ends.

use super::{child::in_child, privileges::set_no_new_privs};
use landlock::{ABI, Access as _, AccessFs, AccessNet, CompatLevel, Compatible as _, Ruleset, RulesetAttr as _, Scope};
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, getsockname, listen, socket_with,
};
use serde::{Deserialize, Serialize};
use std::{
    fmt, fs,
    io::{Error, Result as IoResult},
    net::{Ipv4Addr, SocketAddrV4},
    os::fd::OwnedFd,
};

/// A landlock ABI that the sandbox can use. Each denies what the one before it denies, and more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LandlockAbi {
    /// Linux 5.13. Files: open for reading or writing, list, create, rename, remove, execute. Also mounting.
    V1 = 1,
    /// Linux 5.19. Lets rules allow renaming to another folder, which ABI 1 always denies: without rules no difference.
    V2,
    /// Linux 6.2. Files: truncate.
    V3,
    /// Linux 6.7. TCP: bind and connect.
    V4,
    /// Linux 6.10. Device files: ioctl after opening, which ABI 1 denies already: without rules no difference.
    V5,
    /// Linux 6.12. Signals and connections to abstract UNIX sockets that leave the process and its children.
    V6,
}

impl LandlockAbi {
    /// Every ABI that the sandbox can use, lowest first.
    pub const ALL: [Self; 6] = [Self::V1, Self::V2, Self::V3, Self::V4, Self::V5, Self::V6];
    /// The highest ABI that the sandbox uses.
    pub const HIGHEST: Self = Self::V6;

    /// Its number.
    pub fn number(self) -> u8 {
        self as u8
    }

    fn of_the_crate(self) -> ABI {
        match self {
            Self::V1 => ABI::V1,
            Self::V2 => ABI::V2,
            Self::V3 => ABI::V3,
            Self::V4 => ABI::V4,
            Self::V5 => ABI::V5,
            Self::V6 => ABI::V6,
        }
    }
}

impl fmt::Display for LandlockAbi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.number().fmt(f)
    }
}

/// What the probe found out about landlock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LandlockFound {
    /// The highest ABI of which everything took hold.
    pub used: LandlockAbi,
    /// The ABI that the kernel offers.
    pub offered: i64,
    /// Why no higher ABI is used although the kernel offers one.
    pub higher: Option<String>,
}

/// The landlock ABI that the kernel offers.
fn offered() -> Result<i64, String> {
    const VERSION: libc::c_ulong = 1;
    // SAFETY: with this flag the call takes no attributes, and only returns a number.
    let abi = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<u8>(), 0, VERSION) };
    if abi > 0 {
        return Ok(abi);
    }
    Err(match Error::last_os_error().raw_os_error() {
        Some(libc::EOPNOTSUPP) => "the kernel has landlock, but it is not enabled at boot".into(),
        Some(libc::ENOSYS) => "the kernel has no landlock, or a seccomp profile forbids it".into(),
        _ => super::failed("landlock_create_ruleset"),
    })
}

/// Tries the ABIs that the kernel offers, up to `limit`, from the highest down. To be called where files can be
/// reached: in an empty root there is nothing to be refused.
pub(super) fn find(limit: LandlockAbi) -> Result<LandlockFound, String> {
    let offered = offered()?;
    let mut higher = None;
    for used in LandlockAbi::ALL.into_iter().rev().filter(|abi| *abi <= limit && i64::from(abi.number()) <= offered) {
        match in_child(|| prove(used)) {
            Ok(()) => return Ok(LandlockFound { used, offered, higher }),
            Err(why) => higher.get_or_insert(format!("ABI {used}: {why}")),
        };
    }
    Err(higher.unwrap_or_else(|| format!("the kernel offers landlock ABI {offered}")))
}

/// Restricts this process to no access at all, with everything that this ABI handles.
pub(super) fn restrict(abi: LandlockAbi) -> Result<(), String> {
    let abi = abi.of_the_crate();
    let ruleset = || {
        let ruleset = Ruleset::default()
            .set_compatibility(CompatLevel::HardRequirement)
            .handle_access(AccessFs::from_all(abi))?;
        // An ABI that handles nothing of a kind cannot be asked for it.
        let (net, scope) = (AccessNet::from_all(abi), Scope::from_all(abi));
        let ruleset = if net.is_empty() { ruleset } else { ruleset.handle_access(net)? };
        let ruleset = if scope.is_empty() { ruleset } else { ruleset.scope(scope)? };
        ruleset.create()?.restrict_self()
    };
    match ruleset() {
        Ok(status) if status.ruleset == landlock::RulesetStatus::FullyEnforced => Ok(()),
        Ok(status) => Err(format!("only partly enforced by this kernel: {status:?}")),
        Err(error) => Err(error.to_string()),
    }
}

/// Verifies that listing a directory is refused: it needs no privileges, and in the sandbox of a job no other mechanism
/// forbids it.
pub(super) fn verify() -> Result<(), String> {
    match fs::read_dir("/") {
        Err(error) if error.raw_os_error() == Some(libc::EACCES) => Ok(()),
        Err(error) => Err(format!("unexpected error while listing /: {error}")),
        Ok(_) => Err("listing / not refused".into()),
    }
}

/// What exists outside of a restricted process: made before it is restricted.
struct Outside {
    /// A listening socket with an abstract name.
    socket: OwnedFd,
}

/// An access that an ABI denies.
struct Attempt {
    what: &'static str,
    /// The first ABI that denies it.
    since: LandlockAbi,
    /// The error by which landlock denies it.
    refusal: i32,
    access: fn(&Outside) -> IoResult<()>,
}

/// What landlock must refuse, and nothing else refuses to a process with nothing but landlock.
const ATTEMPTS: [Attempt; 8] = [
    Attempt {
        what: "reading a file",
        since: LandlockAbi::V1,
        refusal: libc::EACCES,
        access: |_| fs::File::open("/proc/self/status").map(drop),
    },
    Attempt {
        what: "listing a directory",
        since: LandlockAbi::V1,
        refusal: libc::EACCES,
        access: |_| fs::read_dir("/").map(drop),
    },
    Attempt {
        what: "writing a file",
        since: LandlockAbi::V1,
        refusal: libc::EACCES,
        // Not a device: a container may have none.
        access: |_| fs::File::options().write(true).open("/proc/self/comm").map(drop),
    },
    Attempt {
        what: "truncating a file",
        since: LandlockAbi::V3,
        refusal: libc::EACCES,
        // The kernel ignores the length of this file.
        // SAFETY: a plain system call; the pointer is to a string that ends with 0.
        access: |_| done(unsafe { libc::truncate(c"/proc/self/comm".as_ptr(), 0) }),
    },
    Attempt { what: "TCP connect", since: LandlockAbi::V4, refusal: libc::EACCES, access: |_| tcp_connect() },
    Attempt { what: "TCP bind", since: LandlockAbi::V4, refusal: libc::EACCES, access: |_| tcp_bind() },
    Attempt {
        what: "connecting to an abstract socket",
        since: LandlockAbi::V6,
        refusal: libc::EPERM,
        access: |outside| {
            let client = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
            Ok(connect(&client, &getsockname(&outside.socket)?)?)
        },
    },
    Attempt {
        what: "a signal to the parent",
        since: LandlockAbi::V6,
        refusal: libc::EPERM,
        // SAFETY: signal 0 is not delivered; the call only checks whether it may be.
        access: |_| done(unsafe { libc::kill(libc::getppid(), 0) }),
    },
];

fn done(result: libc::c_int) -> IoResult<()> {
    if result == 0 { Ok(()) } else { Err(Error::last_os_error()) }
}

fn tcp_socket() -> IoResult<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?)
}

/// Where nothing listens; the call does not wait for an answer.
fn tcp_connect() -> IoResult<()> {
    Ok(connect(tcp_socket()?, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 9))?)
}

fn tcp_bind() -> IoResult<()> {
    Ok(bind(tcp_socket()?, &SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0))?)
}

impl Outside {
    fn new() -> IoResult<Self> {
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        // The kernel chooses an abstract name.
        bind(&socket, &SocketAddrUnix::new_unnamed())?;
        listen(&socket, 1)?;
        Ok(Self { socket })
    }
}

impl Attempt {
    /// Whether landlock refuses it.
    fn is_refused(&self, outside: &Outside) -> IoResult<bool> {
        match (self.access)(outside) {
            Err(error) if error.raw_os_error() == Some(self.refusal) => Ok(true),
            Err(error) => Err(error),
            Ok(()) => Ok(false),
        }
    }
}

/// Restricts this process with this ABI, and verifies that each access that the ABI handles is refused then and was not
/// refused before, so that no other mechanism is mistaken for landlock.
fn prove(abi: LandlockAbi) -> Result<(), String> {
    let outside = Outside::new().map_err(|e| format!("abstract socket: {e}"))?;
    let attempts = || ATTEMPTS.iter().filter(|attempt| attempt.since <= abi);
    for attempt in attempts() {
        if let Ok(true) = attempt.is_refused(&outside) {
            return Err(format!("{} is refused without landlock", attempt.what));
        }
    }
    set_no_new_privs()?;
    restrict(abi)?;
    for attempt in attempts() {
        match attempt.is_refused(&outside) {
            Ok(true) => {}
            Ok(false) => return Err(format!("{} is not refused", attempt.what)),
            Err(error) => return Err(format!("{} fails otherwise: {error}", attempt.what)),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Landlock restricts the thread that asks for it, so each ABI gets a thread of its own.
    fn in_a_thread(test: impl FnOnce() + Send + 'static) {
        std::thread::spawn(test).join().unwrap();
    }

    #[test]
    fn each_abi_refuses_what_it_handles_and_leaves_the_rest_to_the_next() {
        let offered = offered().expect("the tests need landlock");
        for abi in LandlockAbi::ALL.into_iter().filter(|abi| i64::from(abi.number()) <= offered) {
            in_a_thread(move || {
                let outside = Outside::new().unwrap();
                let refused = |attempt: &Attempt| matches!(attempt.is_refused(&outside), Ok(true));
                assert!(!ATTEMPTS.iter().any(refused), "refused without landlock");
                set_no_new_privs().unwrap();
                restrict(abi).unwrap();
                for attempt in &ATTEMPTS {
                    assert_eq!(refused(attempt), attempt.since <= abi, "{} at ABI {abi}", attempt.what);
                }
            });
        }
    }

    #[test]
    fn an_abi_whose_proof_was_made_impossible_is_not_proved() {
        // The thread is restricted by more than the ABI under test, so nothing shows that the ABI itself refuses.
        in_a_thread(|| {
            set_no_new_privs().unwrap();
            restrict(LandlockAbi::V1).unwrap();
            assert_eq!(prove(LandlockAbi::V1), Err("reading a file is refused without landlock".into()));
        });
    }
}
