//! Processes of the tests: started, found, signalled, ended. Only ever by pid, and only our own.

use std::{
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// An executable of this workspace, built beside the running test.
pub fn binary(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("the test has a path");
    let dir = test.ancestors().find(|dir| dir.join("pvf").is_file() || dir.join("deps").is_dir());
    let path = dir.expect("the test lies in a target folder").join(name);
    assert!(path.is_file(), "{} is not there: `cargo build --workspace --bins` first", path.display());
    path
}

/// A process that is killed when the test ends.
pub struct Process(pub Child);

impl Process {
    /// Starts it. Its log goes to the test's output.
    pub fn start(command: &mut Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let child = command.spawn().unwrap_or_else(|e| panic!("{command:?}: {e}"));
        Self(child)
    }

    /// Its number.
    pub fn pid(&self) -> i32 {
        i32::try_from(self.0.id()).expect("pids are small")
    }

    /// Kills it and waits for its end.
    pub fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // A stopped process would not die of SIGTERM; of SIGKILL it does.
        self.kill();
    }
}

/// Sends a signal to a process that a test started, or to one of its jobs.
pub fn signal(pid: i32, signal: i32) {
    // SAFETY: a plain system call; the tests only pass pids of their own processes.
    let sent = unsafe { libc::kill(pid, signal) };
    assert_eq!(sent, 0, "kill({pid}, {signal}): {}", std::io::Error::last_os_error());
}

/// State and parent of a process, if there is such a process.
fn stat(pid: i32) -> Option<(char, i32)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything.
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

/// Whether a process is there and not only waiting to be reaped.
pub fn lives(pid: i32) -> bool {
    stat(pid).is_some_and(|(state, _)| state != 'Z')
}

/// The processes that this process has started and that still live.
pub fn children_of(parent: i32) -> Vec<i32> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|e| e.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| stat(*pid).is_some_and(|(state, ppid)| ppid == parent && state != 'Z')).collect()
}

/// The processes of this worker with this name: its own children or forks of its templates.
pub fn processes_of(worker: i32, name: &str) -> Vec<i32> {
    let mut found = children_of(worker);
    found.extend(found.clone().into_iter().flat_map(children_of));
    found.retain(|pid| std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.trim_end() == name));
    found
}

/// The processes of this worker that do a job: no template and no spare fork.
pub fn jobs_of(worker: i32) -> Vec<i32> {
    [processes_of(worker, "pvf-prepare"), processes_of(worker, "pvf-execute")].concat()
}

/// CPU time of a process so far, in clock ticks.
pub fn cpu_ticks(pid: i32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields: Vec<u64> =
        stat.rsplit_once(") ").map_or("", |(_, rest)| rest).split(' ').map(|f| f.parse().unwrap_or(0)).collect();
    fields.get(11..13).map_or(0, |times| times.iter().sum())
}

/// Waits until something is so; gives up after two minutes.
pub async fn until<T>(what: &str, mut check: impl AsyncFnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = check().await {
            return value;
        }
        assert!(start.elapsed() < Duration::from_secs(120), "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
