//! Options and commands about replay bundles.

use clap::{Args as ClapArgs, Subcommand};
use pvf_shared::{
    bundle::Retention,
    units::{parse_age, parse_bytes},
};
use std::{path::PathBuf, time::Duration};

/// Which bundles a command that asks for verdicts keeps.
#[derive(Debug, Clone, ClapArgs)]
#[command(next_help_heading = "Replay bundles")]
pub(crate) struct BundleArgs {
    /// Keep a replay bundle of each verdict that is not valid in this folder
    ///
    /// A bundle is a file with code, PoV, parameters, verdict and log: `pvf replay` runs it again. Only this user can
    /// read it.
    #[arg(long, env = "PVF_BUNDLES", value_name = "DIR")]
    pub(crate) bundles: Option<PathBuf>,
    /// Keep bundles of valid verdicts, too
    #[arg(long, requires = "bundles")]
    pub(crate) bundle_all: bool,
    /// Write the replay bundle of the one request to this file, whatever its verdict
    #[arg(long, value_name = "FILE")]
    pub(crate) bundle: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) retention: RetentionArgs,
}

/// How many bundles a folder keeps.
#[derive(Debug, Clone, Copy, ClapArgs)]
pub(crate) struct RetentionArgs {
    /// Most bundles in the folder; the oldest are removed
    #[arg(long, env = "PVF_BUNDLES_KEEP_COUNT", default_value_t = 100, value_name = "N",
        value_parser = clap::value_parser!(u32).range(1..))]
    keep_count: u32,
    /// Most bytes of the bundles in the folder
    #[arg(long, env = "PVF_BUNDLES_KEEP_BYTES", default_value = "1GiB", value_name = "SIZE", value_parser = parse_bytes)]
    keep_bytes: u64,
    /// Longest time that a bundle is kept, 1s to 3650d
    #[arg(long, env = "PVF_BUNDLES_KEEP_AGE", default_value = "30d", value_name = "TIME", value_parser = parse_age)]
    keep_age: Duration,
}

impl RetentionArgs {
    pub(crate) fn retention(self) -> Retention {
        Retention { count: self.keep_count as usize, bytes: self.keep_bytes, age: self.keep_age }
    }
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Replay {
    /// The bundle
    pub(crate) bundle: PathBuf,
}

/// What `pvf bundle` does.
#[derive(Debug, Subcommand)]
pub(crate) enum BundleCommand {
    /// Show what is in a bundle: the request, the verdict, usage, log and backtrace
    Show {
        /// The bundle
        bundle: PathBuf,
    },
    /// List the bundles of a folder, the newest first
    List {
        /// The folder
        #[arg(env = "PVF_BUNDLES")]
        dir: PathBuf,
    },
    /// Write code, PoV and parameters of a bundle to files, as input for other commands; nothing is overwritten
    Extract {
        /// The bundle
        bundle: PathBuf,
        /// The folder for the files; it is made if it does not exist
        #[arg(long, default_value = ".", value_name = "DIR")]
        out: PathBuf,
    },
    /// Remove the bundles of a folder that are beyond the limits, the oldest first
    Prune {
        /// The folder
        #[arg(env = "PVF_BUNDLES")]
        dir: PathBuf,
        #[command(flatten)]
        retention: RetentionArgs,
    },
}
