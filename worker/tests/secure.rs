//! The workers' command line where jobs can be locked up and where they cannot, as in Docker's default profile.

mod common;

use common::WORKER;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    apply_filter,
};
use std::{
    fs,
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::Path,
    process::{Command, Output},
};

const NOBODY: u32 = 65534;

/// A worker that finds no bus, so that it ends in any case.
fn worker(exe: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(exe);
    command.args(["--nats", "nats://127.0.0.1:1", "--store", "file:///tmp"]).args(more);
    command.env_remove("PVF_INSECURE_BEST_EFFORT");
    command
}

/// What Docker's default profile refuses to whoever has no privileges: namespaces, mounts, another root.
fn docker_profile() -> BpfProgram {
    let user = libc::CLONE_NEWUSER as u64;
    let flag = SeccompCondition::new(0, SeccompCmpArgLen::Qword, SeccompCmpOp::MaskedEq(user), user).unwrap();
    let rules = [
        (libc::SYS_clone, vec![SeccompRule::new(vec![flag]).unwrap()]),
        (libc::SYS_unshare, vec![]),
        (libc::SYS_mount, vec![]),
        (libc::SYS_pivot_root, vec![]),
    ];
    let refuse = SeccompAction::Errno(libc::EPERM as u32);
    let arch = std::env::consts::ARCH.try_into().unwrap();
    SeccompFilter::new(rules.into(), SeccompAction::Allow, refuse, arch).unwrap().try_into().unwrap()
}

fn in_docker(more: &[&str]) -> Output {
    let profile = docker_profile();
    let mut command = worker(Path::new(WORKER), more);
    // SAFETY: installing a filter makes plain system calls.
    unsafe { command.pre_exec(move || apply_filter(&profile).map_err(std::io::Error::other)) };
    command.output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn where_jobs_cannot_be_locked_up_a_worker_does_not_start_and_says_what_helps() {
    for more in [&[][..], &["--secure"]] {
        let output = in_docker(more);
        assert_eq!(output.status.code(), Some(2), "{}", said(&output));
        let said = said(&output);
        for part in [
            "user namespace, pid namespace, ",
            "cgroup namespace: clone: Operation not permitted",
            "empty root: it needs a mount namespace",
            "fix: ",
            "compose/seccomp.json",
            "--insecure-best-effort",
        ] {
            assert!(said.contains(part), "{part}: {said}");
        }
        // What works is not complained about.
        assert!(!said.contains("landlock: ") && !said.contains("seccomp: "), "{said}");
    }
}

#[test]
fn it_goes_on_if_it_is_told_to() {
    let output = in_docker(&["--insecure-best-effort"]);
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    assert!(!said(&output).contains("--insecure-best-effort"), "{}", said(&output));
}

#[test]
fn an_ordinary_user_needs_nothing_more() {
    let mut command = worker(Path::new(WORKER), &[]);
    let folder = tempfile::tempdir_in("/tmp").unwrap();
    if rustix::process::getuid().is_root() {
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let exe = folder.path().join("pvf-execute-worker");
        fs::copy(WORKER, &exe).unwrap();
        command = worker(&exe, &[]);
        command.uid(NOBODY).gid(NOBODY);
    }
    let output = command.output().unwrap();
    // The bus is what it does not find.
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
}
