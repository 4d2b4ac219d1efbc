//! What the commands use of a network: executor parameters and limits, given by options or by a snapshot.

use super::{
    args::LimitArgs,
    resolve,
    snapshot::{Limits, Snapshot},
};
use crate::{
    Pvf,
    tool::{failure::Failure, input, text::escaped},
};
use pvf_shared::{Bytes, params::ExecutorParams, telemetry::to_stderr, units::DEFAULT_CODE_BOMB_LIMIT};
use std::time::SystemTime;

/// The limits under which a command works.
#[derive(Debug, Clone)]
pub(crate) struct Network {
    /// The snapshot of `--network`.
    pub(crate) snapshot: Option<Snapshot>,
    /// Executor parameters: of `--executor-params`, else of the snapshot, else the default ones.
    pub(crate) executor_params: ExecutorParams,
    /// Limit of decompressed code, bytes.
    pub(crate) code_bomb_limit: u32,
    /// What options have in the place of the network's values.
    pub(crate) overridden: Vec<&'static str>,
}

impl Network {
    /// The limits that these options mean. Warns on stderr of what is old or assumed.
    pub(crate) async fn of(args: &LimitArgs) -> Result<Self, Failure> {
        let network = Self::silently(args).await?;
        network.warn();
        Ok(network)
    }

    /// The same for a command that shows the warnings in its own way.
    pub(crate) async fn silently(args: &LimitArgs) -> Result<Self, Failure> {
        let snapshot = match &args.network {
            Some(network) => Some(resolve(network).await?),
            None => None,
        };
        Self::with(snapshot, args)
    }

    fn with(snapshot: Option<Snapshot>, args: &LimitArgs) -> Result<Self, Failure> {
        let executor_params = match (&args.executor_params, &snapshot) {
            (None, Some(snapshot)) => {
                let what = format!("--network, {}", escaped(&snapshot.chain));
                input::consistent(&what, snapshot.executor_params.clone(), args.strict)?
            }
            _ => input::executor_params(args)?,
        };
        let of_network = snapshot.as_ref().and_then(|snapshot| snapshot.limits.validation_code_bomb_limit);
        let code_bomb_limit = args.code_bomb_limit.or(of_network).unwrap_or(DEFAULT_CODE_BOMB_LIMIT);
        let options = [
            ("executor parameters by --executor-params", args.executor_params.is_some()),
            ("limit of decompressed code by --code-bomb-limit", args.code_bomb_limit.is_some()),
        ];
        let overridden = options.into_iter().filter(|(_, given)| *given).map(|(what, _)| what).collect();
        Ok(Self { snapshot, executor_params, code_bomb_limit, overridden })
    }

    fn warn(&self) {
        for warning in self.snapshot.iter().flat_map(|snapshot| snapshot.warnings(SystemTime::now())) {
            to_stderr(format_args!("warning: {}", escaped(&warning)));
        }
    }

    /// The limits of a node that was asked, unless options say otherwise.
    pub(crate) fn of_node(snapshot: Snapshot, args: &LimitArgs) -> Result<Self, Failure> {
        let network = Self::with(Some(snapshot), args)?;
        network.warn();
        Ok(network)
    }

    /// Sizes and counts that the network allows; none is known without a snapshot.
    pub(crate) fn limits(&self) -> Limits {
        self.snapshot.as_ref().map(|snapshot| snapshot.limits.clone()).unwrap_or_default()
    }

    /// Validation code under these limits.
    pub(crate) fn pvf(&self, code: Bytes) -> Pvf {
        Pvf::new(code, self.executor_params.clone()).with_code_bomb_limit(self.code_bomb_limit)
    }
}
