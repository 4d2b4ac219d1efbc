//! A runtime: its sizes, imports and exports, and what its preparation takes.

use super::{
    checking::Checking,
    local::Local,
    module::ModuleFacts,
    report::{Quantity, Row, Section, State},
};
use crate::{ExecuteRequest, Pvf, tool::failure::Failure};
use pvf_shared::{
    Bytes,
    candidate::{BlockDataForm, CandidateContext},
    client::Answer,
    ids::StorageRoot,
    job::JobUsage,
    params::PvfPrepKind,
    priority::ExecuteKind,
    verdict::{Blame, Outcome},
};
use pvf_worker::wasm::{CpuBaseline, RuntimeVersion};

/// Imports that are named, at most.
const NAMED: usize = 8;
/// One kibibyte.
const KIB: u64 = 1024;

/// A runtime that was measured.
pub(crate) struct Runtime {
    /// Name of its file.
    pub(crate) name: String,
    /// The code as it would be submitted.
    pub(crate) code: Bytes,
    /// For requests.
    pub(crate) pvf: Pvf,
    /// What its wasm says; an error if it does not parse.
    pub(crate) module: Result<ModuleFacts, String>,
    /// What the preparation used; `None` if it is not known.
    pub(crate) preparation: Option<JobUsage>,
    /// Size of the artifact, bytes.
    pub(crate) artifact: Option<u64>,
    prepared: bool,
    rows: Vec<Row>,
}

impl Runtime {
    /// Measures a runtime.
    ///
    /// # Errors
    /// The host does not answer.
    pub(crate) async fn measure(checking: &Checking<'_>, name: String, code: Bytes) -> Result<Self, Failure> {
        let network = checking.network;
        let pvf = network.pvf(code.clone());
        let module = ModuleFacts::read(&code, network.code_bomb_limit);
        let mut runtime =
            Self { name, code, pvf, module, preparation: None, artifact: None, prepared: false, rows: vec![] };
        runtime.sizes(checking);
        runtime.imports_and_exports(checking);
        checking.now(format!("prechecking {}", runtime.name));
        let host = &checking.target.host;
        let answer = checking.progress.during(host, host.precheck_pvf(runtime.pvf.clone())).await?;
        runtime.preparation(checking, &answer).await?;
        if runtime.prepared {
            runtime.instantiation(checking).await?;
        }
        Ok(runtime)
    }

    /// Whether the host prepared it.
    pub(crate) fn is_prepared(&self) -> bool {
        self.prepared
    }

    /// The version that it says it has.
    pub(crate) fn version(&self) -> Option<&RuntimeVersion> {
        self.module.as_ref().ok().and_then(|module| module.version.as_ref())
    }

    /// What it is.
    pub(crate) fn facts(&self) -> Vec<(&'static str, String)> {
        let version = match self.version() {
            Some(version) => format!("{}, {} {}", self.name, version.spec_name, version.spec_version),
            None => format!("{}, which says no version", self.name),
        };
        // The hash by which governance authorises an upgrade is that of the code as submitted.
        vec![("runtime", version), ("code hash", format!("0x{}", self.pvf.code_hash()))]
    }

    /// The rows.
    pub(crate) fn section(&self) -> Section {
        Section { title: format!("runtime {}", self.name), rows: self.rows.clone() }
    }

    fn sizes(&mut self, checking: &Checking<'_>) {
        let bytes = |n: u32| Quantity::Bytes(n.into());
        let limit = checking.network.limits().max_code_size.map(bytes);
        let size = Quantity::Bytes(self.code.len() as u64);
        self.rows.push(Row::limited("code-size", size, limit, checking.thresholds));
        let bomb_limit = bytes(checking.network.code_bomb_limit);
        self.rows.push(match &self.module {
            Ok(module) => {
                let size = Quantity::Bytes(module.size);
                Row::limited("code-decompressed", size, Some(bomb_limit), checking.thresholds)
            }
            Err(why) => {
                let note = format!("{why}; the limit is {}; is the file complete?", bomb_limit.shown());
                let row = Row::fact("code-decompressed", "-", State::Failed);
                Row { limit: Some(bomb_limit), ..row }.with_note(note)
            }
        });
    }

    fn imports_and_exports(&mut self, checking: &Checking<'_>) {
        let Ok(module) = &self.module else { return };
        let found = module.imports_under(&checking.network.executor_params);
        let mut value = format!("{} of the host", found.known);
        if found.of_nodes > 0 {
            value += &format!(", {} of nodes", found.of_nodes);
        }
        let row = match (&found.unknown[..], &found.not_enabled[..]) {
            ([], []) if found.of_nodes > 0 => {
                Row::fact("imports", value, State::Ok).with_note("those of nodes are not called in a validation")
            }
            ([], []) => Row::fact("imports", value, State::Ok),
            ([], missing) => Row::fact("imports", value, State::Failed)
                .with_note(format!("the network has not enabled: {}; a call fails", list(missing))),
            (unknown, _) => Row::fact("imports", value, State::Failed)
                .with_note(format!("the host has no: {}; a block that calls it is invalid", list(unknown))),
        };
        self.rows.push(row);
        let wrong = module.wrong_exports();
        self.rows.push(match &wrong[..] {
            [] => Row::fact("exports", "validate_block, __heap_base, memory", State::Ok),
            wrong => Row::fact("exports", "incomplete", State::Failed)
                .with_note(format!("{}; no block is valid", wrong.join(", "))),
        });
    }

    async fn preparation(&mut self, checking: &Checking<'_>, answer: &Answer) -> Result<(), Failure> {
        match answer.outcome.blame() {
            Blame::NoParty if matches!(answer.outcome, Outcome::PrecheckOk) => {
                self.prepared = true;
                self.rows.push(Row::fact("precheck", "passes", State::Ok));
            }
            Blame::Code => {
                let why = answer.outcome.reason().unwrap_or_default();
                self.rows.push(Row::fact("precheck", "fails", State::Failed).with_note(why));
            }
            _ => {
                let why = answer.outcome.reason().unwrap_or_default();
                self.rows.push(Row::fact("precheck", "no result", State::NoResult).with_note(why));
            }
        }
        self.artifact = answer.artifact.as_ref().map(|artifact| artifact.bytes).filter(|bytes| *bytes > 0);
        let measured = answer.usage.preparation.as_ref().map(|of| of.usage);
        match measured {
            Some(usage) => self.costs(checking, usage, None),
            None if self.prepared => {
                // The artifact was in the store already.
                checking.now(format!("compiling {}", self.name));
                let local = Local::new(checking, (&self.pvf, &self.code), CpuBaseline::of_this_machine())?;
                match local.compile(0).await {
                    Ok((_, usage)) => {
                        let note = "measured on this machine: the host had the artifact already";
                        self.costs(checking, usage, Some(note));
                    }
                    Err(failure) => self
                        .rows
                        .push(Row::fact("precheck-cpu", "no result", State::NoResult).with_note(failure.to_string())),
                }
            }
            None => {}
        }
        if let Some(bytes) = self.artifact {
            self.rows.push(Row::info("artifact-size", Quantity::Bytes(bytes)));
        }
        Ok(())
    }

    /// The rows about what the preparation used.
    fn costs(&mut self, checking: &Checking<'_>, usage: JobUsage, note: Option<&str>) {
        let (params, thresholds) = (&checking.network.executor_params, checking.thresholds);
        self.preparation = Some(usage);
        for (check, kind) in [("precheck-cpu", PvfPrepKind::Precheck), ("prepare-cpu", PvfPrepKind::Prepare)] {
            let limit = Some(Quantity::Time(params.prep_timeout(kind)));
            let row = Row::limited(check, Quantity::Time(usage.cpu), limit, thresholds);
            self.rows.push(Row { note: note.map(str::to_owned), ..row });
        }
        self.rows.push(match (usage.heap, usage.heap_limit) {
            (Some(heap), Some(limit)) => {
                Row::limited("prepare-memory", Quantity::Bytes(heap), Some(Quantity::Bytes(limit)), thresholds)
            }
            (_, Some(limit)) => {
                Row::info("prepare-memory", Quantity::Bytes(usage.max_rss_kib * KIB)).with_note(format!(
                    "largest resident set; the heap is not known; its limit (PrecheckingMaxMemory) is {}",
                    Quantity::Bytes(limit).shown()
                ))
            }
            _ => Row::info("prepare-memory", Quantity::Bytes(usage.max_rss_kib * KIB))
                .with_note("largest resident set; the network has set no limit"),
        });
    }

    /// Executes a candidate without any data: what the guest says of it does not matter, only that it is called.
    async fn instantiation(&mut self, checking: &Checking<'_>) -> Result<(), Failure> {
        let context = CandidateContext {
            parent_head: Bytes::new(),
            relay_parent_number: 0,
            relay_parent_storage_root: StorageRoot([0; 32]),
            extension: None,
            block_data_form: BlockDataForm::Decompressed,
        };
        checking.now(format!("instantiating {}", self.name));
        let request = ExecuteRequest::new(ExecuteKind::Approval, context, Bytes::new());
        let host = &checking.target.host;
        let answer = checking.progress.during(host, host.execute_pvf(self.pvf.clone(), request)).await?;
        let why = answer.outcome.reason().unwrap_or_default();
        self.rows.push(match (answer.outcome.blame(), &answer.outcome) {
            (Blame::Ours, _) | (_, Outcome::Expired) => {
                Row::fact("instantiation", "no result", State::NoResult).with_note(why)
            }
            (Blame::NoParty | Blame::Candidate, _) => Row::fact("instantiation", "works", State::Ok),
            (Blame::Code | Blame::Ambiguous, _) => Row::fact("instantiation", "fails", State::Failed).with_note(why),
        });
        Ok(())
    }
}

fn list(names: &[String]) -> String {
    let more = names.len().saturating_sub(NAMED);
    let shown = names.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
    if more > 0 { format!("{shown} and {more} more") } else { shown }
}
