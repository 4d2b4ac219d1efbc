//! Processes of the tests: started, found, signalled, ended. They are addressed by pid, and only processes that a test
//! started are ever signalled.

use std::{
    fs, io,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// Process names of jobs: neither a template nor a spare.
const JOB_NAMES: [&str; 2] = ["pvf-prepare", "pvf-execute"];

/// An executable of this workspace, built beside the running test. The error says what to do.
pub fn find_binary(name: &str) -> Result<PathBuf, String> {
    let test = std::env::current_exe().expect("the test has a path");
    let dir = test.ancestors().find(|dir| dir.join("pvf").is_file() || dir.join("deps").is_dir());
    let path = dir.expect("the test lies in a target folder").join(name);
    if path.is_file() {
        return Ok(path);
    }
    Err(format!("{} does not exist: `cargo build --workspace --bins --examples` first", path.display()))
}

/// As [`find_binary`]; panics if it does not exist.
pub fn binary(name: &str) -> PathBuf {
    find_binary(name).unwrap_or_else(|why| panic!("{why}"))
}

/// An executable on the PATH.
pub fn binary_on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file())
}

/// A process that is killed and reaped when the test ends.
pub struct Process(pub Child);

impl Process {
    /// Starts it. Its log goes to the test's output.
    pub fn start(command: &mut Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let child = command.spawn().unwrap_or_else(|e| panic!("{command:?}: {e}"));
        Self(child)
    }

    /// Its process id.
    pub fn pid(&self) -> i32 {
        i32::try_from(self.0.id()).expect("pids are small")
    }

    /// Kills and reaps it. SIGKILL ends a stopped process, too.
    pub fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Gives a command the environment that was set for another one.
pub fn copy_environment(from: &Command, to: &mut Command) {
    for (name, value) in from.get_envs() {
        match value {
            Some(value) => to.env(name, value),
            None => to.env_remove(name),
        };
    }
}

/// Has a command run with at most so many open descriptors.
pub fn limit_open_files(command: &mut Command, files: u64) {
    let limit = libc::rlimit { rlim_cur: files, rlim_max: files };
    // SAFETY: a plain system call on a live value, which is allowed between fork and exec.
    unsafe {
        command.pre_exec(move || match libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        });
    }
}

/// Sends a signal to a process that the test started, or to one of its jobs.
#[track_caller]
pub fn signal(pid: i32, signal: i32) {
    // SAFETY: a plain system call; the tests only pass pids of their own processes.
    let sent = unsafe { libc::kill(pid, signal) };
    assert_eq!(sent, 0, "kill({pid}, {signal}): {}", io::Error::last_os_error());
}

/// A line of `/proc/<pid>/stat`.
struct Stat {
    state: char,
    parent: i32,
    /// CPU time, clock ticks.
    ticks: u64,
}

fn stat(pid: i32) -> Option<Stat> {
    let line = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may contain spaces and parentheses.
    let fields: Vec<&str> = line.rsplit_once(") ")?.1.split_whitespace().collect();
    let ticks = fields.get(11..13)?.iter().filter_map(|field| field.parse::<u64>().ok()).sum();
    Some(Stat { state: fields[0].chars().next()?, parent: fields[1].parse().ok()?, ticks })
}

/// Whether a process has ended, reaped or not.
pub fn has_ended(pid: i32) -> bool {
    stat(pid).is_none_or(|stat| stat.state == 'Z')
}

/// Whether a process runs, sleeps or is stopped.
pub fn lives(pid: i32) -> bool {
    !has_ended(pid)
}

/// The parent of a process.
pub fn parent(pid: i32) -> i32 {
    stat(pid).expect("a process").parent
}

/// CPU time of a process so far, clock ticks; 0 if there is no such process.
pub fn cpu_ticks(pid: i32) -> u64 {
    stat(pid).map_or(0, |stat| stat.ticks)
}

/// The name of a process as `ps` shows it; empty if there is no such process.
pub fn name_of(pid: i32) -> String {
    fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim_end().to_owned()
}

/// Threads of a process; none if there is no such process.
pub fn threads_of(pid: i32) -> usize {
    fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count)
}

fn pids() -> impl Iterator<Item = i32> {
    let entries = fs::read_dir("/proc").expect("/proc is mounted").flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// Living children of a process.
pub fn children_of(process: i32) -> Vec<i32> {
    pids().filter(|pid| stat(*pid).is_some_and(|stat| stat.parent == process && stat.state != 'Z')).collect()
}

/// Children of the test's own process, zombies included.
pub fn children() -> Vec<i32> {
    let tasks = fs::read_dir("/proc/self/task").expect("/proc is mounted").flatten();
    let lists = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    lists.flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>()).collect()
}

/// How the processes of a worker are told from others.
#[derive(Debug, Clone, Copy)]
pub enum Owner<'a> {
    /// Children of this process, and their children: templates and the forks of templates.
    Process(i32),
    /// Processes that were started from this executable, which no other test uses.
    Executable(&'a Path),
}

impl From<i32> for Owner<'_> {
    fn from(pid: i32) -> Self {
        Self::Process(pid)
    }
}

impl<'a> From<&'a Path> for Owner<'a> {
    fn from(path: &'a Path) -> Self {
        Self::Executable(path)
    }
}

impl<'a> From<&'a PathBuf> for Owner<'a> {
    fn from(path: &'a PathBuf) -> Self {
        Self::Executable(path)
    }
}

/// Living processes of a worker: templates, spares and jobs.
pub fn processes_of<'a>(owner: impl Into<Owner<'a>>) -> Vec<i32> {
    match owner.into() {
        Owner::Process(pid) => {
            let mut found = children_of(pid);
            found.extend(found.clone().into_iter().flat_map(children_of));
            found
        }
        Owner::Executable(path) => {
            let name = path.file_name().expect("an executable has a name").as_encoded_bytes();
            let runs = |pid: &i32| {
                let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                line.split(|byte| *byte == 0).next().is_some_and(|program| program.ends_with(name))
            };
            pids().filter(runs).collect()
        }
    }
}

/// Living processes of a worker that have this name.
pub fn processes_named<'a>(owner: impl Into<Owner<'a>>, name: &str) -> Vec<i32> {
    let mut found = processes_of(owner);
    found.retain(|pid| name_of(*pid) == name);
    found
}

/// Living processes of a worker that run a job: neither templates nor spares.
pub fn jobs_of<'a>(owner: impl Into<Owner<'a>>) -> Vec<i32> {
    let mut found = processes_of(owner);
    found.retain(|pid| JOB_NAMES.contains(&name_of(*pid).as_str()));
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::until_blocking;

    #[test]
    fn a_process_is_found_signalled_and_reaped() {
        let test = i32::try_from(std::process::id()).expect("pids are small");
        let mut process = Process::start(Command::new("sleep").arg("1000"));
        let pid = process.pid();
        until_blocking("the child executes sleep", || (name_of(pid) == "sleep").then_some(()));
        assert!(lives(pid) && children_of(test).contains(&pid) && children().contains(&pid));
        assert_eq!((parent(pid), threads_of(pid)), (test, 1));
        assert_eq!(processes_named(test, "sleep"), [pid]);
        assert_eq!(jobs_of(test), []);
        signal(pid, libc::SIGKILL);
        until_blocking("the process ends", || has_ended(pid).then_some(()));
        assert!(children().contains(&pid), "a zombie is a child until it is reaped");
        process.kill();
        assert!(!children().contains(&pid));
    }
}
