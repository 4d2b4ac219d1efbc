//! `pvf why`: what a request waits for, or why it ended as it did.

use super::{Api, args::Why, model::Request, part, requests};
use crate::tool::{
    ago,
    args::Global,
    failure::{Exit, Failure},
    text::escaped,
};

pub(crate) async fn why(global: &Global, args: &Why) -> Result<Exit, Failure> {
    let api = Api::connect(global, "why").await?;
    let answer = requests::one(&api, &args.request).await?;
    match global.json {
        true => outln!("{answer}"),
        false => lines(&part(&answer)?, answer["at_ms"].as_f64().unwrap_or_default())
            .iter()
            .for_each(|line| outln!("{line}")),
    }
    Ok(Exit::Success)
}

fn lines(request: &Request, now: f64) -> Vec<String> {
    let time = match request.total_ms {
        Some(total) => format!("ended after {}", ago::millis(total)),
        None => format!("has waited {}", ago::millis(request.taken_ms(now))),
    };
    let first = format!("{}, {}, {}: {time}", request.request, request.asked(), request.stage());
    let sentences = request.why.iter().map(|sentence| format!("  {}", escaped(sentence)));
    let nothing = request.why.is_empty().then(|| "  the coordinator says no more of it".to_owned());
    std::iter::once(escaped(&first)).chain(sentences).chain(nothing).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sentences_follow_what_the_request_is() {
        let request = Request {
            request: "r".into(),
            work: "precheck".into(),
            state: "queued".into(),
            arrived_ms: Some(500.0),
            why: vec!["All slots are busy.\n".into()],
            ..Request::default()
        };
        assert_eq!(lines(&request, 2000.0), ["r, precheck, queued: has waited 1.5 s", "  All slots are busy.\\n"]);
        let ended = Request { total_ms: Some(2000.0), outcome: Some("valid".into()), why: vec![], ..request };
        assert_eq!(lines(&ended, 2000.0)[0], "r, precheck, valid: ended after 2 s");
        assert_eq!(lines(&ended, 2000.0).len(), 2);
    }
}
