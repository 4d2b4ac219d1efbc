//! `pvf demo`: what the host does, shown on a bundled parachain.

use super::{
    Failure,
    args::{Demo, Global},
    output,
    target::{Target, store_url},
};
use crate::{Answer, ExecuteRequest, Pvf};
use pvf_guests::adder::{ADDER, Block, Head};
use pvf_shared::{
    bus::nats::without_secrets,
    candidate::{BlockDataForm, CandidateContext},
    ids::StorageRoot,
    params::ExecutorParams,
    priority::ExecuteKind,
    units::human_bytes,
    verdict::Outcome,
};
use std::path::Path;

/// Blocks of the chain that is shown.
const BLOCKS: u64 = 5;

fn request(number: u32, head: &Head, block: &Block) -> ExecuteRequest {
    let context = CandidateContext {
        parent_head: head.encode().into(),
        relay_parent_number: number,
        relay_parent_storage_root: StorageRoot([0; 32]),
        extension: None,
        block_data_form: BlockDataForm::MaybeCompressed,
    };
    ExecuteRequest::new(ExecuteKind::Backing, context, block.encode())
}

fn say(global: &Global, text: &str) {
    if !global.json {
        println!("{text}");
    }
}

fn show(global: &Global, name: &str, answer: &Answer) {
    if global.json {
        println!("{}", output::json(name, answer));
    } else {
        println!("  {}", output::line(name, answer));
    }
}

/// Where the demo's inputs are written for whoever wants to try the other commands on them.
struct Files<'a>(Option<&'a Path>);

impl<'a> Files<'a> {
    fn new(folder: Option<&'a Path>) -> Result<Self, Failure> {
        if let Some(folder) = folder {
            std::fs::create_dir_all(folder).map_err(|e| Self::failed(folder, &e))?;
        }
        Ok(Self(folder))
    }

    fn failed(path: &Path, error: &std::io::Error) -> Failure {
        Failure::Input(format!("--files: {}: {error}", path.display()))
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), Failure> {
        let Some(folder) = self.0 else { return Ok(()) };
        let path = folder.join(name);
        std::fs::write(&path, bytes).map_err(|e| Self::failed(&path, &e))
    }

    fn write_params(&self, name: &str, request: &ExecuteRequest) -> Result<(), Failure> {
        self.write(name, &request.context.encode_with(request.block_data.to_vec()))
    }
}

/// Prepares the bundled adder, executes a chain of blocks and a bad one. Exit code 0 only if the chain is valid
/// and the bad block is not.
pub(crate) async fn demo(global: &Global, args: &Demo) -> Result<u8, Failure> {
    let files = Files::new(args.files.as_deref())?;
    files.write("adder.wasm", ADDER)?;
    // A folder of its own, so that there is something to prepare each time.
    let folder = tempfile::tempdir().map_err(|e| Failure::NotAnswered(format!("no temporary folder: {e}")))?;
    let target = match (&global.nats, &global.store) {
        (None, None) => Target::embedded(global, folder.path().display().to_string()).await?,
        _ => Target::open(global).await?,
    };
    let place = match &global.nats {
        Some(url) => format!("the fleet behind {}", without_secrets(url)),
        None => "the embedded host (coordinator and workers in this process, each job in a process of its own)".into(),
    };
    say(global, &format!("A parachain that adds numbers, on {place}."));
    // Against a fleet, its artifacts are where its workers put them, and not for us to say.
    if global.nats.is_none() && global.store.is_some() {
        say(global, &format!("Artifacts: {}", store_url(global)?));
    }
    let pvf = Pvf::new(ADDER, ExecutorParams::default());
    say(
        global,
        &format!(
            "\n1. Precheck its validation code: {} of wasm, code hash 0x{}",
            human_bytes(ADDER.len() as u64),
            pvf.code_hash()
        ),
    );
    let answer = target.host.precheck_pvf(pvf.clone()).await?;
    show(global, "precheck", &answer);
    let mut fine = matches!(answer.outcome, Outcome::PrecheckOk);

    say(global, &format!("\n2. Validate a chain of {BLOCKS} blocks, each on the head that the one before gave"));
    let mut head = Head::genesis();
    let mut state = 0;
    for n in 1..=BLOCKS {
        let block = Block { state, increment: n };
        let request = request(n as u32, &head, &block);
        files.write_params(&format!("block-{n}.params"), &request)?;
        let answer = target.host.execute_pvf(pvf.clone(), request).await?;
        show(global, &format!("block {n} ({state} + {n})"), &answer);
        let expected = head.next(&block);
        fine &= matches!(&answer.outcome, Outcome::Valid(result) if result.head_data == expected.encode());
        head = expected;
        state = block.next_state();
    }

    say(global, "\n3. Validate a bad block: it claims a state that its parent does not have");
    let bad = Block { state: state + 1, increment: 1 };
    let request = request(BLOCKS as u32 + 1, &head, &bad);
    files.write_params("bad-block.params", &request)?;
    let answer = target.host.execute_pvf(pvf, request).await?;
    show(global, "bad block", &answer);
    fine &= matches!(answer.outcome, Outcome::Invalid(_));
    target.close().await;

    if fine {
        say(global, &format!("\nAs it should be: {BLOCKS} valid blocks, the state is {state}, and 1 invalid block."));
        if let Some(folder) = &args.files {
            let folder = folder.display();
            say(global, &format!("Try it yourself: pvf execute {folder}/adder.wasm --params {folder}/*.params"));
        }
        Ok(0)
    } else {
        Err(Failure::NotAnswered("the demo did not go as it should: see above".into()))
    }
}
