use super::*;
use axum::{body::Body, http::Request};
use futures::StreamExt as _;

#[test]
fn a_prefix_is_a_path() {
    let parse = |text: &str| text.parse::<Prefix>().map(|prefix| prefix.0);
    for (text, prefix) in [("", ""), ("/", ""), ("/pvf", "/pvf"), ("/pvf/", "/pvf"), ("/a/b-c_d.e", "/a/b-c_d.e")] {
        assert_eq!(parse(text).unwrap(), prefix, "{text}");
    }
    for text in ["pvf", "/a//b", "/a b", "/{id}", "/ä", "/a?b"] {
        let error = parse(text).unwrap_err();
        assert!(error.contains("is no path"), "{text}: {error}");
    }
}

async fn get(routes: &Router, path: &str) -> (StatusCode, String, String) {
    use tower::ServiceExt as _;
    let request = Request::get(path).body(Body::empty()).unwrap();
    let response = routes.clone().oneshot(request).await.unwrap();
    let header = |name| response.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
    let (status, kind) = (response.status(), header(header::CONTENT_TYPE).or(header(header::LOCATION)));
    let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
    (status, kind.unwrap_or_default(), String::from_utf8_lossy(&body).into_owned())
}

#[tokio::test]
async fn the_page_and_the_api_are_below_the_prefix() {
    let at = |prefix: &str| routes(Api::default(), &prefix.parse().unwrap());
    for (prefix, below) in [("", ""), ("/pvf", "/pvf")] {
        let routes = at(prefix);
        let (status, kind, body) = get(&routes, &format!("{below}/")).await;
        assert_eq!((status, kind.as_str()), (StatusCode::OK, "text/html; charset=utf-8"));
        assert!(body.contains("<html"), "{body}");
        assert_eq!(get(&routes, &format!("{below}/app.js")).await.1, "text/javascript; charset=utf-8");
        assert_eq!(get(&routes, &format!("{below}/views/overview.js")).await.0, StatusCode::OK);
        let (status, kind, body) = get(&routes, &format!("{below}/api/status")).await;
        assert_eq!((status, kind.as_str()), (StatusCode::SERVICE_UNAVAILABLE, "application/json"));
        assert!(body.contains(r#""standby":true"#), "{body}");
        assert_eq!(get(&routes, &format!("{below}/api/nothing")).await.0, StatusCode::NOT_FOUND);
        assert_eq!(get(&routes, &format!("{below}/api/requests/7")).await.0, StatusCode::BAD_REQUEST);
        assert_eq!(get(&routes, &format!("{below}/nothing.js")).await.0, StatusCode::NOT_FOUND);
    }
    assert_eq!(get(&at("/pvf"), "/").await.0, StatusCode::NOT_FOUND);
    let (status, to, _) = get(&at("/pvf"), "/pvf").await;
    assert_eq!((status, to.as_str()), (StatusCode::PERMANENT_REDIRECT, "/pvf/"));
}

#[tokio::test]
async fn events_are_a_stream_that_goes_on_where_it_was_left() {
    use tower::ServiceExt as _;
    let api = Api::default();
    for n in 1..=3 {
        api.events.push("worker-lost", Bytes::from(format!("{{\"n\":{n}}}")));
    }
    let request = Request::get("/api/events?overview=1").header("Last-Event-ID", "2").body(Body::empty()).unwrap();
    let response = routes(api.clone(), &Prefix::default()).oneshot(request).await.unwrap();
    let mut body = response.into_body().into_data_stream();
    let mut text = String::new();
    while !text.contains("event: overview") {
        text.push_str(std::str::from_utf8(&body.next().await.unwrap().unwrap()).unwrap());
    }
    assert!(text.starts_with("id: 3\nevent: worker-lost\ndata: {\"n\":3}\n\n"), "{text}");
    api.events.push("verdict", Bytes::from_static(b"{}"));
    while !text.contains("id: 4\nevent: verdict\ndata: {}\n\n") {
        text.push_str(std::str::from_utf8(&body.next().await.unwrap().unwrap()).unwrap());
    }
}
