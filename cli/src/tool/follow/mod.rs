//! `pvf follow`: asks a relay chain's node which codes validators vote on and which parachains are about to upgrade,
//! and has the fleet prepare them before they are needed.
//!
//! A code is announced with the executor parameters of the session, and, if others are decided already, with those of
//! the sessions to come. What was prepared is not announced again.

pub(crate) mod args;

use super::{
    args::Global,
    failure::{Exit, Failure},
    network::{
        fetch::{self, What},
        rpc::Node,
        snapshot::Snapshot,
    },
    output,
    target::Target,
};
use crate::Pvf;
use args::Follow;
use pvf_shared::{
    Bytes,
    ids::{CodeHash, PrepHash},
    params::ExecutorParams,
    signals::Shutdown,
    telemetry::to_stderr,
    units::DEFAULT_CODE_BOMB_LIMIT,
};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

/// A code, and the executor parameters that decide about its artifact.
type Prepared = (CodeHash, PrepHash);

pub(crate) async fn follow(global: &Global, args: &Follow) -> Result<Exit, Failure> {
    let node = Node::new("--rpc", &args.rpc)?;
    let target = Target::open(global).await?;
    if global.bus.is_none() {
        to_stderr(format_args!("note: without --nats the codes are prepared in this process's store, for no fleet"));
    }
    let mut following = Following { global, args, node, target, prepared: BTreeSet::new(), worst: Exit::Success };
    let mut stop = Shutdown::catch().map_err(|e| Failure::no_result("signals", e))?;
    loop {
        let turn = tokio::select! {
            () = stop.asked() => return following.end().await,
            turn = following.turn() => turn,
        };
        match turn {
            Err(failure) if args.once => return Err(failure),
            // The node may be back at the next time.
            Err(failure) => to_stderr(format_args!("error: {failure}")),
            Ok(()) if args.once => return following.end().await,
            Ok(()) => {}
        }
        tokio::select! {
            () = stop.asked() => return following.end().await,
            () = tokio::time::sleep(args.every) => {}
        }
    }
}

struct Following<'a> {
    global: &'a Global,
    args: &'a Follow,
    node: Node,
    target: Target,
    prepared: BTreeSet<Prepared>,
    worst: Exit,
}

impl Following<'_> {
    async fn end(self) -> Result<Exit, Failure> {
        self.target.close().await;
        // The end of a process that runs until it is told to end is a success, whatever it saw.
        Ok(if self.args.once { self.worst } else { Exit::Success })
    }

    /// Asks the node, and prepares what is new.
    async fn turn(&mut self) -> Result<(), Failure> {
        let snapshot = fetch::fetch(&self.node, None, What::LimitsAndParachains).await?;
        let at = snapshot.block.as_ref().map(|block| block.hash.clone()).unwrap_or_default();
        let wanted = self.wanted(&snapshot, &at).await?;
        let limit = snapshot.limits.validation_code_bomb_limit;
        let limit = self.args.code_bomb_limit.or(limit).unwrap_or(DEFAULT_CODE_BOMB_LIMIT);
        for (hash, why) in wanted {
            let sessions =
                sessions(&snapshot).into_iter().filter(|of| !self.prepared.contains(&(hash, of.prep_hash())));
            let sessions: Vec<_> = sessions.collect();
            if sessions.is_empty() {
                continue;
            }
            let code = match fetch::code(&self.node, hash, &at).await {
                Ok(code) => Bytes::from(code),
                Err(error) => {
                    to_stderr(format_args!("error: {error} ({why})"));
                    self.worst = self.worst.max(Exit::NoResult);
                    continue;
                }
            };
            for params in sessions {
                let pvf = Pvf::with_known_hash(hash, code.clone(), params.clone()).with_code_bomb_limit(limit);
                // What has no result is announced again at the next time.
                if self.prepare(pvf, &why).await? {
                    self.prepared.insert((hash, params.prep_hash()));
                }
            }
        }
        Ok(())
    }

    /// The codes to prepare, each with the reason.
    async fn wanted(&self, snapshot: &Snapshot, at: &str) -> Result<BTreeMap<CodeHash, String>, Failure> {
        let mut wanted = BTreeMap::new();
        for para in &snapshot.parachains {
            if let Some(hash) = para.future_code_hash {
                wanted.entry(hash).or_insert_with(|| format!("parachain {} is about to upgrade to it", para.id));
            }
            if let Some(hash) = para.code_hash.filter(|_| self.args.all) {
                wanted.entry(hash).or_insert_with(|| format!("the current code of parachain {}", para.id));
            }
        }
        for hash in fetch::codes_to_precheck(&self.node, at).await? {
            wanted.entry(hash).or_insert_with(|| "validators vote on it".into());
        }
        Ok(wanted)
    }

    /// Announces a code; gives whether that has a result.
    async fn prepare(&mut self, pvf: Pvf, why: &str) -> Result<bool, Failure> {
        let name = format!("0x{}", pvf.code_hash());
        to_stderr(format_args!("{name}: {why}"));
        // The embedded host ends with this process, and a single turn is for its result.
        let wait = self.args.once || self.global.bus.is_none();
        let answers = self.target.host.heads_up(vec![pvf], wait).await?;
        let mut has_result = true;
        for answer in &answers {
            let exit = output::exit(&answer.outcome);
            has_result &= exit != Exit::NoResult;
            self.worst = self.worst.max(exit);
            if self.global.json {
                let mut object = output::json(&name, answer);
                object["why"] = json!(why);
                outln!("{object}");
            } else {
                outln!("{}", output::text(&name, answer));
            }
        }
        Ok(has_result)
    }
}

/// The executor parameters of the session, and those of sessions to come that lead to other artifacts.
fn sessions(snapshot: &Snapshot) -> Vec<&ExecutorParams> {
    let mut all: Vec<&ExecutorParams> = vec![&snapshot.executor_params];
    for pending in &snapshot.pending {
        if all.iter().all(|params| params.prep_hash() != pending.executor_params.prep_hash()) {
            all.push(&pending.executor_params);
        }
    }
    all
}
