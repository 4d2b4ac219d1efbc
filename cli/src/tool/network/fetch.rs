//! Makes a snapshot from the answers of a node.

use super::{
    host_configuration::{HostConfiguration, bomb_limit},
    rpc::{Node, RpcError},
    snapshot::{Block, FORMAT, Limits, Parachain, Snapshot},
    storage,
};
use crate::tool::failure::Failure;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use parity_scale_codec::{Decode, DecodeAll, Encode as _};
use pvf_shared::{
    ids::{CodeHash, RelayHash},
    params::ExecutorParams,
};
use serde_json::{Value, json};
use std::time::SystemTime;

/// Questions to a node at the same time.
const IN_FLIGHT: usize = 8;

/// What to ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    /// The limits.
    Limits,
    /// And all parachains with the hashes of their codes.
    LimitsAndParachains,
}

/// Asks a node, at this block or the last finalised one.
pub(crate) async fn fetch(node: &Node, at: Option<RelayHash>, what: What) -> Result<Snapshot, Failure> {
    let hash = match at {
        Some(hash) => format!("0x{hash}"),
        None => node.text("chain_getFinalizedHead", json!([])).await?,
    };
    let number = number_of(node, &hash).await?;
    let chain = node.text("system_chain", json!([])).await?;
    let genesis = node.text("chain_getBlockHash", json!([0])).await?;

    let session = node.call("ParachainHost_session_index_for_child", &[], &hash).await;
    let session: u32 = decode(node, "ParachainHost_session_index_for_child", &not_a_relay_chain(session)?)?;
    let params = node.call("ParachainHost_session_executor_params", &session.encode(), &hash).await?;
    // The parameters are stored only if they are not the default ones.
    let params: Option<ExecutorParams> = decode(node, "ParachainHost_session_executor_params", &params)?;

    let active = node.storage(&storage::active_config(), &hash).await?;
    let mut limits = match active {
        Some(bytes) => {
            let decoded = HostConfiguration::from_scale(&bytes);
            decoded.map_err(|why| node.unreadable("Configuration.ActiveConfig", why))?.limits
        }
        None => Limits::default(),
    };
    match node.call("ParachainHost_validation_code_bomb_limit", &[], &hash).await {
        Ok(bytes) => {
            limits.validation_code_bomb_limit = Some(decode(node, "ParachainHost_validation_code_bomb_limit", &bytes)?);
        }
        // Runtimes before version 12 of this API: their nodes had a constant.
        Err(error) if error.is_unknown_api() => {
            limits.validation_code_bomb_limit = limits.max_code_size.map(bomb_limit)
        }
        Err(error) => return Err(error.into()),
    }
    let pending = match node.storage(&storage::pending_configs(), &hash).await? {
        Some(bytes) => HostConfiguration::pending_from_scale(&bytes)
            .map_err(|why| node.unreadable("Configuration.PendingConfigs", why))?,
        None => vec![],
    };
    let parachains = match what {
        What::Limits => vec![],
        What::LimitsAndParachains => parachains(node, &hash).await?,
    };
    Ok(Snapshot {
        format: FORMAT.into(),
        chain,
        genesis: Some(genesis),
        block: Some(Block { number, hash }),
        time: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
        session: Some(session),
        limits,
        executor_params: params.unwrap_or_default(),
        pending,
        parachains,
        provenance: Default::default(),
    })
}

fn not_a_relay_chain(answer: Result<Vec<u8>, RpcError>) -> Result<Vec<u8>, RpcError> {
    answer.map_err(|error| match error {
        RpcError::Refused { url, method, why } => {
            RpcError::Refused { url, method, why: format!("{why} (is this the node of a relay chain?)") }
        }
        error @ RpcError::Transport { .. } => error,
    })
}

async fn number_of(node: &Node, hash: &str) -> Result<u64, RpcError> {
    let header = node.ask("chain_getHeader", json!([hash])).await?;
    if header.is_null() {
        return Err(node.unreadable("chain_getHeader", format!("it has no block {hash}")));
    }
    let number = header.get("number").and_then(Value::as_str).and_then(|text| text.strip_prefix("0x"));
    let number = number.and_then(|digits| u64::from_str_radix(digits, 16).ok());
    number.ok_or_else(|| node.unreadable("chain_getHeader", "a header without a number"))
}

fn decode<T: Decode>(node: &Node, what: &str, bytes: &[u8]) -> Result<T, RpcError> {
    T::decode_all(&mut &bytes[..]).map_err(|e| node.unreadable(what, e))
}

/// All parachains, with the hashes of their codes.
async fn parachains(node: &Node, at: &str) -> Result<Vec<Parachain>, RpcError> {
    let ids: Vec<u32> = match node.call("ParachainHost_para_ids", &[], at).await {
        Ok(bytes) => decode(node, "ParachainHost_para_ids", &bytes)?,
        // Runtimes before version 14 of this API.
        Err(error) if error.is_unknown_api() => match node.storage(&storage::parachains(), at).await? {
            Some(bytes) => decode(node, "Paras.Parachains", &bytes)?,
            None => vec![],
        },
        Err(error) => return Err(error),
    };
    let one = async |id: u32| {
        let hash = async |key: Vec<u8>| -> Result<Option<CodeHash>, RpcError> {
            let Some(bytes) = node.storage(&key, at).await? else { return Ok(None) };
            decode(node, "the hash of a code", &bytes).map(|hash| Some(CodeHash(hash)))
        };
        let code_hash = hash(storage::current_code_hash(id)).await?;
        let future_code_hash = hash(storage::future_code_hash(id)).await?;
        Ok(Parachain { id, code_hash, future_code_hash })
    };
    let one = &one;
    stream::iter(ids).map(|id| async move { one(id).await }).buffered(IN_FLIGHT).try_collect().await
}

/// The code with this hash, as it was submitted to the relay chain.
pub(crate) async fn code(node: &Node, hash: CodeHash, at: &str) -> Result<Vec<u8>, RpcError> {
    let unreadable = |why: &str| node.unreadable("Paras.CodeByHash", format!("0x{hash}: {why}"));
    let bytes =
        node.storage(&storage::code_by_hash(&hash.0), at).await?.ok_or_else(|| unreadable("it has no such code"))?;
    let code: Vec<u8> = decode(node, "Paras.CodeByHash", &bytes)?;
    if CodeHash::of(&code) == hash { Ok(code) } else { Err(unreadable("it sent another code")) }
}

/// The hashes of the codes that validators are asked to check now.
pub(crate) async fn codes_to_precheck(node: &Node, at: &str) -> Result<Vec<CodeHash>, RpcError> {
    let bytes = node.call("ParachainHost_pvfs_require_precheck", &[], at).await?;
    let hashes: Vec<[u8; 32]> = decode(node, "ParachainHost_pvfs_require_precheck", &bytes)?;
    Ok(hashes.into_iter().map(CodeHash).collect())
}
