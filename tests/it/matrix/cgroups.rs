//! A cgroup of version 1 for one cell.

use pvf_testkit::until_blocking;
use pvf_tests::processes::lives;
use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

/// A cgroup of one controller. Removed when dropped, once its processes have ended.
pub(super) struct Cgroup(PathBuf);

impl Cgroup {
    pub(super) fn new(controller: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("pvf-matrix-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let folder = Path::new("/sys/fs/cgroup").join(controller).join(name);
        fs::create_dir(&folder).unwrap_or_else(|error| {
            panic!("this test needs root and cgroups of version 1; {}: {error}", folder.display())
        });
        let cgroup = Self(folder);
        if controller == "cpuset" {
            cgroup.write("cpuset.mems", "0");
        }
        cgroup
    }

    #[track_caller]
    pub(super) fn write(&self, file: &str, value: &str) {
        let file = self.0.join(file);
        fs::write(&file, value).unwrap_or_else(|error| panic!("{value} to {}: {error}", file.display()));
    }

    #[track_caller]
    pub(super) fn read(&self, file: &str) -> String {
        let file = self.0.join(file);
        let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        text.trim().to_owned()
    }

    pub(super) fn number(&self, file: &str) -> u64 {
        self.read(file).parse().expect("a number")
    }

    /// The file that a process writes to in order to enter.
    pub(super) fn entrance(&self) -> PathBuf {
        self.0.join("cgroup.procs")
    }
}

/// Removes a cgroup and those that its processes made below it; whether that was possible.
fn remove(folder: &Path) -> bool {
    let below = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    below.filter(|path| path.is_dir()).for_each(|path| {
        remove(&path);
    });
    fs::remove_dir(folder).is_ok()
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let pids = fs::read_to_string(self.entrance()).unwrap_or_default();
            let left = pids.lines().filter_map(|pid| pid.parse().ok()).any(lives);
            if left || !remove(&self.0) {
                eprintln!("left behind: {}", self.0.display());
            }
            return;
        }
        until_blocking("the processes of the cgroup end", || remove(&self.0).then_some(()));
    }
}
