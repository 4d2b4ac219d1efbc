//! `pvf artifacts pin` and `unpin`: whose artifacts stay however long they are not needed.

use super::{Operating, not_now};
use crate::tool::{
    args::Global,
    failure::{Exit, Failure},
    text::escaped,
};
use pvf_shared::{ids::CodeHash, units::human_bytes, wire::Pinning};
use serde_json::json;

/// Pins a code, or unpins it.
pub(crate) async fn pin(global: &Global, code: CodeHash, pinned: bool) -> Result<Exit, Failure> {
    let operating = Operating::connect(global, "artifacts").await?;
    match operating.act(operating.operator.pin(code, pinned)).await? {
        Pinning::Saved { changed, artifacts, bytes } => {
            let text = code.to_string();
            if global.json {
                let object = json!({
                    "code": text, "pinned": pinned, "changed": changed, "artifacts": artifacts, "bytes": bytes,
                });
                outln!("{object}");
            } else {
                let what = match (pinned, changed) {
                    (true, true) => "is pinned",
                    (true, false) => "was pinned already",
                    (false, true) => "is not pinned any more",
                    (false, false) => "was not pinned",
                };
                outln!("code {text} {what}: {artifacts} artifacts, {}", human_bytes(bytes));
            }
            Ok(Exit::Success)
        }
        Pinning::NotSaved(why) => Err(Failure::NoResult(format!(
            "{code}: it is in force, but only until another coordinator takes over, because the store has not taken \
             it; ask again: {}",
            escaped(&why)
        ))),
        Pinning::TooMany(most) => {
            Err(Failure::Input(format!("{code}: {most} codes are pinned already, and no more may be: unpin one")))
        }
        Pinning::NotNow(why) => Err(not_now(&why)),
    }
}
