//! issue-token: every row of its table, and an OAuth client library.

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use oauth2::basic::BasicClient;
use oauth2::{AuthType, ClientId, ResourceOwnerPassword, ResourceOwnerUsername, TokenResponse, TokenUrl};
use sandbox::deployment;
use serde_json::{Value, json};
use simulation::client::Client;
use simulation::faults::When;

use crate::support::Stack;

pub(crate) const FORM: &str = "application/x-www-form-urlencoded";

pub(crate) async fn post(stack: &Stack, content_type: &str, body: String) -> Response<Bytes> {
    let request = Request::post(stack.api_url(sandbox::TOKEN)).header("content-type", content_type);
    Client::new().send(request.body(body.into()).unwrap()).await.expect("issue-token answers")
}

pub(crate) fn json_of(response: &Response<Bytes>) -> Value {
    serde_json::from_slice(response.body()).expect("responses are JSON")
}

pub(crate) fn form(fields: &[(&str, &str)]) -> String {
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish()
}

pub(crate) fn password_grant(stack: &Stack) -> String {
    let login = stack.caller_login();
    form(&[
        ("grant_type", "password"),
        ("username", &login.username),
        ("password", &login.password),
        ("clientid", &login.app_token),
    ])
}

/// Asserts that a request is refused with that status and error, and that nothing may be kept of it.
async fn refused(stack: &Stack, content_type: &str, body: String, status: StatusCode, error: &str) {
    let response = post(stack, content_type, body.clone()).await;
    assert_eq!((response.status(), &json_of(&response)["error"]), (status, &json!(error)), "{body}");
    assert_eq!(response.headers()["cache-control"], "no-store");
    assert_eq!(response.headers()["content-type"], "application/json");
    assert_eq!(response.headers().contains_key("www-authenticate"), status == StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn issues_tokens_as_an_aisera_tenant_does() {
    let stack = Stack::start().await;
    let login = stack.caller_login();
    let aiseras_json = json!({
        "grant_type": "password", "username": login.username, "password": login.password, "clientid": login.app_token,
    });
    for (content_type, body) in [(FORM, password_grant(&stack)), ("application/json", aiseras_json.to_string())] {
        let response = post(&stack, content_type, body).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["cache-control"], "no-store");
        assert_eq!(response.headers()["content-type"], "application/json");
        let tokens = json_of(&response);
        let (access, refresh) = (tokens["access_token"].as_str().unwrap(), tokens["refresh_token"].as_str().unwrap());
        assert_ne!(access, refresh);
        let values =
            json!({ "access_token": access, "refresh_token": refresh, "token_type": "bearer", "expires_in": 3600 });
        let expected = json!({
            "access_token": access, "refresh_token": refresh, "values": values, "token_type": "bearer", "expires_in": 3600,
        });
        assert_eq!(tokens, expected);

        let body =
            form(&[("grant_type", "refresh_token"), ("refresh_token", refresh), ("client_id", &login.app_token)]);
        let response = post(&stack, FORM, body).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_ne!(json_of(&response)["access_token"], tokens["access_token"]);
    }
    stack.finish().await;
}

#[tokio::test]
async fn members_of_a_json_body_that_are_unknown_are_ignored() {
    let stack = Stack::start().await;
    let login = stack.caller_login();
    let mut body = json!({
        "grant_type": "password", "username": login.username, "password": login.password, "clientid": login.app_token,
    });
    for value in [json!(null), json!(1), json!(true), json!(["x"]), json!({ "x": 1 }), json!("x")] {
        (body["scope"], body["client_secret"]) = (value.clone(), value);
        let response = post(&stack, "application/json", body.to_string()).await;
        assert_eq!(response.status(), StatusCode::OK, "{body}");
    }
    body["password"] = json!(1);
    refused(&stack, "application/json", body.to_string(), StatusCode::BAD_REQUEST, "invalid_request").await;
    stack.finish().await;
}

#[tokio::test]
async fn wrong_requests_get_oauths_errors() {
    let stack = Stack::start().await;
    let login = stack.caller_login();
    let (app_token, username, password) = (&*login.app_token, &*login.username, &*login.password);
    let tokens = json_of(&post(&stack, FORM, password_grant(&stack)).await);
    let access = tokens["access_token"].as_str().unwrap();

    let bad_request = StatusCode::BAD_REQUEST;
    for (body, status, error) in [
        (form(&[]), bad_request, "invalid_request"),
        (
            form(&[("grant_type", "password"), ("username", username), ("clientid", app_token)]),
            bad_request,
            "invalid_request",
        ),
        (
            form(&[("grant_type", "password"), ("password", password), ("clientid", app_token)]),
            bad_request,
            "invalid_request",
        ),
        (form(&[("grant_type", "refresh_token"), ("clientid", app_token)]), bad_request, "invalid_request"),
        (format!("{}&clientid=again", password_grant(&stack)), bad_request, "invalid_request"),
        (form(&[("grant_type", "client_credentials"), ("clientid", app_token)]), bad_request, "unsupported_grant_type"),
        (
            form(&[("grant_type", "password"), ("username", username), ("password", password)]),
            StatusCode::UNAUTHORIZED,
            "invalid_client",
        ),
        (
            form(&[("grant_type", "password"), ("username", username), ("password", password), ("clientid", "x")]),
            StatusCode::UNAUTHORIZED,
            "invalid_client",
        ),
        (
            form(&[("grant_type", "password"), ("username", "x"), ("password", password), ("clientid", app_token)]),
            bad_request,
            "invalid_grant",
        ),
        (
            form(&[("grant_type", "password"), ("username", username), ("password", "x"), ("clientid", app_token)]),
            bad_request,
            "invalid_grant",
        ),
        (
            form(&[("grant_type", "refresh_token"), ("refresh_token", "x"), ("clientid", app_token)]),
            bad_request,
            "invalid_grant",
        ),
        (
            form(&[("grant_type", "refresh_token"), ("refresh_token", access), ("clientid", app_token)]),
            bad_request,
            "invalid_grant",
        ),
    ] {
        refused(&stack, FORM, body, status, error).await;
    }
    refused(&stack, "text/plain", password_grant(&stack), bad_request, "invalid_request").await;
    refused(&stack, "application/json", "[]".to_owned(), bad_request, "invalid_request").await;
    assert!(stack.logged(r#""TokensRefused":1"#) > 0);
    stack.finish().await;
}

#[tokio::test]
async fn a_wrong_user_and_a_wrong_password_get_the_same_answer() {
    let stack = Stack::start().await;
    let login = stack.caller_login();
    let log_in_as = async |username: &str, password: &str| {
        let fields = [
            ("grant_type", "password"),
            ("username", username),
            ("password", password),
            ("clientid", &login.app_token),
        ];
        post(&stack, FORM, form(&fields)).await
    };
    let wrong_user = log_in_as("another-user", &login.password).await;
    let wrong_password = log_in_as(&login.username, "something").await;
    assert_eq!(wrong_user.body(), wrong_password.body());
    assert_eq!(wrong_user.headers(), wrong_password.headers());
    stack.finish().await;
}

#[tokio::test]
async fn without_its_secret_it_asks_to_try_again() {
    let stack = Stack::start().await;
    let body = password_grant(&stack);
    stack.function(deployment::ISSUE_TOKEN).recycle();
    stack.fault(aws::Fault::SecretsDown, When::Share(1.0));
    let response = post(&stack, FORM, body).await;
    assert_eq!(
        (response.status(), &response.headers()["retry-after"]),
        (StatusCode::SERVICE_UNAVAILABLE, &"5".parse().unwrap())
    );
    stack.finish().await;
}

#[tokio::test]
async fn an_oauth_client_library_works_with_it_unmodified() {
    let stack = Stack::start().await;
    let login = stack.caller_login();
    // Client id in the body, and in an Authorization header.
    for (auth_type, secret) in [(AuthType::RequestBody, None), (AuthType::BasicAuth, Some(""))] {
        let mut client = BasicClient::new(ClientId::new(login.app_token.clone())).set_auth_type(auth_type);
        if let Some(secret) = secret {
            client = client.set_client_secret(oauth2::ClientSecret::new(secret.to_owned()));
        }
        let client = client.set_token_uri(TokenUrl::new(stack.api_url(sandbox::TOKEN)).unwrap());
        let send = async |request: oauth2::HttpRequest| {
            let response = Client::new().send(request.map(Bytes::from)).await.expect("a response");
            Ok::<_, std::io::Error>(response.map(|body| body.to_vec()))
        };
        let send = |request| Box::pin(send(request));
        let (username, password) =
            (ResourceOwnerUsername::new(login.username.clone()), ResourceOwnerPassword::new(login.password.clone()));
        let tokens = client.exchange_password(&username, &password).request_async(&send).await.expect("tokens");
        assert_eq!(tokens.expires_in().unwrap().as_secs(), 3600);
        let refresh_token = tokens.refresh_token().expect("a refresh token");
        let refreshed = client.exchange_refresh_token(refresh_token).request_async(&send).await.expect("tokens");
        assert_ne!(refreshed.access_token().secret(), tokens.access_token().secret());

        let wrong = ResourceOwnerPassword::new("wrong".to_owned());
        let error = client.exchange_password(&username, &wrong).request_async(&send).await.unwrap_err();
        assert!(error.to_string().contains("Server returned error response"), "{error}");
    }
    stack.finish().await;
}
