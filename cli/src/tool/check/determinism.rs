//! Runs that must not differ: the same artifact with any number of compiler threads, and the same results of machine
//! code for any CPU level. They run on this machine, with a fleet or without one.

use super::{
    checking::Checking,
    local::Local,
    povs::Executed,
    report::{Row, Section, State},
    runtime::Runtime,
};
use crate::tool::failure::Failure;
use parity_scale_codec::Encode as _;
use pvf_worker::wasm::CpuBaseline;

/// PoVs that are executed on each level, at most.
const MAX_POVS: usize = 16;

/// The section about a runtime. `executed` are its PoVs with the results so far.
pub(super) async fn section(checking: &Checking<'_>, runtime: &Runtime, executed: &[Executed]) -> Section {
    let title = format!("determinism of {}", runtime.name);
    let rows = rows(checking, runtime, executed).await;
    let rows = rows.unwrap_or_else(|failure| {
        vec![Row::fact("threads", "no result", State::NoResult).with_note(failure.to_string())]
    });
    Section { title, rows }
}

async fn rows(checking: &Checking<'_>, runtime: &Runtime, executed: &[Executed]) -> Result<Vec<Row>, Failure> {
    let mut rows = Vec::new();
    let baseline = CpuBaseline::of_this_machine();
    checking.now(format!("compiling {} with one thread and with all", runtime.name));
    let own = Local::new(checking, (&runtime.pvf, &runtime.code), baseline)?;
    let (single, all) = (own.compile(1).await?.0, own.compile(0).await?.0);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    rows.push(match single.code == all.code {
        true => Row::fact("threads", format!("the same artifact with 1 and {cores} compiler threads"), State::Ok),
        false => Row::fact("threads", "artifacts differ", State::Failed)
            .with_note("the compiler of this host is not deterministic: please report it"),
    });
    let lower = [CpuBaseline::V1, CpuBaseline::V2, CpuBaseline::V3];
    let lower: Vec<_> = lower.into_iter().filter(|level| *level < baseline).collect();
    let valid: Vec<_> = executed.iter().filter_map(|of| valid_on(of, runtime)).take(MAX_POVS).collect();
    if !valid.is_empty() && !lower.is_empty() {
        let row = levels_row(checking, runtime, (&own, &all, baseline), (&lower, &valid)).await;
        rows.push(row.unwrap_or_else(|failure| {
            Row::fact("cpu-levels", "no result", State::NoResult).with_note(failure.to_string())
        }));
    }
    Ok(rows)
}

/// A PoV that the runtime accepts, and the encoding of its result.
fn valid_on<'a>(of: &'a Executed, runtime: &Runtime) -> Option<(&'a Executed, Vec<u8>)> {
    let on = of.on.iter().flatten().find(|execution| execution.runtime == runtime.pvf.code_hash())?;
    Some((of, on.result()?.encode()))
}

/// A level, what compiles for it, and what that gave.
type Compiled<'a> = (&'a Local<'a>, &'a pvf_worker::wasm::Compiled, CpuBaseline);

async fn levels_row(
    checking: &Checking<'_>,
    runtime: &Runtime,
    own: Compiled<'_>,
    (lower, povs): (&[CpuBaseline], &[(&Executed, Vec<u8>)]),
) -> Result<Row, Failure> {
    let folder = tempfile::tempdir().map_err(|e| Failure::no_result("temporary folder", e))?;
    let mut differ = Vec::new();
    let mut compare = async |(local, compiled, level): Compiled<'_>| -> Result<(), Failure> {
        checking.now(format!("executing {} compiled for x86-64-{level}", runtime.name));
        let file = local.file(compiled, folder.path())?;
        for (of, expected) in povs {
            if local.execute(&file, &of.pov).await? != *expected {
                differ.push(format!("{} on x86-64-{level}", of.pov.short_name()));
            }
        }
        Ok(())
    };
    for level in lower {
        checking.now(format!("compiling {} for x86-64-{level}", runtime.name));
        let local = Local::new(checking, (&runtime.pvf, &runtime.code), *level)?;
        let compiled = local.compile(0).await?.0;
        compare((&local, &compiled, *level)).await?;
    }
    compare(own).await?;
    let levels = lower.iter().chain([&own.2]);
    let names = levels.map(ToString::to_string).collect::<Vec<_>>().join(", ");
    Ok(match &differ[..] {
        [] => {
            Row::fact("cpu-levels", format!("{} PoVs have the same results on x86-64-{names}", povs.len()), State::Ok)
        }
        differ => Row::fact("cpu-levels", "results differ", State::Failed)
            .with_note(format!("{}: please report it", differ.join(", "))),
    })
}
