//! `pvf demo`: prepares and executes a bundled parachain, and explains each step.

use super::{
    args::{Demo, Global},
    failure::{Exit, Failure},
    output,
    target::{Target, store_url},
};
use crate::{Answer, ExecuteRequest, Pvf};
use pvf_adder::{ADDER, Block, Head};
use pvf_shared::{
    candidate::{BlockDataForm, CandidateContext},
    ids::StorageRoot,
    params::ExecutorParams,
    priority::ExecuteKind,
    units::human_bytes,
    verdict::Outcome,
};
use std::path::Path;

/// Number of valid blocks.
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
        outln!("{text}");
    }
}

fn show(global: &Global, name: &str, answer: &Answer) {
    if global.json {
        outln!("{}", output::json(name, answer));
    } else {
        outln!("  {}", output::text(name, answer));
    }
}

/// The folder of `--files`, which the demo writes its inputs to.
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

/// Prepares the bundled adder, then executes a chain of valid blocks and an invalid block. Succeeds only if each
/// verdict is the expected one.
pub(crate) async fn demo(global: &Global, args: &Demo) -> Result<Exit, Failure> {
    let files = Files::new(args.files.as_deref())?;
    files.write("adder.wasm", ADDER)?;
    // A new store by default, so that every run has something to prepare.
    let folder = tempfile::tempdir().map_err(|e| Failure::no_result("temporary folder", e))?;
    let target = match (&global.bus, &global.store) {
        (None, None) => Target::embedded(global, folder.path().display().to_string()).await?,
        _ => Target::open(global).await?,
    };
    let place = match &global.bus {
        Some(bus) => format!("the fleet at {}", bus.shown()),
        None => {
            "the embedded host: coordinator and workers in this process, each job in a sandboxed child process".into()
        }
    };
    say(
        global,
        &format!("The parachain: an adder, whose state is one number and whose blocks add to it.\nThe host: {place}."),
    );
    // The store of a fleet is that of its workers, which may be another one.
    if global.bus.is_none() && global.store.is_some() {
        say(global, &format!("The store of compiled artifacts: {}", store_url(global)?));
    }
    let pvf = Pvf::new(ADDER, ExecutorParams::default());
    say(
        global,
        &format!(
            "\n1. Precheck the validation code, that is, prepare it under strict limits: {} of wasm, code hash 0x{}",
            human_bytes(ADDER.len() as u64),
            pvf.code_hash()
        ),
    );
    let answer = target.host.precheck_pvf(pvf.clone()).await?;
    show(global, "precheck", &answer);
    let mut as_expected = matches!(answer.outcome, Outcome::PrecheckOk);

    say(global, &format!("\n2. Execute {BLOCKS} valid blocks, each on the head of the block before it"));
    let mut head = Head::genesis();
    let mut state = 0;
    for n in 1..=BLOCKS {
        let block = Block { state, increment: n };
        let request = request(n as u32, &head, &block);
        files.write_params(&format!("block-{n}.params"), &request)?;
        let answer = target.host.execute_pvf(pvf.clone(), request).await?;
        show(global, &format!("block {n} ({state} + {n})"), &answer);
        let expected = head.next(&block);
        as_expected &= matches!(&answer.outcome, Outcome::Valid(result) if result.head_data == expected.encode());
        head = expected;
        state = block.next_state();
    }

    say(global, "\n3. Execute an invalid block, which claims a state that its parent does not have");
    let bad = Block { state: state + 1, increment: 1 };
    let request = request(BLOCKS as u32 + 1, &head, &bad);
    files.write_params("bad-block.params", &request)?;
    let answer = target.host.execute_pvf(pvf, request).await?;
    show(global, "bad block", &answer);
    as_expected &= matches!(answer.outcome, Outcome::Invalid(_));
    target.close().await;

    if as_expected {
        say(global, &format!("\nAs expected: {BLOCKS} valid blocks, the state is {state}, and 1 invalid block."));
        if let Some(folder) = &args.files {
            let folder = folder.display();
            say(global, &format!("Next: pvf execute {folder}/adder.wasm --params {folder}/*.params"));
        }
        Ok(Exit::Success)
    } else {
        Err(Failure::NoResult("unexpected verdict, see above".into()))
    }
}
