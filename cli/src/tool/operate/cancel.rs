//! `pvf requests cancel`: ends a request.

use super::Operating;
use crate::tool::{
    api::{args::RequestsCancel, model::Request, part, requests::whole},
    args::Global,
    failure::{Exit, Failure},
    text::escaped,
};
use pvf_shared::{ids::RequestId, wire::Cancellation};
use serde_json::json;

/// Exit code 2 if the request is not open, or several clients have chosen its id.
pub(crate) async fn cancel(global: &Global, args: &RequestsCancel) -> Result<Exit, Failure> {
    let operating = Operating::connect(global, "requests").await?;
    let id = whole(&operating.api(), &args.request).await?;
    match operating.act(operating.operator.cancel(id, args.client)).await? {
        Cancellation::Done { client, others } => {
            if global.json {
                let (request, client) = (id.to_string(), client.to_string());
                outln!("{}", json!({"request": request, "client": client, "cancelled": true, "others": others}));
            } else {
                let goes_on = match others {
                    0 => String::new(),
                    1 => "; 1 other request waits for the same execution, which goes on".into(),
                    others => format!("; {others} other requests wait for the same execution, which goes on"),
                };
                outln!("request {id} of {client} is cancelled{goes_on}");
            }
            Ok(Exit::Success)
        }
        Cancellation::NotOpen => Err(not_open(&operating, id).await),
        Cancellation::Several(clients) => {
            let clients: String = clients.iter().map(|client| format!("\n  {client}")).collect();
            Err(Failure::Input(format!(
                "request {id}: several clients have chosen this id, name one with --client:{clients}"
            )))
        }
    }
}

/// Says whether it has ended.
async fn not_open(operating: &Operating, id: RequestId) -> Failure {
    let known = operating.api().ask("request", json!({ "id": id.to_string() })).await;
    match known.and_then(|answer| part::<Request>(&answer)) {
        Ok(request) if request.state == "ended" => {
            Failure::Input(format!("request {id} has ended already: {}", escaped(&request.stage())))
        }
        Ok(_) => Failure::Input(format!("request {id}: it is open, but not of the client that --client names")),
        // It is not known, and the coordinator says so; or it does not answer.
        Err(error) => error,
    }
}
