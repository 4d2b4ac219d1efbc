//! A relay chain's node as far as these tools ask one: JSON-RPC over HTTP, with the encodings of a real one.

use parity_scale_codec::{Compact, Decode as _, Encode as _};
use pvf_shared::{ids::blake2b_256, params::ExecutorParams};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
};

/// Session of the last finalised block.
pub(super) const SESSION: u32 = 4711;
const BLOCK: u32 = 20_000_000;
const ACTIVE_CONFIG: &str = "06de3d8a54d27e44a9d5ce189618f22db4b49d95320d9021994c850f25b8e385";
const PENDING_CONFIGS: &str = "06de3d8a54d27e44a9d5ce189618f22d53b4123b2e186e07fb7bad5dda5f55c0";
const CODE_BY_HASH: &str = "cd710b30bd2eab0352ddcc26417aa194383e6dcb39e0be0a2e6aeb8b94951ab6";
const CURRENT_CODE: &str = "cd710b30bd2eab0352ddcc26417aa194e2d1c22ba0a888147714a3487bd51c63";
const FUTURE_CODE: &str = "cd710b30bd2eab0352ddcc26417aa194cad3324113c312669f1ac3d50722524b";
const PARACHAINS: &str = "cd710b30bd2eab0352ddcc26417aa1940b76934f4cc08dee01012d059e1b83ee";

/// The state of the relay chain.
#[derive(Clone, Default)]
pub(super) struct Chain {
    /// Executor parameters of the session.
    pub(super) params: ExecutorParams,
    /// Executor parameters of a configuration that holds later.
    pub(super) pending: Option<ExecutorParams>,
    /// Current codes by parachain.
    pub(super) codes: BTreeMap<u32, Vec<u8>>,
    /// Codes that parachains are about to upgrade to.
    pub(super) next: BTreeMap<u32, Vec<u8>>,
    /// Codes that validators vote on.
    pub(super) voted: Vec<Vec<u8>>,
    /// Whether the runtime lacks the newest APIs.
    pub(super) is_old: bool,
}

/// A running node; its thread ends with the test process.
pub(super) struct Node {
    /// Its address.
    pub(super) url: String,
    /// Its state, which may change.
    pub(super) chain: Arc<Mutex<Chain>>,
}

impl Node {
    /// Starts one.
    pub(super) fn start(chain: Chain) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let chain = Arc::new(Mutex::new(chain));
        let state = chain.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = state.clone();
                std::thread::spawn(move || serve(stream, &state));
            }
        });
        Self { url, chain }
    }
}

/// Answers one request, and closes the connection.
fn serve(stream: TcpStream, chain: &Mutex<Chain>) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let line = line.trim().to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        if line.is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let request: Value = serde_json::from_slice(&body).ok()?;
    let answer = chain.lock().unwrap().answer(request["method"].as_str()?, &request["params"]);
    let answer = match answer {
        Ok(result) => json!({"jsonrpc": "2.0", "id": request["id"], "result": result}),
        Err(why) => json!({"jsonrpc": "2.0", "id": request["id"], "error": {"code": 4003, "message": why}}),
    };
    let body = answer.to_string();
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close";
    write!(reader.get_mut(), "{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).ok()
}

fn hex0x(bytes: &[u8]) -> Value {
    json!(format!("0x{}", hex::encode(bytes)))
}

fn block_hash() -> String {
    format!("0x{}", "b1".repeat(32))
}

impl Chain {
    fn answer(&self, method: &str, params: &Value) -> Result<Value, String> {
        match method {
            "chain_getFinalizedHead" => Ok(json!(block_hash())),
            "chain_getHeader" if params[0] == block_hash() => {
                Ok(json!({"number": format!("{BLOCK:#x}"), "parentHash": block_hash()}))
            }
            "chain_getHeader" => Ok(Value::Null),
            "system_chain" => Ok(json!("Mocknet")),
            "chain_getBlockHash" => Ok(json!(format!("0x{}", "00".repeat(32)))),
            "state_call" => {
                let argument = params[1].as_str().and_then(|text| hex::decode(text.strip_prefix("0x")?).ok());
                let answer = self.call(params[0].as_str().unwrap_or_default(), &argument.unwrap_or_default());
                // As a Polkadot node and as Chopsticks say it.
                let unknown = match params[0].as_str() {
                    Some("ParachainHost_para_ids") => "Function to start was not found.",
                    _ => "Execution failed: Exported method ParachainHost is not found",
                };
                answer.map(|bytes| hex0x(&bytes)).ok_or_else(|| unknown.into())
            }
            "state_getStorage" => {
                let key = params[0].as_str().and_then(|text| text.strip_prefix("0x")).unwrap_or_default();
                Ok(self.storage(key).map_or(Value::Null, |bytes| hex0x(&bytes)))
            }
            other => Err(format!("Method not found: {other}")),
        }
    }

    fn call(&self, api: &str, argument: &[u8]) -> Option<Vec<u8>> {
        match api {
            "ParachainHost_session_index_for_child" => Some(SESSION.encode()),
            "ParachainHost_session_executor_params" if argument == SESSION.encode() => {
                Some(Some(self.params.clone()).encode())
            }
            "ParachainHost_validation_code_bomb_limit" if !self.is_old => Some((40_u32 << 20).encode()),
            "ParachainHost_para_ids" if !self.is_old => Some(self.ids().encode()),
            "ParachainHost_pvfs_require_precheck" => {
                Some(self.voted.iter().map(|code| blake2b_256(&[code])).collect::<Vec<_>>().encode())
            }
            _ => None,
        }
    }

    fn ids(&self) -> Vec<u32> {
        self.codes.keys().copied().collect()
    }

    fn storage(&self, key: &str) -> Option<Vec<u8>> {
        let para = || u32::decode(&mut &hex::decode(&key[key.len() - 8..]).ok()?[..]).ok();
        let hash_of = |codes: &BTreeMap<u32, Vec<u8>>| Some(blake2b_256(&[codes.get(&para()?)?]).to_vec());
        if key == ACTIVE_CONFIG {
            return Some(configuration(&self.params));
        }
        if key == PENDING_CONFIGS {
            let pending = self.pending.as_ref()?;
            return Some([Compact(1_u32).encode(), (SESSION + 2).encode(), configuration(pending)].concat());
        }
        if key == PARACHAINS {
            return Some(self.ids().encode());
        }
        match key.get(..64)? {
            CURRENT_CODE => hash_of(&self.codes),
            FUTURE_CODE => hash_of(&self.next),
            CODE_BY_HASH => {
                let all = self.codes.values().chain(self.next.values()).chain(&self.voted);
                let wanted = hex::decode(&key[64..]).ok()?;
                all.into_iter().find(|code| blake2b_256(&[code])[..] == wanted).map(|code| code.encode())
            }
            _ => None,
        }
    }
}

/// `HostConfiguration` as a relay chain of 2026 encodes it.
fn configuration(params: &ExecutorParams) -> Vec<u8> {
    let numbers = |numbers: &[u32]| numbers.iter().flat_map(|n| n.to_le_bytes()).collect::<Vec<_>>();
    [
        numbers(&[4 << 20, 20_480, 174_762, 1_048_576, 65_531, 16, 10, 14_400, 600, 3, 2]),
        numbers(&[10 << 20, 51_200, 30]),
        (1_u128, 2_u128).encode(),
        numbers(&[1_000, 102_400, 30, 102_400]),
        params.encode(),
        numbers(&[600]),
        None::<u32>.encode(),
        numbers(&[6, 100, 2, 89, 0, 30, 6, 2, 20, 2]),
        // Four bits of node features, in one byte.
        vec![4 << 2, 0b1011],
        numbers(&[6, 10, 10]),
        None::<u32>.encode(),
        numbers(&[3, 100, 0, 500, 250_000_000, 30_000_000]),
        10_000_000_u128.encode(),
        numbers(&[5, 0]),
    ]
    .concat()
}
