//! What is wrong with secrets, tokens and clocks.

use contact_center::{Authentication, ContactCenterSettings};
use sandbox::SandboxSettings;
use sandbox::deployment::{
    BOT_SECRET, BOT_TOKEN_SECRET, CALLER_SECRET, CONTACT_CENTER_SECRET, CONTACT_CENTER_TOKEN_SECRET,
};
use serde_json::json;

use crate::support::now_millis;

use super::CheckedStack;

#[tokio::test]
async fn a_secret_that_lacks_something_is_named_with_what_it_lacks() {
    let mut checked = CheckedStack::start().await;
    let caller = &checked.secrets[CALLER_SECRET];
    let short = json!({ "app_token": caller["app_token"], "username": "u", "password": "", "signing_key": "short" });
    for (check, secret, content, found) in [
        ("contact-center-secret", CONTACT_CENTER_SECRET, json!({ "api_key": " " }), "api_key"),
        ("contact-center-secret", CONTACT_CENTER_SECRET, json!("confidential"), "does not hold"),
        ("bot-secret", BOT_SECRET, json!({ "app_token": "", "username": "", "password": "confidential" }), "username"),
        ("bot-secret", BOT_SECRET, json!({ "app_token": "confidential" }), "does not hold"),
        ("caller-secret", CALLER_SECRET, short, "password, signing_key"),
    ] {
        checked.stack.cloud.secrets.set(secret, &content);
        let action = checked.suffers(check, "failed", found).await;
        checked.is_cured_by(&action).await;
    }
    checked.leaves().await;
}

#[tokio::test]
async fn credentials_that_are_refused_are_named() {
    let mut checked = CheckedStack::start().await;
    let bot = checked.secrets[BOT_SECRET].clone();
    let with = |field: &str| {
        let mut changed = bot.clone();
        changed[field] = "wrong".into();
        changed
    };
    for (check, secret, content, found) in [
        ("contact-center", CONTACT_CENTER_SECRET, json!({ "api_key": "wrong" }), "401"),
        // The token that is stored is alive: only a log-in can show it.
        ("bot-log-in", BOT_SECRET, with("password"), "invalid_grant"),
        ("bot-log-in", BOT_SECRET, with("app_token"), "invalid_client"),
    ] {
        checked.stack.cloud.secrets.set(secret, &content);
        let action = checked.suffers(check, "failed", found).await;
        checked.is_cured_by(&action).await;
    }
    checked.leaves().await;
}

#[tokio::test]
async fn an_api_secret_that_is_refused_is_named_while_the_stored_token_is_alive() {
    let authentication = Authentication::ClientCredentials;
    let contact_center = ContactCenterSettings { authentication, ..ContactCenterSettings::default() };
    let mut checked = CheckedStack::with(SandboxSettings { contact_center, ..SandboxSettings::default() }).await;
    let mut wrong = checked.secrets[CONTACT_CENTER_SECRET].clone();
    wrong["api_secret"] = "wrong".into();
    checked.stack.cloud.secrets.set(CONTACT_CENTER_SECRET, &wrong);
    let action = checked.suffers("contact-center", "failed", "token endpoint").await;
    checked.is_cured_by(&action).await;

    checked.move_token(CONTACT_CENTER_TOKEN_SECRET, -3600);
    let action = checked.suffers("contact-center-token", "failed", "expired").await;
    checked.is_cured_by(&action).await;
    checked.leaves().await;
}

#[tokio::test]
async fn a_token_that_is_not_refreshed_is_named() {
    let mut checked = CheckedStack::start().await;
    let token = checked.stack.cloud.secrets.current(BOT_TOKEN_SECRET);
    for (token, status, found) in [
        (json!({}), "failed", "no token yet"),
        (json!({ "access_token": token["access_token"], "expires_at": 1 }), "failed", "expired"),
    ] {
        checked.stack.cloud.secrets.set(BOT_TOKEN_SECRET, &token);
        let action = checked.suffers("bot-token", status, found).await;
        checked.is_cured_by(&action).await;
    }
    // Five minutes are left: the last runs should have refreshed it.
    let left = checked.stack.cloud.secrets.current(BOT_TOKEN_SECRET)["expires_at"].as_i64().unwrap();
    let now = i64::try_from(now_millis() / 1000).unwrap();
    checked.move_token(BOT_TOKEN_SECRET, now + 270 - left);
    let action = checked.suffers("bot-token", "warning", "4 min remain").await;
    checked.is_cured_by(&action).await;

    checked.stack.bot.revoke_access_tokens();
    let action = checked.suffers("bot-token", "warning", "refuses the stored token").await;
    checked.is_cured_by(&action).await;
    checked.leaves().await;
}

#[tokio::test]
async fn a_clock_that_is_wrong_is_named_with_its_owner() {
    let mut checked = CheckedStack::start().await;
    for (ahead, found) in [(300, "the clock of 8x8 is 2"), (-300, "the clock of 8x8 is 2")] {
        checked.stack.contact_center_server.set_clock_ahead(ahead);
        let action = checked.suffers("clocks", "failed", found).await;
        checked.is_cured_by(&action).await;
    }
    checked.stack.contact_center_server.set_clock_ahead(20);
    checked.is_well().await;
    checked.leaves().await;
}
