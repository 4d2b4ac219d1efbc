//! How a resource is denied to a process from its start.

use super::cgroups::Cgroup;
use std::{
    ffi::CString,
    fs,
    io::{Error, Result},
    os::unix::{ffi::OsStrExt as _, fs::PermissionsExt as _, process::CommandExt as _},
    path::Path,
    process::Command,
};

/// A user that has no processes.
const NOBODY: u32 = 64_123;

/// What a process is denied from its start.
#[derive(Clone, Copy)]
pub(super) enum Denial {
    /// Nothing.
    Nothing,
    /// A resource limit, soft and hard.
    Limit(libc::__rlimit_resource_t, u64),
    /// A resource limit of an ordinary user.
    LimitOfUser(libc::__rlimit_resource_t, u64),
    /// What a system call does between fork and exec, which must not allocate.
    Call(fn() -> Result<()>),
    /// Some system calls, as by the seccomp profile of a container.
    SystemCalls(&'static [libc::c_long]),
    /// What commands of a shell do, in user and mount namespaces of their own.
    Shell(&'static str),
    /// The same as root of the machine, in mount and pid namespaces of its own.
    RootShell(&'static str),
    /// What these values of a cgroup of this controller deny.
    Cgroup(&'static str, &'static [(&'static str, &'static str)]),
}

fn done(result: libc::c_int) -> Result<()> {
    if result == 0 { Ok(()) } else { Err(Error::last_os_error()) }
}

fn set_limit(resource: libc::__rlimit_resource_t, value: u64) -> Result<()> {
    let limit = libc::rlimit { rlim_cur: value, rlim_max: value };
    // SAFETY: a plain system call on a live value.
    done(unsafe { libc::setrlimit(resource, &raw const limit) })
}

/// Calls this between fork and exec.
fn before_exec(command: &mut Command, call: impl FnMut() -> Result<()> + Send + Sync + 'static) {
    // SAFETY: all callers make plain system calls only.
    unsafe { command.pre_exec(call) };
}

/// Has `command` run by a shell after these commands.
fn wrap(command: &mut Command, unshare: &[&str], commands: &str) {
    let mut within = Command::new("unshare");
    let script = format!("{commands}\nexec \"$0\" \"$@\"");
    within.args(unshare).args(["bash", "-ec", &script]).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => within.env(name, value),
            None => within.env_remove(name),
        };
    }
    if let Some(folder) = command.get_current_dir() {
        within.current_dir(folder);
    }
    *command = within;
}

impl Denial {
    /// Changes a complete command line so that its process is denied the resource. The cgroup must outlive the process.
    /// `folder` is the working folder of the process.
    pub(super) fn apply(self, command: &mut Command, folder: &Path) -> Option<Cgroup> {
        match self {
            Self::Nothing => {}
            Self::Limit(resource, value) => before_exec(command, move || set_limit(resource, value)),
            Self::LimitOfUser(resource, value) => {
                reachable_by_all(command, folder);
                before_exec(command, move || {
                    set_limit(resource, value)?;
                    // SAFETY: plain system calls.
                    unsafe {
                        done(libc::setgroups(0, std::ptr::null()))?;
                        done(libc::setgid(NOBODY))?;
                        done(libc::setuid(NOBODY))
                    }
                });
            }
            Self::Call(call) => before_exec(command, call),
            Self::SystemCalls(calls) => {
                let filter = refusing(calls);
                before_exec(command, move || install(&filter));
            }
            Self::Shell(commands) => wrap(command, &["--map-root-user", "--mount"], commands),
            Self::RootShell(commands) => {
                wrap(command, &["--mount", "--pid", "--fork", "--kill-child", "--mount-proc"], commands);
            }
            Self::Cgroup(controller, values) => {
                let cgroup = Cgroup::new(controller);
                values.iter().for_each(|(file, value)| cgroup.write(file, value));
                enter(command, &cgroup);
                return Some(cgroup);
            }
        }
        None
    }
}

/// The process starts in this cgroup.
pub(super) fn enter(command: &mut Command, cgroup: &Cgroup) {
    let entrance = CString::new(cgroup.entrance().as_os_str().as_bytes()).expect("a path");
    before_exec(command, move || {
        // SAFETY: plain system calls on a string that ends with 0 and on a live byte.
        unsafe {
            let file = libc::open(entrance.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
            // 0 is the process that writes.
            if file >= 0 && libc::write(file, c"0".as_ptr().cast(), 1) == 1 {
                Ok(())
            } else {
                Err(Error::last_os_error())
            }
        }
    });
}

/// An ordinary user can execute the program and use the folder.
fn reachable_by_all(command: &mut Command, folder: &Path) {
    let program = folder.join("pvf");
    if !program.exists() {
        fs::copy(command.get_program(), &program).expect("room for a copy of the executable");
    }
    fs::set_permissions(folder, fs::Permissions::from_mode(0o777)).expect("the test's own folder");
    let mut copied = Command::new(&program);
    copied.args(command.get_args()).current_dir(folder);
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => copied.env(name, value),
            None => copied.env_remove(name),
        };
    }
    // Folders of its own, which it can create.
    copied.env("PVF_STORE", folder.join("store-of-user")).env("PVF_CACHE_DIR", folder.join("cache-of-user"));
    *command = copied;
}

/// A filter by which these system calls fail with EPERM.
fn refusing(calls: &[libc::c_long]) -> Vec<libc::sock_filter> {
    let statement = |code: u32, jump: usize, k: u32| libc::sock_filter { code: code as u16, jt: jump as u8, jf: 0, k };
    let load = statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0);
    let compare = calls.iter().enumerate().map(|(n, call)| {
        // To the refusal, over the comparisons that follow and the permission.
        statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, calls.len() - n, *call as u32)
    });
    let end = |value| statement(libc::BPF_RET | libc::BPF_K, 0, value);
    let ends = [end(libc::SECCOMP_RET_ALLOW), end(libc::SECCOMP_RET_ERRNO | libc::EPERM as u32)];
    [load].into_iter().chain(compare).chain(ends).collect()
}

fn install(filter: &[libc::sock_filter]) -> Result<()> {
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_ptr().cast_mut() };
    // SAFETY: plain system calls; the kernel reads the program, which lives.
    unsafe {
        done(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))?;
        done(libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program, 0, 0))
    }
}
