use super::*;
use crate::testing::in_time;

fn url(query: &str) -> Params {
    Params::of_url(Some(query))
}

#[tokio::test]
async fn a_standby_says_that_it_is_one() {
    let api = Api::default();
    for name in NAMES {
        let params = if name == "request" { url("id=00000000000000000000000000000001") } else { Params::default() };
        let error = in_time(api.answer(name, params)).await.unwrap_err();
        assert_eq!((error.code, error.json()["standby"].clone()), (503, true.into()), "{name}: {error:?}");
    }
    // The driver of a tenure that is over.
    drop(api.open());
    assert_eq!(in_time(api.answer("status", Params::default())).await.unwrap_err(), ApiError::standby());
}

#[tokio::test]
async fn a_wrong_question_is_refused_with_what_is_wrong() {
    let api = Api::default();
    for (name, query, words) in [
        ("verdicts", "", "there are status, workers, requests"),
        ("status", "verbose=1", "verbose: no such parameter"),
        ("workers", "kind=both", "kind: "),
        ("workers", "state=tired", "\"tired\" is none of available, suspect, paused, draining"),
        ("workers", "limit=10001", "limit: 10001 is outside 1..=10000"),
        ("artifacts", "limit=0", "limit: 0 is outside 1..=10000"),
        ("artifacts", "sort=name", "none of last_used, bytes"),
        ("requests", "state=closed", "none of open, ended, failed, slow"),
        ("requests", "code=0x12", "code: "),
        ("requests", "limit=many", "limit: "),
        ("requests", "limit=1001", "1..=1000"),
        ("request", "", "id: required"),
        ("request", "id=7", "id: "),
    ] {
        let error = in_time(api.answer(name, url(query))).await.unwrap_err();
        assert!(error.message.contains(words) && error.code < 500, "{name}?{query}: {error:?}");
    }
}

#[test]
fn parameters_come_from_a_url_or_from_json() {
    let from_json = |text: &str| Params::of_json(text.as_bytes());
    let filter = from_json(r#"{"host": "rack 1", "limit": 7, "kind": null}"#).unwrap().workers().unwrap();
    assert_eq!((filter.host.as_deref(), filter.limit, filter.kind), (Some("rack 1"), 7, None));
    assert_eq!(url("host=rack%201&limit=7").workers().unwrap().host, filter.host);
    assert!(from_json("").unwrap().end().is_ok());
    for (wrong, words) in [("[]", "no JSON object"), ("{", "is not JSON"), (r#"{"limit": [1]}"#, "limit: expected")] {
        let error = from_json(wrong).unwrap_err();
        assert!(error.message.contains(words), "{error:?}");
    }
}
