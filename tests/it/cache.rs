//! The folder for copies of artifacts (`--cache-dir`), with real workers: whatever happens to it, a valid candidate is
//! valid at the first attempt, or the verdict is `internal`.

use pvf_guests::distinct_adder;
use pvf_shared::verdict::{InternalError, Outcome};
use pvf_tests::{
    fleet::{Fleet, Role},
    host::artifacts_in,
    processes::{has_ended, processes_named, signal, until},
    requests::{good_block, pvf_of},
};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// A fleet without an execute worker, and a folder for copies.
async fn fleet() -> (Fleet, PathBuf) {
    let fleet = Fleet::start(1, 0).await;
    let folder = fleet.folder().join("cache");
    (fleet, folder)
}

fn add(fleet: &mut Fleet, folder: &Path, more: &[&str]) {
    let arguments = [&["--cache-dir", folder.to_str().unwrap()], more].concat();
    fleet.add_with(Role::Execute, &arguments);
}

/// A valid candidate of this code is valid at the first attempt.
async fn succeeds(fleet: &Fleet, code: u32) {
    let answer = fleet.host.execute_pvf(pvf_of(distinct_adder(code)), good_block()).await.unwrap();
    assert!(matches!(answer.outcome, Outcome::Valid(_)), "code {code}: {answer:?}");
    assert_eq!(answer.attempts, 1, "code {code}: {answer:?}");
}

/// The folders of workers.
fn folders(folder: &Path) -> Vec<PathBuf> {
    let mut folders: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort_unstable();
    folders
}

/// The copies of a worker and their bytes.
fn copies(folder: &Path) -> Vec<u64> {
    let [worker] = &folders(folder)[..] else { panic!("one worker") };
    // A copy may be deleted meanwhile.
    let entries = fs::read_dir(worker).unwrap().flatten();
    entries.filter_map(|copy| Some(copy.metadata().ok()?.len())).collect()
}

/// Ends the templates of a worker, so that the next execution reads its copy.
async fn end_templates(worker: i32) {
    let templates = processes_named(worker, "pvf-template");
    assert!(!templates.is_empty());
    for template in templates {
        signal(template, libc::SIGKILL);
        until("the template ends", async || has_ended(template).then_some(())).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_that_is_tidied_away_is_created_again() {
    let (mut fleet, folder) = fleet().await;
    add(&mut fleet, &folder, &[]);
    fleet.complete(1, 1).await;
    succeeds(&fleet, 1).await;
    let [first] = &folders(&folder)[..] else { panic!("one worker") };
    fs::remove_dir_all(&folder).unwrap();
    // It has a template, so it needs no copy; the second one needs a folder.
    succeeds(&fleet, 1).await;
    succeeds(&fleet, 2).await;
    let [second] = &folders(&folder)[..] else { panic!("one worker") };
    assert_ne!(first, second);
    assert_eq!(copies(&folder).len(), 1);
    // Without its template the first one needs its copy again.
    end_templates(fleet.execute[0].pid()).await;
    succeeds(&fleet, 1).await;
    assert_eq!(copies(&folder).len(), 2);
    // Only the files are tidied away.
    for copy in fs::read_dir(second).unwrap() {
        fs::remove_file(copy.unwrap().path()).unwrap();
    }
    end_templates(fleet.execute[0].pid()).await;
    succeeds(&fleet, 1).await;
    assert_eq!(copies(&folder).len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_folder_of_a_killed_worker_is_removed_and_that_of_a_running_one_is_not() {
    let (mut fleet, folder) = fleet().await;
    add(&mut fleet, &folder, &[]);
    fleet.complete(1, 1).await;
    succeeds(&fleet, 1).await;
    let killed = folders(&folder);
    assert_eq!(killed.len(), 1);
    fleet.execute[0].kill();
    assert_eq!(folders(&folder), killed);
    add(&mut fleet, &folder, &[]);
    let started = until("the folder of the killed worker is removed", async || {
        let now = folders(&folder);
        (now.len() == 1 && now != killed).then_some(now)
    });
    let started = started.await;
    succeeds(&fleet, 1).await;
    assert_eq!(copies(&folder).len(), 1);
    // Another worker leaves it alone, and ends without a trace.
    add(&mut fleet, &folder, &[]);
    until("the other worker has a folder", async || (folders(&folder).len() == 2).then_some(())).await;
    assert!(folders(&folder).contains(&started[0]));
    assert_eq!(fs::read_dir(&started[0]).unwrap().count(), 1);
    signal(fleet.execute[2].pid(), libc::SIGTERM);
    until("the other worker removes its folder", async || (folders(&folder) == started).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_bytes_of_copies_are_bounded() {
    let (mut fleet, folder) = fleet().await;
    for code in 0..6 {
        fleet.host.precheck_pvf(pvf_of(distinct_adder(code))).await.unwrap();
    }
    let sizes = artifacts_in(fleet.store()).into_iter().map(|file| fs::metadata(file).unwrap().len());
    let bound = sizes.max().unwrap() * 5 / 2;
    add(&mut fleet, &folder, &["--cache-bytes", &format!("{bound}B")]);
    fleet.complete(1, 1).await;
    for code in (0..6).chain(0..6) {
        succeeds(&fleet, code).await;
        let copies = copies(&folder);
        assert!(copies.iter().sum::<u64>() <= bound, "{copies:?} of at most {bound} bytes");
    }
    assert_eq!(copies(&folder).len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_artifact_over_the_bound_is_internal() {
    let (mut fleet, folder) = fleet().await;
    add(&mut fleet, &folder, &["--cache-bytes", "1KiB"]);
    fleet.complete(1, 1).await;
    let answer = fleet.host.execute_pvf(pvf_of(distinct_adder(1)), good_block()).await.unwrap();
    match answer.outcome {
        Outcome::Internal(InternalError::Kernel(why)) => assert!(why.contains("of at most 1.0 KiB"), "{why}"),
        other => panic!("{other:?}"),
    }
}

/// On a file system with room for two copies, more are executed than it has room for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_file_system_is_made_room_on() {
    let (mut fleet, _) = fleet().await;
    for code in 0..6 {
        fleet.host.precheck_pvf(pvf_of(distinct_adder(code))).await.unwrap();
    }
    let sizes = artifacts_in(fleet.store()).into_iter().map(|file| fs::metadata(file).unwrap().len());
    let room = sizes.max().unwrap() * 5 / 2;
    let mount = format!("mount -t tmpfs -o size={room} tmpfs /mnt");
    fleet.add_after(Role::Execute, &mount, &["--cache-dir", "/mnt/cache"]);
    fleet.complete(1, 1).await;
    for code in (0..6).chain(0..6) {
        succeeds(&fleet, code).await;
    }
}
