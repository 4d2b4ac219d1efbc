//! The codes of a run: files, and the parachains of a node.

use super::args::Sweep;
use crate::tool::{
    failure::Failure,
    files::code::read_code,
    network::{fetch, limits::Network, rpc::Node},
};
use pvf_shared::{Bytes, ids::CodeHash, telemetry::to_stderr};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

/// A code; that of a node is fetched when it is its turn.
pub(super) struct Source {
    /// The file, or the parachains.
    pub(super) name: String,
    from: From,
}

enum From {
    Code(Bytes),
    Node { node: Arc<Node>, hash: CodeHash, at: String, save: Option<PathBuf> },
}

impl Source {
    /// Hash of the code.
    pub(super) fn hash(&self) -> CodeHash {
        match &self.from {
            From::Code(code) => CodeHash::of(code),
            From::Node { hash, .. } => *hash,
        }
    }

    /// The code.
    pub(super) async fn code(&self) -> Result<Bytes, Failure> {
        match &self.from {
            From::Code(code) => Ok(code.clone()),
            From::Node { node, hash, at, save } => {
                let code = fetch::code(node, *hash, at).await?;
                if let Some(folder) = save {
                    let path = folder.join(format!("0x{hash}.wasm"));
                    let failed = |e| Failure::NoResult(format!("--save: {}: {e}", path.display()));
                    std::fs::write(&path, &code).map_err(failed)?;
                }
                Ok(code.into())
            }
        }
    }
}

/// All codes, and the limits under which they are prepared.
pub(super) async fn all(args: &Sweep) -> Result<(Network, Vec<Source>), Failure> {
    let mut sources = files(&args.code)?;
    let url = args.limits.network.as_deref().filter(|network| network.contains("://"));
    let network = match url {
        Some(url) => {
            let node = Arc::new(Node::new("--network", url)?);
            to_stderr(format_args!("asking {} for its parachains", node.shown()));
            let snapshot = fetch::fetch(&node, args.at, fetch::What::LimitsAndParachains).await?;
            if let Some(folder) = &args.save {
                let failed = |e| Failure::Input(format!("--save {}: {e}", folder.display()));
                std::fs::create_dir_all(folder).map_err(failed)?;
            }
            sources.extend(of_node(&node, &snapshot, args.save.as_ref()));
            Network::of_node(snapshot, &args.limits)?
        }
        None if args.at.is_some() || args.save.is_some() => {
            return Err(Failure::Input(
                "--at and --save are for the codes of a node: --network must be its URL".into(),
            ));
        }
        None => Network::of(&args.limits).await?,
    };
    if sources.is_empty() {
        let why = "no codes: name files or folders, or the URL of a node with --network";
        return Err(Failure::Input(why.into()));
    }
    Ok((network, sources))
}

/// The codes in these files and folders.
fn files(paths: &[PathBuf]) -> Result<Vec<Source>, Failure> {
    let mut found = Vec::new();
    for path in paths {
        if !path.is_dir() {
            found.push(path.clone());
            continue;
        }
        let failed = |e: std::io::Error| Failure::Input(format!("{}: {e}", path.display()));
        let mut inside = Vec::new();
        for entry in std::fs::read_dir(path).map_err(failed)? {
            let file = entry.map_err(failed)?.path();
            if file.extension().is_some_and(|extension| extension == "wasm") {
                inside.push(file);
            }
        }
        if inside.is_empty() {
            return Err(Failure::Input(format!("{} has no file that ends in .wasm", path.display())));
        }
        inside.sort();
        found.append(&mut inside);
    }
    // A file that is no code is wrong input, before anything is prepared.
    let source = |path: PathBuf| Ok(Source { name: name(&path), from: From::Code(read_code("CODE", &path)?.bytes) });
    found.into_iter().map(source).collect()
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

/// The codes of a node's parachains, each once.
fn of_node(
    node: &Arc<Node>,
    snapshot: &crate::tool::network::snapshot::Snapshot,
    save: Option<&PathBuf>,
) -> Vec<Source> {
    let at = snapshot.block.as_ref().map(|block| block.hash.clone()).unwrap_or_default();
    let mut users = BTreeMap::<CodeHash, Vec<String>>::new();
    for para in &snapshot.parachains {
        for (hash, what) in [(para.code_hash, ""), (para.future_code_hash, " (next)")] {
            if let Some(hash) = hash {
                users.entry(hash).or_default().push(format!("{}{what}", para.id));
            }
        }
    }
    let source = |(hash, ids): (CodeHash, Vec<String>)| Source {
        name: format!("parachain {}", ids.join(", ")),
        from: From::Node { node: node.clone(), hash, at: at.clone(), save: save.cloned() },
    };
    users.into_iter().map(source).collect()
}
