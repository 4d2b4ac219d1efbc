//! Artifacts as a hostile compiler makes them: signed with the right key, but with machine code of its own. None of it
//! runs outside the sandbox of a job: neither when the guest is called, nor before, when a template instantiates a
//! module that starts although its header says that it does not.

mod common;
#[path = "common/fixture.rs"]
mod fixture;

use common::{
    AMPLE, Compiled, TestArtifact, WORKER, compiled, execute_job, own_worker, processes_named, processes_of, runner,
    until,
};
use fixture::{WorkerFixture, config};
use pvf_shared::{
    Bytes,
    bus::local::LocalBus,
    job::{ExecuteJob, ExecuteOutcome, JobSpec},
    params::ExecutorParams,
    verdict::{AmbiguousReason, InternalError},
    wire::WorkerKind,
};
use pvf_testkit::processes::cpu_ticks;
use std::{fs, path::Path};

/// Loops for ever.
const SPIN: &[u8] = &[0xeb, 0xfe];
const NO_OPERATION: u8 = 0x90;

/// Makes a system call without arguments that matter, and loops for ever if it returns.
fn calls(number: i64) -> Vec<u8> {
    let n = (number as u32).to_le_bytes();
    // mov eax, number; syscall; jmp to itself
    vec![0xb8, n[0], n[1], n[2], n[3], 0x0f, 0x05, 0xeb, 0xfe]
}

fn number<const N: usize>(file: &[u8], at: usize) -> usize {
    let mut bytes = [0; 8];
    bytes[..N].copy_from_slice(&file[at..at + N]);
    usize::try_from(u64::from_le_bytes(bytes)).unwrap()
}

/// The machine code in a compiled module, which is an ELF file: where it begins, and its length.
fn text_section(elf: &[u8]) -> (usize, usize) {
    assert_eq!(&elf[..5], b"\x7fELF\x02");
    let (table, size, count) = (number::<8>(elf, 0x28), number::<2>(elf, 0x3a), number::<2>(elf, 0x3c));
    let header = |n: usize| &elf[table + n * size..][..size];
    let names = number::<8>(header(number::<2>(elf, 0x3e)), 0x18);
    let is_text = |header: &&[u8]| elf[names + number::<4>(header, 0)..].starts_with(b".text\0");
    let text = (0..count).map(header).find(is_text).expect("a section with machine code");
    (number::<8>(text, 0x18), number::<8>(text, 0x20))
}

/// The same with all of its machine code replaced: each function, and each way into it, leads to this code.
fn replaced(Compiled { code, has_start }: Compiled, machine_code: &[u8]) -> Compiled {
    let mut file = code.to_vec();
    let (at, len) = text_section(&file);
    let text = &mut file[at..at + len];
    text.fill(NO_OPERATION);
    text[len - machine_code.len()..].copy_from_slice(machine_code);
    Compiled { code: file.into(), has_start }
}

/// A guest; `start` is its start function, if it has one.
fn guest(start: &str) -> Vec<u8> {
    let text = format!(
        r#"(module
            (memory (export "memory") 1)
            (global (export "__heap_base") i32 (i32.const 1024))
            (func $nothing)
            {start}
            (func (export "validate_block") (param i32 i32) (result i64) (i64.const 0)))"#
    );
    wat::parse_str(text).unwrap()
}

/// What runs machine code of the compiler's, and in which process.
async fn cases(machine_code: &[u8]) -> [(&'static str, Compiled); 3] {
    let starts = replaced(compiled(&guest("(start $nothing)")).await, machine_code);
    assert!(starts.has_start);
    [
        ("pvf-execute", replaced(compiled(&guest("")).await, machine_code)),
        ("pvf-execute", starts.clone()),
        // The header is what the compiler says as well. So the template instantiates the module, and starts it.
        ("pvf-template", Compiled { has_start: false, ..starts }),
    ]
}

fn status(pid: i32, field: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("no {field}: {status}")).trim().to_owned()
}

/// The process has used CPU time, which is that of the hostile code, and is confined as every job is.
async fn assert_confined(pid: i32, what: &str) {
    until(|| (cpu_ticks(pid) >= 20).then_some(())).await;
    assert_eq!((status(pid, "Seccomp"), status(pid, "NoNewPrivs")), ("2".into(), "1".into()), "{what}");
    for set in ["CapEff", "CapPrm", "CapInh", "CapAmb"] {
        assert_eq!(status(pid, set), "0000000000000000", "{what}: {set}");
    }
    let namespace = |process: &str, kind: &str| fs::read_link(format!("/proc/{process}/ns/{kind}")).unwrap();
    for kind in ["user", "pid", "mnt", "net", "ipc", "uts", "cgroup"] {
        assert_ne!(namespace(&pid.to_string(), kind), namespace("self", kind), "{what}: {kind} namespace");
    }
    let root = fs::read_dir(format!("/proc/{pid}/root")).unwrap().count();
    let mounts = fs::read_to_string(format!("/proc/{pid}/mounts")).unwrap();
    assert_eq!((root, mounts.lines().count()), (0, 1), "{what}: an empty root: {mounts}");
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let limit = |name: &str| limits.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
    assert!(!limit("Max address space").contains("unlimited"), "{what}: {limits}");
    assert!(limit("Max core file size").contains(" 0 "), "{what}: {limits}");
}

/// The job of an artifact that is signed with the worker's own key.
async fn signed(worker: &WorkerFixture, guest: u32, compiled: &Compiled) -> ExecuteJob {
    let job = execute_job(&guest.to_le_bytes(), ExecutorParams::default());
    let digest = worker.store.put_artifact(&job.artifact, compiled).await.unwrap();
    ExecuteJob { digest: Some(digest), cpu_limit: AMPLE, ..job }
}

#[tokio::test]
#[cfg(target_arch = "x86_64")]
async fn machine_code_of_a_hostile_compiler_runs_in_the_complete_sandbox_only() {
    for (n, (process, compiled)) in (0..).zip(cases(SPIN).await) {
        let exe = own_worker(&format!("compiler-{n}"));
        let config = config(WorkerKind::Execute, &exe);
        let mut worker = WorkerFixture::with(config, LocalBus::new()).await;
        let job = signed(&worker, n, &compiled).await;
        let _ = worker.dispatch((fixture::TOKEN, 1), JobSpec::Execute(Box::new(job))).await;
        let spinning = || processes_named(&exe, process).into_iter().find(|pid| cpu_ticks(*pid) >= 5);
        let pid = until(spinning).await;
        assert_confined(pid, &format!("case {n}, {process}")).await;
        worker.worker.abort();
        drop(worker);
        until(|| processes_of(&exe).is_empty().then_some(())).await;
        fs::remove_file(exe).unwrap();
    }
}

/// Opening files, sockets, programs and new machine code: the first of them ends the process.
#[tokio::test]
#[cfg(target_arch = "x86_64")]
async fn machine_code_of_a_hostile_compiler_that_makes_a_forbidden_call_is_killed() {
    let runner = runner(Path::new(WORKER));
    for call in [libc::SYS_openat, libc::SYS_socket, libc::SYS_execve, libc::SYS_memfd_create, libc::SYS_ptrace] {
        for (process, compiled) in cases(&calls(call)).await {
            let artifact = TestArtifact::new(&compiled);
            let job = ExecuteJob { cpu_limit: AMPLE, ..execute_job(b"", ExecutorParams::default()) };
            let outcome = runner.execute(&job, artifact.file(), Bytes::new()).await.0;
            match (process, &outcome) {
                ("pvf-execute", ExecuteOutcome::Ambiguous(AmbiguousReason::JobDeath(how))) => {
                    assert_eq!(how, &format!("signal {}", libc::SIGSYS), "call {call}");
                }
                // No job has run.
                ("pvf-template", ExecuteOutcome::Internal(InternalError::Kernel(why))) => {
                    assert!(why.contains("did not become ready") && why.contains("wait status 0x1f"), "{call}: {why}");
                }
                _ => panic!("call {call} in {process}: {outcome:?}"),
            }
        }
    }
}

/// What is mapped is what was verified: not what the path leads to, nor what the file became.
#[tokio::test]
async fn a_copy_that_was_changed_is_not_mapped() {
    let runner = runner(Path::new(WORKER));
    let artifact = TestArtifact::new(&compiled(&guest("")).await);
    let opened = artifact.file().open().unwrap();
    let evil = replaced(compiled(&guest("")).await, SPIN);
    let other = artifact.path().with_extension("other");
    fs::write(&other, &evil.code).unwrap();
    fs::rename(&other, artifact.path()).unwrap();
    let job = execute_job(b"", ExecutorParams::default());
    // The result of this guest does not decode.
    let outcome = runner.execute(&job, &opened, Bytes::new()).await.0;
    assert!(matches!(outcome, ExecuteOutcome::Invalid(_)), "{outcome:?}");
    let cold = common::runner(Path::new(WORKER));
    let outcome = cold.execute(&job, artifact.file(), Bytes::new()).await.0;
    assert!(common::refused(outcome).contains("is damaged"));
}
