//! With cgroups of this machine. A machine where these tests cannot make any fails them: it would not test what workers
//! rely on.

use super::*;
use std::process::{Child, Command};

fn cgroups() -> Arc<JobCgroups> {
    let made = JobCgroups::new();
    Arc::new(made.unwrap_or_else(|why| {
        panic!(
            "this test needs a memory cgroup that it may make cgroups in (as root; version 2: delegated, and enabled \
             below): {why}"
        )
    }))
}

struct Sleeper(Child);

impl Sleeper {
    fn new() -> Self {
        Self(Command::new("sleep").arg("600").spawn().unwrap())
    }

    fn pid(&self) -> i32 {
        self.0.id() as i32
    }

    fn cgroup(&self) -> String {
        fs::read_to_string(format!("/proc/{}/cgroup", self.pid())).unwrap()
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

fn name(folder: &Path) -> String {
    folder.file_name().unwrap().to_string_lossy().into_owned()
}

#[test]
fn a_process_is_moved_and_its_cgroup_is_used_again() {
    let cgroups = cgroups();
    let folder = cgroups.folder.clone();
    let [first, second] = [Sleeper::new(), Sleeper::new()];
    let member = cgroups.enter(first.pid(), 1 << 30).unwrap();
    assert!(first.cgroup().contains(&format!("/{}/job-0", name(&folder))), "{}", first.cgroup());
    let limit = fs::read_to_string(folder.join("job-0").join(cgroups.version.limit_file())).unwrap();
    assert_eq!(limit.trim(), (1_u64 << 30).to_string());
    assert_eq!(member.cause_of_kill(), CgroupKill::NotCounted);
    // The process has not ended: another one gets another cgroup.
    drop(member);
    let other = cgroups.enter(second.pid(), 1 << 30).unwrap();
    assert!(second.cgroup().contains("/job-1"), "{}", second.cgroup());
    drop(first);
    let third = Sleeper::new();
    let again = cgroups.enter(third.pid(), 1 << 31).unwrap();
    assert!(third.cgroup().contains("/job-0"), "{}", third.cgroup());
    drop((second, third));
    other.left();
    again.left();
    assert_eq!(cgroups.free().len(), 2);
    drop(cgroups);
    assert!(!folder.exists());
}

#[test]
fn a_process_that_was_reaped_has_no_cgroup_and_others_still_have() {
    let cgroups = cgroups();
    let gone = {
        let sleeper = Sleeper::new();
        sleeper.pid()
    };
    assert!(cgroups.enter(gone, 1 << 30).is_none());
    let sleeper = Sleeper::new();
    let member = cgroups.enter(sleeper.pid(), 1 << 30).unwrap();
    drop(sleeper);
    member.left();
}

#[test]
fn folders_of_processes_that_have_ended_are_removed_and_others_are_not() {
    let cgroups = cgroups();
    // Nobody else sweeps here.
    let place = &cgroups.folder;
    let [left, foreign] = ["pvf-2147483647-0", "pvf-of-someone"].map(|name| place.join(name));
    for folder in [&left, &foreign] {
        let _ = fs::create_dir(folder);
    }
    fs::create_dir(left.join("job-0")).unwrap();
    sweep(place);
    assert!(!left.exists() && foreign.exists() && cgroups.folder.exists());
    fs::remove_dir(foreign).unwrap();
}

#[test]
fn only_names_that_a_process_gives_are_swept() {
    assert!(is_of_process("12-0"));
    for other in ["12", "12-x", "x-0", "", "-"] {
        assert!(!is_of_process(other), "{other}");
    }
}
