//! Secrets Manager.

use std::time::Duration;

use aws_config::SdkConfig;
use secrecy::SecretString;
use serde_json::{Value, json};
use shared::clock::UnixTime;
use shared::secrets::rotation::{Rotation, Stage};
use shared::secrets::{Replaced, SecretContent, SecretsManager};

use super::{Peer, sdk_config};

on_both_clouds! {
    replacing_a_secret_is_a_compare_and_swap_on_the_version_that_was_read
    a_secret_that_does_not_exist_is_named_with_awss_code
    a_secret_that_holds_something_else_is_named_with_what_belongs_there
    putting_the_same_value_under_the_same_token_is_a_no_op
    every_version_that_was_replaced_recently_can_be_read
    a_rotation_that_is_ended_is_not_pending_any_more
}

#[derive(Debug)]
struct AnyJson(Value);

impl SecretContent for AnyJson {
    const SHAPE: &'static str = "an object";
}

impl<'de> serde::Deserialize<'de> for AnyJson {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        serde_json::Map::deserialize(deserializer).map(|fields| Self(fields.into()))
    }
}

fn secret(value: &str) -> SecretString {
    SecretString::from(value)
}

async fn create_secret(config: &SdkConfig, value: &str) -> aws_sdk_secretsmanager::Client {
    let client = aws_sdk_secretsmanager::Client::new(config);
    client.create_secret().name("a-secret").secret_string(value).send().await.expect("it can be created");
    client
}

async fn replacing_a_secret_is_a_compare_and_swap_on_the_version_that_was_read(config: &SdkConfig) {
    create_secret(config, "{}").await;
    let secrets = SecretsManager::new(config);
    let (one, other) =
        (secrets.secret::<AnyJson>("a-secret".to_owned()), secrets.secret::<AnyJson>("a-secret".to_owned()));
    let now = UnixTime::now();
    let (read_by_one, read_by_other) = (one.read(now).await.unwrap(), other.read(now).await.unwrap());
    assert_eq!(one.replace(&read_by_one, secret(r#"{"by":"one"}"#)).await, Ok(Replaced::Stored));
    assert_eq!(other.replace(&read_by_other, secret(r#"{"by":"other"}"#)).await, Ok(Replaced::Superseded));
    let current = other.read(now).await.unwrap();
    assert_eq!(current.content.0["by"], "one");
    assert_eq!(other.replace(&current, secret(r#"{"by":"other"}"#)).await, Ok(Replaced::Stored));
    assert_eq!(one.read(now).await.unwrap().content.0["by"], "other");
}

async fn a_secret_that_does_not_exist_is_named_with_awss_code(config: &SdkConfig) {
    let missing = SecretsManager::new(config).secret::<AnyJson>("no-such-secret".to_owned());
    let error = missing.get(UnixTime::now()).await.unwrap_err();
    assert_eq!(error.to_string(), "secret `no-such-secret` is unavailable (ResourceNotFoundException)");
}

async fn a_secret_that_holds_something_else_is_named_with_what_belongs_there(config: &SdkConfig) {
    create_secret(config, "confidential").await;
    let malformed = SecretsManager::new(config).secret::<AnyJson>("a-secret".to_owned());
    let error = malformed.get(UnixTime::now()).await.unwrap_err();
    assert_eq!(error.to_string(), "secret `a-secret` does not hold an object");
}

async fn putting_the_same_value_under_the_same_token_is_a_no_op(config: &SdkConfig) {
    let client = create_secret(config, "{}").await;
    let token = "t".repeat(64);
    let put = async |value: &str| {
        client.put_secret_value().secret_id("a-secret").client_request_token(&token).secret_string(value).send().await
    };
    put("one").await.expect("a new version");
    put("one").await.expect("the same version");
    let error = put("two").await.unwrap_err().into_service_error();
    assert!(error.is_resource_exists_exception(), "{error:?}");
    let previous = client.get_secret_value().secret_id("a-secret").version_stage("AWSPREVIOUS").send().await.unwrap();
    assert_eq!(previous.secret_string(), Some("{}"));
}

async fn every_version_that_was_replaced_recently_can_be_read(config: &SdkConfig) {
    let client = create_secret(config, r#"{"edit":1}"#).await;
    for edit in 2..=5 {
        let put = client.put_secret_value().secret_id("a-secret").secret_string(json!({ "edit": edit }).to_string());
        put.send().await.expect("a new version");
    }
    let secret = SecretsManager::new(config).secret::<AnyJson>("a-secret".to_owned());
    let history = secret.read_history(Duration::from_secs(3600), UnixTime::now()).await.unwrap();
    assert_eq!(history.current.content.0["edit"], 5);
    let mut past: Vec<u64> = history.past.iter().map(|old| old.version.content.0["edit"].as_u64().unwrap()).collect();
    past.sort_unstable();
    assert_eq!(past, [1, 2, 3, 4]);
    let later = UnixTime::now() + Duration::from_secs(3601);
    assert!(secret.read_history(Duration::from_secs(3600), later).await.unwrap().past.is_empty());
}

async fn a_rotation_that_is_ended_is_not_pending_any_more(config: &SdkConfig) {
    let client = create_secret(config, "{}").await;
    let token = "t".repeat(64);
    let put = client.put_secret_value().secret_id("a-secret").client_request_token(&token).secret_string("{}");
    put.version_stages("AWSPENDING").send().await.expect("a pending version");
    let secret = SecretsManager::new(config).secret::<AnyJson>("a-secret".to_owned());
    let rotation = Rotation::new(&secret, token);
    assert_eq!(rotation.stage().await, Ok(Stage::Pending));
    rotation.end().await.unwrap();
    assert_eq!(rotation.stage().await, Ok(Stage::Unknown));
    assert!(rotation.pending().await.unwrap().is_none());
}

/// After AWSCURRENT was moved by hand, moto's PutSecretValue leaves it on two versions; AWS has it on one.
#[tokio::test]
async fn a_rolled_back_secret_can_be_replaced_again() {
    let peer = Peer::sandbox().await;
    let config = &sdk_config(&peer.url());
    let client = create_secret(config, r#"{"version":1}"#).await;
    let secret_of_ours = SecretsManager::new(config).secret::<AnyJson>("a-secret".to_owned());
    let now = UnixTime::now();
    let first = secret_of_ours.read(now).await.unwrap();
    let current = async || client.get_secret_value().secret_id("a-secret").send().await.unwrap().version_id.unwrap();
    let first_id = current().await;
    assert_eq!(secret_of_ours.replace(&first, secret(r#"{"version":2}"#)).await, Ok(Replaced::Stored));
    let second_id = current().await;
    client
        .update_secret_version_stage()
        .secret_id("a-secret")
        .version_stage("AWSCURRENT")
        .move_to_version_id(&first_id)
        .remove_from_version_id(&second_id)
        .send()
        .await
        .expect("AWSCURRENT can be moved");
    let first = secret_of_ours.read(now).await.unwrap();
    assert_eq!(first.content.0["version"], 1);
    assert_eq!(secret_of_ours.replace(&first, secret(r#"{"version":3}"#)).await, Ok(Replaced::Stored));
    assert_eq!(secret_of_ours.read(now).await.unwrap().content.0["version"], 3);
}
