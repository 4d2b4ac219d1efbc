//! Commands that show what a fleet's coordinator knows.

use crate::tool::drain::args::Drain;
use clap::{Args as ClapArgs, Subcommand, ValueEnum, builder::PossibleValuesParser};
use pvf_shared::{
    identity::{ClientId, UserName},
    ids::CodeHash,
    priority::ExecuteKind,
    units::parse_age,
};
use std::time::Duration;

/// What `pvf workers` does; without a command it lists them.
#[derive(Debug, Subcommand)]
pub(crate) enum WorkersCommand {
    /// List the workers of a fleet
    #[command(visible_alias = "list")]
    Ls(WorkersLs),
    /// Have workers drain, as `pvf drain` does
    Drain(Drain),
}

#[derive(Debug, Default, ClapArgs)]
pub(crate) struct WorkersLs {
    /// Only workers of this machine
    #[arg(long, value_name = "HOST")]
    pub(crate) host: Option<String>,
    /// Only workers of this kind: prepare or execute
    #[arg(long, value_name = "KIND", value_parser = PossibleValuesParser::new(["prepare", "execute"]))]
    pub(crate) kind: Option<String>,
    /// Only workers in this state
    #[arg(long, value_name = "STATE",
        value_parser = PossibleValuesParser::new(["available", "suspect", "paused", "draining"]))]
    pub(crate) state: Option<String>,
    /// List at most this many, 1 to 10000 [default: 1000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) limit: Option<u32>,
}

/// What `pvf requests` does; without a command it lists them.
#[derive(Debug, Subcommand)]
pub(crate) enum RequestsCommand {
    /// List the requests that are open, and those that ended last, the newest first
    #[command(visible_alias = "list")]
    Ls(RequestsLs),
    /// Show one request, and what it waits for or why it ended as it did
    Show {
        /// Id of the request, or as much of the beginning as no other one has
        #[arg(value_name = "REQUEST")]
        request: String,
    },
    /// End an open request of any client, which is answered with `internal` and the operator's name as the reason
    ///
    /// What runs for it is stopped, unless other requests wait for the same execution. The user of the NATS connection
    /// needs the role operator.
    Cancel(RequestsCancel),
}

#[derive(Debug, ClapArgs)]
pub(crate) struct RequestsCancel {
    /// Id of the request, or as much of the beginning as no other one has
    #[arg(value_name = "REQUEST")]
    pub(crate) request: String,
    /// Its client, as `pvf requests` shows it; needed only if several clients have chosen the same id
    #[arg(long, value_name = "CLIENT")]
    pub(crate) client: Option<ClientId>,
}

#[derive(Debug, Default, ClapArgs)]
pub(crate) struct RequestsLs {
    /// open; ended; failed: ended, and not valid or ok; slow: ended, those that took longest first
    #[arg(long, value_name = "STATE", value_parser = PossibleValuesParser::new(["open", "ended", "failed", "slow"]))]
    pub(crate) state: Option<String>,
    /// Only executions of this kind: backing, backing-system, approval or dispute
    #[arg(long, value_name = "KIND")]
    pub(crate) kind: Option<ExecuteKind>,
    /// Only requests for this code
    #[arg(long, value_name = "HASH")]
    pub(crate) code: Option<CodeHash>,
    /// Only requests of this user of the bus
    #[arg(long, value_name = "USER")]
    pub(crate) client: Option<UserName>,
    /// List at most this many, 1 to 1000 [default: 100]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) limit: Option<u32>,
}

/// What `pvf artifacts` does; without a command it lists them.
#[derive(Debug, Subcommand)]
pub(crate) enum ArtifactsCommand {
    /// List compiled artifacts that the coordinator knows
    #[command(visible_alias = "list")]
    Ls(ArtifactsLs),
    /// Show all that is known of one artifact
    Inspect {
        /// Id of the artifact as --json shows it, or its code hash; as much of the beginning as no other one has
        #[arg(value_name = "ARTIFACT")]
        artifact: String,
    },
    /// Keep the artifacts of a code, however long they are not needed, until it is unpinned
    ///
    /// Also after a restart and with another coordinator; the code need not have been prepared yet. The user of the
    /// NATS connection needs the role operator, as for `unpin`, `rm` and `prune`.
    Pin(ArtifactsPin),
    /// Let the artifacts of a code be removed again when they are not needed
    Unpin(ArtifactsPin),
    /// Remove the artifacts of a code, so that the next request has it prepared anew; jobs that run go on
    Rm(ArtifactsRm),
    /// Remove now what was not needed for long; what is pinned or in use stays
    Prune(ArtifactsPrune),
}

#[derive(Debug, ClapArgs)]
pub(crate) struct ArtifactsPin {
    /// Hash of the code: 64 hex digits
    #[arg(value_name = "CODE_HASH")]
    pub(crate) code: CodeHash,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct ArtifactsRm {
    /// Hash of the code: its artifacts for all engines and parameters
    #[arg(value_name = "CODE_HASH", required_unless_present = "artifact", conflicts_with = "artifact")]
    pub(crate) code: Option<CodeHash>,
    /// Only this one: its id as --json shows it, or as much of the beginning as no other one has
    #[arg(long, value_name = "ARTIFACT")]
    pub(crate) artifact: Option<String>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct ArtifactsPrune {
    /// What was needed last longer ago than this, 1s to 3650d [default: artifact_ttl of the coordinator]
    #[arg(long, value_name = "TIME", value_parser = parse_age)]
    pub(crate) older_than: Option<Duration>,
    /// Remove nothing: show what would be removed
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Default, ClapArgs)]
pub(crate) struct ArtifactsLs {
    /// Only artifacts in this state
    #[arg(long, value_name = "STATE", value_parser = PossibleValuesParser::new(
        ["listed", "looking-up", "dropping", "preparing", "prepared", "failed", "abandoned"]))]
    pub(crate) state: Option<String>,
    /// Only artifacts for this engine
    #[arg(long, value_name = "ENGINE")]
    pub(crate) engine: Option<String>,
    /// Only artifacts of this code
    #[arg(long, value_name = "HASH")]
    pub(crate) code: Option<CodeHash>,
    /// Which come first: those used last, or the largest [default: last-used]
    #[arg(long, value_name = "ORDER")]
    pub(crate) sort: Option<ArtifactOrder>,
    /// List at most this many, 1 to 10000 [default: 1000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) limit: Option<u32>,
}

/// In which order artifacts are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ArtifactOrder {
    LastUsed,
    Bytes,
}

impl ArtifactOrder {
    /// Its name in the API.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::LastUsed => "last_used",
            Self::Bytes => "bytes",
        }
    }
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Why {
    /// Id of the request, or as much of the beginning as no other one has
    #[arg(value_name = "REQUEST")]
    pub(crate) request: String,
}
