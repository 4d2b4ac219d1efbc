//! The candidates of a load test: each code has those that follow it on the command line.

use super::args::Bench;
use crate::{
    ExecuteRequest, Pvf,
    tool::{failure::Failure, input, network::limits::Network},
};
use clap::ArgMatches;
use pvf_shared::priority::ExecuteKind;
use std::path::PathBuf;

/// A candidate with its code.
#[derive(Debug, Clone)]
pub(super) struct Candidate {
    pub(super) pvf: Pvf,
    pub(super) request: ExecuteRequest,
}

/// The files of one code.
#[derive(Debug, PartialEq, Eq)]
struct Group {
    code: PathBuf,
    params: Vec<PathBuf>,
    povs: Vec<PathBuf>,
}

/// Reads all candidates, those of the first code first. `matches` say in which order the options stand.
pub(super) fn candidates(args: &Bench, matches: &ArgMatches, network: &Network) -> Result<Vec<Candidate>, Failure> {
    let extension = input::extension(&args.extension)?;
    let mut candidates = Vec::new();
    for group in groups(args, matches)? {
        let pvf = network.pvf(input::code(&group.code)?);
        // The load sets the kind.
        let kind = ExecuteKind::Backing;
        let mut requests = input::from_params(&group.params, kind, &extension)?;
        requests.extend(input::from_povs(&group.povs, kind, &extension)?);
        candidates.extend(requests.into_iter().map(|(_, mut request)| {
            request.exec_timeout = args.timeout;
            request.fresh = !args.coalesce;
            Candidate { pvf: pvf.clone(), request }
        }));
    }
    Ok(candidates)
}

/// The options in groups that begin with a code.
fn groups(args: &Bench, matches: &ArgMatches) -> Result<Vec<Group>, Failure> {
    let placed = |id: &str, paths: &[PathBuf]| -> Vec<(usize, PathBuf)> {
        matches.indices_of(id).into_iter().flatten().zip(paths.iter().cloned()).collect()
    };
    let codes = placed("code", &args.code);
    let mut groups: Vec<_> =
        codes.iter().map(|(_, code)| Group { code: code.clone(), params: vec![], povs: vec![] }).collect();
    for (option, is_pov, paths) in [("params", false, &args.params), ("pov", true, &args.pov)] {
        for (place, path) in placed(option, paths) {
            let before = codes.iter().filter(|(code, _)| *code < place).count();
            let Some(group) = before.checked_sub(1).and_then(|at| groups.get_mut(at)) else {
                let why = "it stands before the first --code: candidates follow their code";
                return Err(Failure::Input(format!("--{option} {}: {why}", path.display())));
            };
            if is_pov { group.povs.push(path) } else { group.params.push(path) }
        }
    }
    match groups.iter().find(|group| group.params.is_empty() && group.povs.is_empty()) {
        Some(group) => {
            let why = "no --params and no --pov follow it";
            Err(Failure::Input(format!("--code {}: {why}", group.code.display())))
        }
        None => Ok(groups),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tool::{
        args::{Args, Command, Request},
        manual::command,
    };
    use clap::FromArgMatches as _;

    fn grouped(line: &str) -> Result<Vec<String>, String> {
        let matches = command().try_get_matches_from(line.split(' ')).map_err(|e| e.to_string())?;
        let args = Args::from_arg_matches(&matches).unwrap();
        let Command::Request(Request::Bench(bench)) = args.command else { panic!("{line}") };
        let own = matches.subcommand().unwrap().1;
        let groups = groups(&bench, own).map_err(|failure| failure.to_string())?;
        Ok(groups.iter().map(|Group { code, params, povs }| format!("{code:?} {params:?} {povs:?}")).collect())
    }

    #[test]
    fn candidates_belong_to_the_code_before_them() {
        let line = "pvf bench --code a --params 1 2 --code b --pov 3 --params=4 --rate 5/s --pov 6";
        assert_eq!(grouped(line).unwrap(), [r#""a" ["1", "2"] []"#, r#""b" ["4"] ["3", "6"]"#]);
    }

    #[test]
    fn a_code_without_candidates_and_candidates_without_a_code_are_errors() {
        assert!(grouped("pvf bench --params 1 --code a").unwrap_err().starts_with("--params 1: it stands before"));
        assert!(grouped("pvf bench --code a --code b --params 1").unwrap_err().starts_with("--code a: no --params"));
        for line in [
            "pvf bench --code a",
            "pvf bench --params 1",
            "pvf bench --code a --params 1 --rate 5/s --concurrency 3",
            "pvf bench --code a --params 1 --max-in-flight 3",
            "pvf bench --code a --params 1 --requests 3 --duration 1s",
        ] {
            assert!(grouped(line).is_err(), "{line}");
        }
    }
}
