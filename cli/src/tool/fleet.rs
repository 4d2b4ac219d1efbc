//! `pvf workers`, `requests` and `artifacts`: what of each is shown (`api`), and what is changed (`operate`, `drain`).
//! Without a command of their own they list.

use super::{
    api::{
        args::{ArtifactsCommand, ArtifactsLs, RequestsCommand, RequestsLs, WorkersCommand, WorkersLs},
        artifacts, requests, workers,
    },
    args::Global,
    drain,
    failure::{Exit, Failure},
    operate,
};

pub(crate) async fn workers(global: &Global, command: Option<&WorkersCommand>) -> Result<Exit, Failure> {
    match command {
        Some(WorkersCommand::Drain(args)) => Box::pin(drain::drain(global, args)).await,
        Some(WorkersCommand::Ls(args)) => workers::ls(global, args).await,
        None => workers::ls(global, &WorkersLs::default()).await,
    }
}

pub(crate) async fn requests(global: &Global, command: Option<&RequestsCommand>) -> Result<Exit, Failure> {
    match command {
        Some(RequestsCommand::Show { request }) => requests::show(global, request).await,
        Some(RequestsCommand::Cancel(args)) => Box::pin(operate::cancel(global, args)).await,
        Some(RequestsCommand::Ls(args)) => requests::ls(global, args).await,
        None => requests::ls(global, &RequestsLs::default()).await,
    }
}

pub(crate) async fn artifacts(global: &Global, command: Option<&ArtifactsCommand>) -> Result<Exit, Failure> {
    match command {
        Some(ArtifactsCommand::Inspect { artifact }) => artifacts::inspect(global, artifact).await,
        Some(ArtifactsCommand::Ls(args)) => artifacts::ls(global, args).await,
        Some(ArtifactsCommand::Pin(args)) => Box::pin(operate::pin(global, args.code, true)).await,
        Some(ArtifactsCommand::Unpin(args)) => Box::pin(operate::pin(global, args.code, false)).await,
        Some(ArtifactsCommand::Rm(args)) => Box::pin(operate::rm(global, args)).await,
        Some(ArtifactsCommand::Prune(args)) => Box::pin(operate::prune(global, args)).await,
        None => artifacts::ls(global, &ArtifactsLs::default()).await,
    }
}
