//! refresh-tokens: its grants, its rules over time, and what two of them do at once.

use std::time::Duration;

use aws::lambda::InvokeError;
use bot_platform::BotPlatformSettings;
use contact_center::{Authentication, ContactCenterSettings};
use http::StatusCode;
use sandbox::SandboxSettings;
use sandbox::deployment::{BOT_SECRET, BOT_TOKEN_SECRET, CONTACT_CENTER_SECRET, CONTACT_CENTER_TOKEN_SECRET};
use serde_json::{Value, json};
use shared::bot_platform::BotTokenEndpoint;
use shared::clock::UnixTime;
use shared::oauth::{Refresh, Refresher, TokenStore};
use shared::secrets::SecretsManager;
use shared::url::BaseUrl;
use simulation::faults::When;

use crate::conformance::sdk_config;
use crate::stand_in::{StandIn, response};
use crate::support::Stack;

fn now_secs() -> u64 {
    UnixTime::now().secs()
}

/// Leaves the stored token that many seconds to live.
fn age(stack: &Stack, secret: &str, left: u64) {
    let mut token = stack.cloud.secrets.current(secret);
    token["issued_at"] = json!(now_secs() - 3600 + left.min(3600));
    token["expires_at"] = json!(now_secs() + left);
    stack.cloud.secrets.set(secret, &token);
}

fn report(refreshed: &[&str], fresh: &[&str]) -> Value {
    json!({ "refreshed": refreshed, "fresh": fresh, "failed": [] })
}

async fn failure(stack: &Stack) -> Value {
    let Err(InvokeError::Function(error)) = stack.refresh_tokens().await else { panic!("an error is due") };
    assert_eq!(error["errorType"], "TokensNotRefreshed");
    serde_json::from_str(error["errorMessage"].as_str().unwrap()).unwrap()
}

#[tokio::test]
async fn logs_in_then_leaves_alone_then_refreshes() {
    let stack = Stack::start().await;
    assert_eq!(stack.refresh_tokens().await.unwrap(), report(&["bot"], &[]));
    assert_eq!((stack.bot.grants("password"), stack.bot.grants("refresh_token")), (1, 0));
    let first = stack.cloud.secrets.current(BOT_TOKEN_SECRET);
    assert!(first["expires_at"].as_u64().unwrap().abs_diff(now_secs() + 3600) < 10);
    assert_eq!(first["token_type"], "bearer");

    age(&stack, BOT_TOKEN_SECRET, 15 * 60 + 10);
    assert_eq!(stack.refresh_tokens().await.unwrap(), report(&[], &["bot"]));

    age(&stack, BOT_TOKEN_SECRET, 15 * 60 - 1);
    assert_eq!(stack.refresh_tokens().await.unwrap(), report(&["bot"], &[]));
    assert_eq!((stack.bot.grants("password"), stack.bot.grants("refresh_token")), (1, 1));
    let second = stack.cloud.secrets.current(BOT_TOKEN_SECRET);
    assert_ne!(first["access_token"], second["access_token"]);
    assert_ne!(first["refresh_token"], second["refresh_token"]);
    assert_eq!(stack.logged(r#""TokenSecondsLeft""#), 3);
    stack.finish().await;
}

#[tokio::test]
async fn a_token_that_was_stored_by_hand_is_refreshed_by_the_hour_long_rule() {
    let stack = Stack::start().await;
    let by_hand = json!({ "access_token": "by-hand", "refresh_token": null, "token_type": "bearer", "expires_at": now_secs() + 600 });
    stack.cloud.secrets.set(BOT_TOKEN_SECRET, &by_hand);
    assert_eq!(stack.refresh_tokens().await.unwrap(), report(&["bot"], &[]));
    stack.finish().await;
}

#[tokio::test]
async fn a_refresh_token_that_is_no_good_leads_to_a_log_in() {
    let stack = Stack::start().await;
    stack.refresh_tokens().await.unwrap();
    stack.bot.revoke_refresh_tokens();
    age(&stack, BOT_TOKEN_SECRET, 60);
    assert_eq!(stack.refresh_tokens().await.unwrap(), report(&["bot"], &[]));
    assert_eq!((stack.bot.grants("password"), stack.bot.grants("refresh_token")), (2, 0));
    stack.finish().await;
}

#[tokio::test]
async fn short_lived_tokens_are_refreshed_by_thirds() {
    let bot = BotPlatformSettings { token_life: Duration::from_secs(600), ..BotPlatformSettings::default() };
    let stack = Stack::with(SandboxSettings { bot, ..SandboxSettings::default() }).await;
    assert_eq!(stack.refresh_tokens().await.unwrap(), report(&["bot"], &[]));
    assert_eq!(stack.refresh_tokens().await.unwrap(), report(&[], &["bot"]));
    let mut token = stack.cloud.secrets.current(BOT_TOKEN_SECRET);
    for field in ["issued_at", "expires_at"] {
        token[field] = json!(token[field].as_u64().unwrap() - 401);
    }
    stack.cloud.secrets.set(BOT_TOKEN_SECRET, &token);
    assert_eq!(stack.refresh_tokens().await.unwrap(), report(&["bot"], &[]));
    stack.finish().await;
}

#[tokio::test]
async fn keeps_8x8s_token_with_both_grants() {
    for authentication in [Authentication::ClientCredentials, Authentication::Password] {
        let contact_center = ContactCenterSettings { authentication, ..ContactCenterSettings::default() };
        let stack = Stack::with(SandboxSettings { contact_center, ..SandboxSettings::default() }).await;
        // Registering has logged in already.
        assert_eq!(stack.refresh_tokens().await.unwrap(), report(&["bot"], &["contact-center"]), "{authentication:?}");
        age(&stack, CONTACT_CENTER_TOKEN_SECRET, 60);
        let before = stack.cloud.secrets.current(CONTACT_CENTER_TOKEN_SECRET);
        assert_eq!(stack.refresh_tokens().await.unwrap(), report(&["contact-center"], &["bot"]));
        let after = stack.cloud.secrets.current(CONTACT_CENTER_TOKEN_SECRET);
        assert_ne!(before["access_token"], after["access_token"]);
        // 8x8 writes its 1799 seconds as a string.
        assert!(after["expires_at"].as_u64().unwrap().abs_diff(now_secs() + 1799) < 10);
        stack.finish().await;
    }
}

#[tokio::test]
async fn one_tokens_failure_does_not_keep_the_other_from_being_refreshed() {
    let contact_center =
        ContactCenterSettings { authentication: Authentication::ClientCredentials, ..ContactCenterSettings::default() };
    let stack = Stack::with(SandboxSettings { contact_center, ..SandboxSettings::default() }).await;
    age(&stack, CONTACT_CENTER_TOKEN_SECRET, 60);
    let right = stack.cloud.secrets.current(CONTACT_CENTER_SECRET);
    stack.cloud.secrets.set(CONTACT_CENTER_SECRET, &json!({ "api_key": "wrong", "api_secret": "wrong" }));
    let failed = failure(&stack).await;
    assert_eq!((&failed["refreshed"], &failed["fresh"]), (&json!(["bot"]), &json!([])));
    assert_eq!(failed["failed"][0]["token"], "contact-center");
    let reason = failed["failed"][0]["reason"].as_str().unwrap();
    assert!(reason.contains("status 401") && reason.contains("invalid_client"), "{reason}");

    // The other way round.
    stack.cloud.secrets.set(CONTACT_CENTER_SECRET, &right);
    stack.cloud.secrets.set(BOT_SECRET, &json!({ "app_token": "wrong", "username": "u", "password": "p" }));
    age(&stack, BOT_TOKEN_SECRET, 60);
    let failed = failure(&stack).await;
    assert_eq!(failed["refreshed"], json!(["contact-center"]));
    assert_eq!(failed["failed"][0]["token"], "bot");
    stack.check();
}

#[tokio::test]
async fn a_secret_that_is_no_such_thing_is_named_with_what_belongs_there() {
    let stack = Stack::start().await;
    stack.cloud.secrets.set(BOT_SECRET, &json!({ "apptoken": "confidential" }));
    let failed = failure(&stack).await;
    let reason = failed["failed"][0]["reason"].as_str().unwrap();
    assert!(reason.contains("`bot`") && reason.contains("app_token"), "{reason}");
    stack.check();
}

#[tokio::test]
async fn a_refreshed_token_is_stored_hard() {
    let stack = Stack::start().await;
    stack.refresh_tokens().await.unwrap();
    age(&stack, BOT_TOKEN_SECRET, 60);
    // Reading the two secrets succeeds; then Secrets Manager is down for longer than the SDK's own retries last.
    let refresh = stack.refresh_tokens();
    let outage = async {
        while stack.bot.grants("refresh_token") == 0 {
            tokio::task::yield_now().await;
        }
        stack.fault(aws::Fault::SecretsDown, When::Next(4));
    };
    let (response, ()) = tokio::join!(refresh, outage);
    assert_eq!(response.unwrap(), report(&["bot"], &[]));
    age(&stack, BOT_TOKEN_SECRET, 60);
    assert_eq!(stack.refresh_tokens().await.unwrap(), report(&["bot"], &[]));
    assert_eq!((stack.bot.grants("password"), stack.bot.grants("refresh_token")), (1, 2), "the refresh token was kept");
    stack.finish().await;
}

#[tokio::test]
async fn two_refreshers_at_once_end_with_one_winner_and_a_token_that_works() {
    let stack = Stack::start().await;
    let versions = stack.cloud.secrets.versions(BOT_TOKEN_SECRET);
    let address = |name: &str| &stack.addresses.iter().find(|(part, _)| *part == name).unwrap().1;
    let secrets = SecretsManager::new(&sdk_config(address("AWS")));
    let endpoint = BaseUrl::parse(address("bot platform")).unwrap();
    let refresher = || {
        let credentials = secrets.secret(BOT_SECRET.to_owned()).into();
        let bot = BotTokenEndpoint::new(shared::http::client().unwrap(), &endpoint, credentials);
        Refresher::new(TokenStore::new(secrets.secret(BOT_TOKEN_SECRET.to_owned())), bot)
    };
    let (one, other) = (refresher(), refresher());
    let now = UnixTime::now();
    let (one, other) = tokio::join!(one.refresh(now), other.refresh(now));
    assert!(
        matches!(one, Ok(Refresh::Refreshed(_) | Refresh::Fresh(_)))
            && matches!(other, Ok(Refresh::Refreshed(_) | Refresh::Fresh(_)))
    );
    assert_eq!(stack.bot.grants("password"), 2, "both were really at it");
    assert_eq!(stack.cloud.secrets.versions(BOT_TOKEN_SECRET), versions + 1);
    let conversation = stack.contact_center.open_conversation(&stack.channel_id);
    conversation.queued();
    stack.finish().await;
}

/// A bot platform with that response to every grant, and a stored token that has to be refreshed.
async fn with_response(body: &'static str) -> (Stack, StandIn) {
    let bot =
        StandIn::start(move |_, _| response(StatusCode::OK, &[("content-type", b"application/json")], body)).await;
    let stack = Stack::with(SandboxSettings { bot_endpoint: Some(bot.url()), ..SandboxSettings::default() }).await;
    let stored = json!({ "access_token": "bot-access-good", "refresh_token": "bot-refresh-good", "token_type": "bearer", "issued_at": now_secs() - 3000, "expires_at": now_secs() + 600 });
    stack.cloud.secrets.set(BOT_TOKEN_SECRET, &stored);
    (stack, bot)
}

#[tokio::test]
async fn an_empty_access_token_does_not_replace_a_good_one() {
    let (stack, _bot) = with_response(r#"{"access_token":"","refresh_token":"","expires_in":3600}"#).await;
    let stored = stack.cloud.secrets.current(BOT_TOKEN_SECRET);
    assert!(failure(&stack).await["failed"][0]["reason"].as_str().unwrap().contains("no access token"));
    assert_eq!(stack.cloud.secrets.current(BOT_TOKEN_SECRET), stored);
    assert_eq!(stack.leaks(), Vec::<String>::new());
}

#[tokio::test]
async fn an_empty_refresh_token_does_not_replace_a_good_one() {
    let (stack, _bot) =
        with_response(r#"{"access_token":"bot-access-new","refresh_token":"","expires_in":3600}"#).await;
    assert_eq!(stack.refresh_tokens().await.unwrap(), report(&["bot"], &[]));
    let stored = stack.cloud.secrets.current(BOT_TOKEN_SECRET);
    assert_eq!(
        (&stored["access_token"], &stored["refresh_token"]),
        (&json!("bot-access-new"), &json!("bot-refresh-good"))
    );
}

#[tokio::test]
async fn an_empty_refresh_token_that_is_stored_is_not_sent() {
    let (stack, bot) = with_response(r#"{"access_token":"bot-access-new","expires_in":3600}"#).await;
    let mut stored = stack.cloud.secrets.current(BOT_TOKEN_SECRET);
    stored["refresh_token"] = json!("");
    stack.cloud.secrets.set(BOT_TOKEN_SECRET, &stored);
    assert_eq!(stack.refresh_tokens().await.unwrap(), report(&["bot"], &[]));
    let requests = bot.take();
    assert_eq!(requests.len(), 1);
    assert!(String::from_utf8_lossy(&requests[0].1).contains("grant_type=password"));
}

#[tokio::test]
async fn an_unusual_response_does_not_cost_the_token() {
    for (body, lifetime) in [
        (r#"{"access_token":"bot-access-new","refresh_token":"r","values":[],"expires_in":"3599.994"}"#, 3599),
        ("\u{feff}{\"access_token\":\"bot-access-new\",\"expires_in\":3600.0}", 3600),
        (r#"{"access_token":"bot-access-new","token_type":"bearer","token_type":"bearer","expires_in":""}"#, 3600),
        (r#"{"access_token":"bot-access-new","expires_in":18446744073709551616}"#, 365 * 24 * 3600),
    ] {
        let (stack, _bot) = with_response(body).await;
        assert_eq!(stack.refresh_tokens().await.unwrap(), report(&["bot"], &[]), "{body}");
        let stored = stack.cloud.secrets.current(BOT_TOKEN_SECRET);
        assert_eq!(stored["access_token"], "bot-access-new");
        assert!(stored["expires_at"].as_u64().unwrap().abs_diff(now_secs() + lifetime) < 10, "{body}");
    }
}
