//! The PoVs of a check: each is executed on the runtimes that it is for, and its margins are reported.
//!
//! * `execute` runs them, `rows` has the rows of one, this module decides which runtime a PoV belongs to.

mod execute;
mod rows;

pub(super) use execute::{Blocks, Executed, Execution, execute_all};

use super::{
    checking::Checking,
    report::{OF_ALL_POVS, PovReport, Quantity, Report, Row, Section, State},
    runtime::Runtime,
};
use crate::tool::explain;
use pvf_shared::ids::CodeHash;
use pvf_worker::supervise::Explained;

/// What the block that asks for a new code is called.
const ASKS: &str = "asks for the upgrade";
/// What the first block that only the second runtime accepts is called.
const FIRST: &str = "first block on the new runtime";

/// Reports each PoV, and all together.
pub(super) async fn report(checking: &Checking<'_>, runtimes: &[Runtime], all: &[Executed], report: &mut Report) {
    if all.is_empty() {
        report
            .notes
            .push("No PoVs: nothing is known of the blocks. Collators export them with --export-pov-to-path.".into());
        return;
    }
    let mut found_first = false;
    for (n, executed) in all.iter().enumerate() {
        let parents = all.iter().enumerate().filter(|(other, _)| *other != n).map(|(_, of)| &of.pov.parent_head[..]);
        let parents: Vec<_> = parents.filter(|parent| *parent != &executed.pov.parent_head[..]).collect();
        for at in executed.shown_on() {
            let Some(execution) = &executed.on[at] else { continue };
            let runtime = &runtimes[at];
            let mut rows = rows::rows(checking, executed, execution, &parents);
            let mut role = None;
            if let Some(row) = asked_for(execution, runtimes) {
                role = Some(ASKS);
                rows.push(row);
            } else if at == 1 && !found_first && (executed.is_for_new || !executed.is_valid_on(0)) {
                found_first = true;
                role = Some(FIRST);
            }
            let failed = rows.iter().any(|row| row.state == State::Failed);
            let explanation = match failed && checking.explain.explain {
                true => explanation(checking, runtime, executed).await,
                false => vec![],
            };
            let (file, name) = (executed.pov.path.display().to_string(), executed.pov.short_name());
            let runtime = runtime.name.clone();
            report.povs.push(PovReport { at: (n, at), file, name, runtime, role, rows, explanation });
        }
    }
    let skipped = all.iter().filter(|of| of.on.iter().all(Option::is_none)).count();
    if skipped > 0 {
        report.notes.push(format!("{skipped} PoVs were not executed: the runtime cannot be prepared."));
    }
    if report.povs.is_empty() {
        return;
    }
    stack(checking, runtimes, all, report).await;
    report.sections.push(Section { title: OF_ALL_POVS.into(), rows: together(&report.povs) });
}

/// The row about the code that a block asks for.
fn asked_for(execution: &Execution, runtimes: &[Runtime]) -> Option<Row> {
    let code = execution.result()?.new_validation_code.as_ref()?;
    let hash = CodeHash::of(code);
    let shown = format!("0x{hash}");
    Some(match runtimes.get(1) {
        Some(new) if new.pvf.code_hash() == hash => {
            Row::fact("upgrade", shown, State::Ok).with_note(format!("the code is that of {}", new.name))
        }
        Some(new) => {
            Row::fact("upgrade", shown, State::Warning).with_note(format!("the code is not that of {}", new.name))
        }
        None => Row::fact("upgrade", shown, State::Info).with_note("the block asks for this code"),
    })
}

async fn explained(checking: &Checking<'_>, runtime: &Runtime, executed: &Executed) -> Explained {
    checking.now(format!("diagnostic run of {} on {}", executed.pov.short_name(), runtime.name));
    let request = execute::request(checking, &executed.pov);
    checking.explainer.explain(checking.network, &runtime.code, &request).await
}

async fn explanation(checking: &Checking<'_>, runtime: &Runtime, executed: &Executed) -> Vec<String> {
    let explained = explained(checking, runtime, executed).await;
    explain::text::lines(&explained, &checking.network.executor_params, checking.explainer.level())
}

/// Adds the height of the logical stack to the slowest PoV of each runtime. It takes a diagnostic run.
async fn stack(checking: &Checking<'_>, runtimes: &[Runtime], all: &[Executed], report: &mut Report) {
    for (at, runtime) in runtimes.iter().enumerate() {
        let valid = all.iter().enumerate().filter(|(_, of)| of.is_valid_on(at));
        let slowest = valid.max_by_key(|(_, of)| of.on[at].as_ref().map(Execution::slowest));
        let Some((n, slowest)) = slowest else { continue };
        let height = match explained(checking, runtime, slowest).await {
            Explained::Called(of) => of.stack_height,
            Explained::NotPrepared(_) | Explained::Ended { .. } => None,
        };
        let row = match height {
            Some(height) => {
                let limit = Quantity::Count(checking.network.executor_params.stack_logical_max().into());
                Row::limited("stack", Quantity::Count(height.into()), Some(limit), checking.thresholds)
                    .with_note("at least, as seen at host calls of the slowest PoV")
            }
            None => Row::fact("stack", "not measured", State::Info).with_note("the diagnostic run did not end"),
        };
        let report = report.povs.iter_mut().find(|of| of.at == (n, at));
        if let Some(of) = report {
            of.rows.push(row);
        }
    }
}

/// For each check the worst row of all PoVs, with the name of its PoV.
fn together(povs: &[PovReport]) -> Vec<Row> {
    let mut rows: Vec<(Row, String)> = Vec::new();
    let several = povs.iter().any(|pov| pov.at.1 != povs[0].at.1);
    for pov in povs {
        let name = if several { format!("{} on {}", pov.name, pov.runtime) } else { pov.name.clone() };
        for row in &pov.rows {
            let rank = |row: &Row| (row.state, row.percent.unwrap_or(0.0));
            match rows.iter_mut().find(|(worst, _)| worst.check == row.check) {
                None => rows.push((row.clone(), name.clone())),
                Some(worst) if rank(row) > rank(&worst.0) => *worst = (row.clone(), name.clone()),
                Some(_) => {}
            }
        }
    }
    let named = |(row, name): (Row, String)| {
        let note = match (&row.note, row.percent) {
            (Some(note), _) => format!("{name}: {note}"),
            (None, Some(_)) => format!("most: {name}"),
            (None, None) => return row,
        };
        Row { note: Some(note), ..row }
    };
    rows.into_iter().filter(|(row, _)| row.check != "upgrade").map(named).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tool::check::report::tests::example;

    #[test]
    fn of_all_povs_the_worst_rows_are_shown_with_the_names_of_their_povs() {
        let [pov] = &example().povs[..] else { panic!("one PoV") };
        let better = PovReport { at: (1, 0), name: "better.pov".into(), rows: pov.rows[..1].to_vec(), ..pov.clone() };
        let rows = together(&[better.clone(), pov.clone()]);
        let [row] = &rows[..] else { panic!("{rows:?}") };
        assert_eq!((row.check, row.state), ("execute-cpu", State::Failed));
        assert_eq!(row.note.as_deref(), Some("0xab_7.pov: 2.1 s with the slowdown; look\u{1b}"));
        let on_other = PovReport { at: (0, 1), runtime: "b.wasm".into(), ..better };
        let rows = together(&[pov.clone(), on_other]);
        assert!(rows[0].note.as_ref().is_some_and(|note| note.starts_with("0xab_7.pov on a.wasm: ")), "{rows:?}");
    }
}
