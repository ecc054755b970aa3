//! The console's HTTP interface, without a browser: what it responds, and to which requests.

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use sandbox::console;
use serde_json::{Value, json};
use simulation::client::Client;

use super::Stage;
use crate::support::{PATIENCE, received};

#[tokio::test]
async fn the_report_of_check_integration_is_part_of_the_console() {
    let stage = Stage::start(None).await;
    let (status, report) = stage.request(Method::POST, "api/doctor", &json!({})).await;
    let report: Value = serde_json::from_slice(&report).expect("JSON");
    assert_eq!((status, &report["status"]), (StatusCode::OK, &json!("ok")), "{report:#}");
    stage.check().await;
}

#[tokio::test]
async fn the_console_lists_and_redrives_dead_letters_with_the_real_function() {
    let stage = Stage::start(None).await;
    let conversation = stage.sandbox.contact_center.open_conversation(&stage.channel_id);
    let path = "api/dead-letters";
    let switch = async |on: bool| {
        let body = json!({ "name": "bot-422", "on": on });
        assert_eq!(stage.request(Method::POST, "api/faults", &body).await.0, StatusCode::NO_CONTENT);
    };
    switch(true).await;
    conversation.writes("agent-anna", "confidential: one");
    conversation.writes("agent-anna", "confidential: two");
    assert!(stage.sandbox.settle(PATIENCE).await, "events are stuck");
    switch(false).await;
    let (status, listed) = stage.request(Method::GET, path, &json!({})).await;
    assert_eq!(status, StatusCode::OK);
    let listed: Value = serde_json::from_slice(&listed).expect("JSON");
    assert_eq!((listed.as_array().map(Vec::len), &listed[0]["status"]), (Some(2), &json!(422)));
    let redrive = json!({ "operation": "redrive", "event_ids": [listed[1]["event_id"]] });
    assert_eq!(stage.request(Method::POST, path, &redrive).await.0, StatusCode::OK);
    assert!(stage.sandbox.settle(PATIENCE).await, "events are stuck");
    let accepted = stage.sandbox.contact_center.accepted()[conversation.id()].clone();
    assert_eq!(received(&stage.sandbox, conversation.id()), accepted[1..]);
    let (status, reason) = stage.request(Method::POST, path, &json!({ "operation": "redrive" })).await;
    assert_eq!(status, StatusCode::BAD_GATEWAY);
    assert!(String::from_utf8_lossy(&reason).contains("no letter is chosen"), "{reason:?}");
}

#[tokio::test]
async fn the_console_answers_no_other_host_and_no_other_origin() {
    let stage = Stage::start(None).await;
    let own = stage.console.address().to_string();
    let port = stage.console.address().port();
    let fault = json!({ "name": "bot-down", "on": false }).to_string();
    let send = async |method: Method, path: &str, headers: &[(&str, &str)], body: &str| {
        let request = Request::builder().method(method).uri(format!("http://{own}{path}"));
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let request = request.body(Bytes::from(body.to_owned())).expect("a request");
        Client::new().send(request).await.expect("the console responds")
    };
    let json = ("content-type", "application/json");
    for host in ["attacker.example", &format!("attacker.example:{port}"), "127.0.0.1", "127.0.0.1:1", "localhost.:80"] {
        for (method, path) in [(Method::GET, "/"), (Method::GET, "/api/stream"), (Method::POST, "/api/faults")] {
            let response = send(method, path, &[("host", host), json], &fault).await;
            assert_eq!(response.status(), StatusCode::MISDIRECTED_REQUEST, "{host} {path}");
        }
    }
    let foreign = format!("http://attacker.example:{port}");
    for origin in ["http://attacker.example", &foreign, "null", "http://localhost:1", &format!("https://{own}")] {
        let response = send(Method::POST, "/api/faults", &[("origin", origin), json], &fault).await;
        assert_eq!(response.status(), StatusCode::FORBIDDEN, "{origin}");
    }
    // As a form of another page posts.
    let response = send(Method::POST, "/api/faults", &[("content-type", "text/plain")], &fault).await;
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
    let own_origin = format!("http://{own}");
    let response = send(Method::POST, "/api/faults", &[("origin", &own_origin), json], &fault).await;
    assert_eq!(response.status(), StatusCode::NO_CONTENT);
    let localhost = format!("localhost:{port}");
    let page = send(Method::GET, "/", &[("host", &localhost)], "").await;
    assert_eq!(page.status(), StatusCode::OK);
    let policy = page.headers()["content-security-policy"].to_str().expect("text");
    assert!(policy.starts_with("default-src 'none'"), "{policy}");
    assert!(stage.console.address().ip().is_loopback());
}

#[tokio::test]
async fn a_port_that_is_in_use_is_not_taken() {
    let taken = console::listen(Some(0)).await.expect("a free port");
    let port = taken.local_addr().expect("it is bound").port();
    assert!(console::listen(Some(port)).await.is_err());
    // If another process has the default port, there is one for us.
    let (first, second) =
        (console::listen(None).await.expect("a port"), console::listen(None).await.expect("another one"));
    assert_ne!(first.local_addr().expect("bound"), second.local_addr().expect("bound"));
}
