//! What we rely on in Secrets Manager, SQS FIFO and DynamoDB, run against the sandbox's cloud and against moto's server, so that
//! neither drifts from the other.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use ::aws::cloud::Cloud;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType, Projection,
    ProjectionType, ReturnValuesOnConditionCheckFailure, ScalarAttributeType,
};
use aws_sdk_sqs::config::{Credentials, SharedCredentialsProvider};
use aws_sdk_sqs::types::{Message, MessageAttributeValue, MessageSystemAttributeName, QueueAttributeName};
use secrecy::SecretString;
use serde_json::{Value, json};
use shared::aws;
use shared::clock::UnixTime;
use shared::handover::fact::{Fact, Kind};
use shared::handover::table::HandoverTable;
use shared::queue::{EventQueue, QueueDepth, QueuedEvent};
use shared::secrets::rotation::{Rotation, Stage};
use shared::secrets::{Replaced, SecretContent, SecretsManager};
use shared::url::VerbatimUrl;
use simulation::faults::Faults;
use simulation::journal::Journal;
use simulation::server::Server;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// The SDK's configuration for a cloud at `url`, otherwise as the functions have it.
pub fn sdk_config(url: &str) -> SdkConfig {
    let credentials = Credentials::new("test", "test", None, None, "test");
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::from_static("us-east-1"))
        .endpoint_url(url)
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .http_client(aws::Transport::new().unwrap())
        .build()
}

/// One of the two clouds.
pub enum Peer {
    Sandbox { _cloud: Arc<Cloud>, server: Server },
    Moto { _process: Child, url: String },
}

impl Peer {
    async fn sandbox() -> Self {
        let (cloud, server) = Cloud::start(Arc::new(Faults::default()), Arc::new(Journal::new(false))).await;
        Self::Sandbox { _cloud: cloud, server }
    }

    /// moto's server as `make test` installs it below `target/`.
    pub async fn moto() -> Self {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/python/moto/bin/moto_server");
        let mut process = Command::new(&program)
            .args(["-H", "127.0.0.1", "-p", "0"])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| {
                panic!("{} does not start ({error}): `make python` installs it", program.display())
            });
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        while let Some(line) = lines.next_line().await.unwrap() {
            if let Some((_, url)) = line.split_once("Running on ") {
                let url = url.trim().to_owned();
                tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
                return Self::Moto { _process: process, url };
            }
        }
        panic!("moto's server ended");
    }

    pub fn url(&self) -> String {
        match self {
            Self::Sandbox { server, .. } => server.url(),
            Self::Moto { url, .. } => url.clone(),
        }
    }
}

/// Runs a test against both clouds.
macro_rules! on_both_clouds {
    ($($name:ident)*) => {
        mod sandbox_cloud {
            $(#[tokio::test] async fn $name() { let peer = super::Peer::sandbox().await; super::$name(&super::sdk_config(&peer.url())).await })*
        }
        mod moto {
            $(#[tokio::test] async fn $name() { let peer = super::Peer::moto().await; super::$name(&super::sdk_config(&peer.url())).await })*
        }
    };
}

on_both_clouds! {
    replacing_a_secret_is_a_compare_and_swap_on_the_version_that_was_read
    a_secret_that_does_not_exist_is_named_with_awss_code
    a_secret_that_holds_something_else_is_named_with_what_belongs_there
    putting_the_same_value_under_the_same_token_is_a_no_op
    every_version_that_was_replaced_recently_can_be_read
    a_rotation_that_is_ended_is_not_pending_any_more
    a_repeated_deduplication_id_is_confirmed_and_dropped
    a_group_comes_in_order_and_waits_while_one_of_it_is_in_flight
    a_message_that_is_shown_again_comes_first_and_counts_its_receives
    a_deleted_message_lets_the_next_of_its_group_through
    ids_that_sqs_would_refuse_are_hashed_and_taken
    a_message_comes_with_the_attributes_that_were_asked_for
    messages_are_counted_also_while_they_are_in_flight
    a_message_behind_one_in_flight_can_be_deleted
    a_queue_that_does_not_exist_is_an_error
    a_queue_counts_what_is_visible_and_what_is_in_flight
    an_item_is_put_once_and_a_later_put_returns_it
    an_item_that_has_expired_makes_way
    an_item_is_updated_while_it_is_as_it_was_read
    a_list_grows_and_begins_as_none
    a_table_that_does_not_exist_is_an_error
    the_facts_of_a_hand_over_are_a_set_that_grows
    a_hand_over_is_in_the_index_until_nothing_is_left_to_watch
    a_note_is_written_only_to_the_item_that_was_read
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

struct Queue {
    client: aws_sdk_sqs::Client,
    url: String,
    ours: EventQueue,
}

impl Queue {
    async fn create(config: &SdkConfig) -> Self {
        let client = aws_sdk_sqs::Client::new(config);
        let created = client
            .create_queue()
            .queue_name("a-queue.fifo")
            .attributes(QueueAttributeName::FifoQueue, "true")
            .attributes(QueueAttributeName::DeduplicationScope, "messageGroup")
            .attributes(QueueAttributeName::FifoThroughputLimit, "perMessageGroupId")
            .send()
            .await
            .expect("it can be created");
        let url = created.queue_url.unwrap();
        let ours = EventQueue::new(config, &VerbatimUrl::parse(&url).unwrap());
        Self { client, url, ours }
    }

    async fn send(&self, text: &str, group: &str, id: &str) {
        let event = QueuedEvent {
            body: text.to_owned().into(),
            content_type: None,
            headers: [].into(),
            received_at: UnixTime::from_secs(1),
            event_type: None,
            is_typing: false,
        };
        self.ours.send(&event, group, id).await.expect("it can be sent");
    }

    async fn receive(&self) -> Vec<Message> {
        let received = self
            .client
            .receive_message()
            .queue_url(&self.url)
            .max_number_of_messages(10)
            .message_system_attribute_names(MessageSystemAttributeName::All)
            .send()
            .await;
        received.expect("it can be asked").messages.unwrap_or_default()
    }

    async fn delete(&self, message: &Message) {
        let receipt = message.receipt_handle().unwrap();
        self.client
            .delete_message()
            .queue_url(&self.url)
            .receipt_handle(receipt)
            .send()
            .await
            .expect("it can be deleted");
    }
}

fn texts(messages: &[Message]) -> Vec<String> {
    let text = |message: &Message| QueuedEvent::from_message(message.body().unwrap()).unwrap().body;
    messages.iter().map(|message| String::from_utf8(text(message).to_vec()).unwrap()).collect()
}

async fn a_repeated_deduplication_id_is_confirmed_and_dropped(config: &SdkConfig) {
    let queue = Queue::create(config).await;
    queue.send("one", "g", "id").await;
    queue.send("two", "g", "id").await;
    queue.send("three", "g", "another id").await;
    assert_eq!(texts(&queue.receive().await), ["one", "three"]);
}

async fn a_group_comes_in_order_and_waits_while_one_of_it_is_in_flight(config: &SdkConfig) {
    let queue = Queue::create(config).await;
    for number in 0..5 {
        for group in ["a", "b"] {
            queue.send(&format!("{group}{number}"), group, &format!("{group}{number}")).await;
        }
    }
    let received = queue.receive().await;
    for group in ["a", "b"] {
        let of_group: Vec<_> = texts(&received).into_iter().filter(|text| text.starts_with(group)).collect();
        let expected: Vec<_> = (0..of_group.len()).map(|number| format!("{group}{number}")).collect();
        assert_eq!(of_group, expected);
    }
    queue.send("a5", "a", "a5").await;
    queue.send("c0", "c", "c0").await;
    let groups: BTreeSet<String> = texts(&queue.receive().await).into_iter().map(|text| text[..1].to_owned()).collect();
    assert!(!groups.contains("a") && groups.contains("c"), "{groups:?}");
}

async fn a_message_that_is_shown_again_comes_first_and_counts_its_receives(config: &SdkConfig) {
    let queue = Queue::create(config).await;
    queue.send("one", "g", "1").await;
    let first = queue.receive().await;
    queue.send("two", "g", "2").await;
    assert_eq!(texts(&queue.receive().await), Vec::<String>::new());
    let receipt = first[0].receipt_handle().unwrap();
    queue.ours.change_visibility(receipt, std::time::Duration::ZERO).await.expect("its visibility can be changed");
    let again = queue.receive().await;
    assert_eq!(texts(&again), ["one", "two"]);
    let attributes = again[0].attributes().unwrap();
    assert_eq!(attributes[&MessageSystemAttributeName::ApproximateReceiveCount], "2");
    assert_eq!(attributes[&MessageSystemAttributeName::MessageGroupId], "g");
}

async fn a_deleted_message_lets_the_next_of_its_group_through(config: &SdkConfig) {
    let queue = Queue::create(config).await;
    queue.send("one", "g", "1").await;
    let first = queue.receive().await;
    queue.send("two", "g", "2").await;
    queue.delete(&first[0]).await;
    assert_eq!(texts(&queue.receive().await), ["two"]);
}

async fn ids_that_sqs_would_refuse_are_hashed_and_taken(config: &SdkConfig) {
    let queue = Queue::create(config).await;
    queue.send("one", "ü b", "").await;
    queue.send("two", &"g".repeat(129), "a b").await;
    assert_eq!(texts(&queue.receive().await).len(), 2);
}

async fn a_message_comes_with_the_attributes_that_were_asked_for(config: &SdkConfig) {
    let queue = Queue::create(config).await;
    let send = queue.client.send_message().queue_url(&queue.url).message_body("x").message_group_id("g");
    let text = |text: &str| MessageAttributeValue::builder().data_type("String").string_value(text).build().unwrap();
    let send =
        send.message_deduplication_id("1").message_attributes("reason", text("a")).message_attributes("b", text("b"));
    send.send().await.expect("it can be sent");
    let receive = queue.client.receive_message().queue_url(&queue.url).visibility_timeout(0);
    let plain = receive.clone().send().await.expect("it can be asked").messages.unwrap_or_default();
    assert!(plain[0].attributes.is_none() && plain[0].message_attributes.is_none());
    let receive = receive
        .message_system_attribute_names(MessageSystemAttributeName::MessageGroupId)
        .message_system_attribute_names(MessageSystemAttributeName::SentTimestamp)
        .message_attribute_names("reason")
        .message_attribute_names("status");
    let asked = receive.send().await.expect("it can be asked").messages.unwrap_or_default();
    let system = asked[0].attributes().expect("system attributes");
    assert_eq!(system[&MessageSystemAttributeName::MessageGroupId], "g");
    assert!(system[&MessageSystemAttributeName::SentTimestamp].parse::<u64>().is_ok_and(|millis| millis > 1 << 40));
    let attributes = asked[0].message_attributes().expect("attributes");
    assert_eq!((attributes.len(), attributes["reason"].string_value()), (1, Some("a")));
}

async fn messages_are_counted_also_while_they_are_in_flight(config: &SdkConfig) {
    let queue = Queue::create(config).await;
    let counted = async || {
        let names = [
            QueueAttributeName::ApproximateNumberOfMessages,
            QueueAttributeName::ApproximateNumberOfMessagesNotVisible,
        ];
        let asked = queue.client.get_queue_attributes().queue_url(&queue.url).set_attribute_names(Some(names.to_vec()));
        let counts = asked.send().await.expect("it can be asked").attributes.unwrap_or_default();
        names.iter().map(|name| counts[name].parse::<u64>().unwrap()).sum::<u64>()
    };
    for group in ["a", "b", "c"] {
        queue.send(group, group, group).await;
    }
    assert_eq!(counted().await, 3);
    let received = queue.receive().await;
    assert_eq!((received.len(), counted().await), (3, 3));
    queue.delete(&received[0]).await;
    assert_eq!(counted().await, 2);
}

async fn a_message_behind_one_in_flight_can_be_deleted(config: &SdkConfig) {
    let queue = Queue::create(config).await;
    for text in ["one", "two", "three"] {
        queue.send(text, "g", text).await;
    }
    let received = queue.receive().await;
    queue.delete(&received[1]).await;
    for message in [&received[0], &received[2]] {
        let receipt = message.receipt_handle().unwrap();
        queue.ours.change_visibility(receipt, std::time::Duration::ZERO).await.expect("its visibility can be changed");
    }
    assert_eq!(texts(&queue.receive().await), ["one", "three"]);
}

async fn a_queue_that_does_not_exist_is_an_error(config: &SdkConfig) {
    let mut queue = Queue::create(config).await;
    let url = queue.url.replace("a-queue", "no-such-queue");
    queue.ours = EventQueue::new(config, &VerbatimUrl::parse(&url).unwrap());
    let event = QueuedEvent {
        body: "x".into(),
        content_type: None,
        headers: [].into(),
        received_at: UnixTime::now(),
        event_type: None,
        is_typing: false,
    };
    let error = queue.ours.send(&event, "g", "1").await.unwrap_err().to_string();
    assert!(error.contains("QueueDoesNotExist") || error.contains("NonExistentQueue"), "{error}");
}

async fn a_queue_counts_what_is_visible_and_what_is_in_flight(config: &SdkConfig) {
    let queue = Queue::create(config).await;
    let depth = async |url: &str| QueueDepth::read(config, &VerbatimUrl::parse(url).unwrap()).await;
    assert_eq!(depth(&queue.url).await, Ok(Some(QueueDepth { visible: 0, in_flight: 0 })));
    queue.send("one", "a", "1").await;
    queue.send("two", "b", "2").await;
    assert_eq!(depth(&queue.url).await, Ok(Some(QueueDepth { visible: 2, in_flight: 0 })));
    assert_eq!(queue.receive().await.len(), 2);
    queue.send("three", "c", "3").await;
    assert_eq!(depth(&queue.url).await, Ok(Some(QueueDepth { visible: 1, in_flight: 2 })));
    assert_eq!(depth(&queue.url.replace("a-queue", "no-such-queue")).await, Ok(None));
}

/// The table of idempotency keys, and the expressions that converse uses on it.
struct Table(aws_sdk_dynamodb::Client);

impl Table {
    async fn create(config: &SdkConfig) -> Self {
        let client = aws_sdk_dynamodb::Client::new(config);
        create_table(&client, "keys").await;
        Self(client)
    }

    /// Puts an item unless there is one that has not expired by `now`; gives what is there instead.
    async fn put(&self, owner: &str, expires_at: u64, now: u64) -> Result<(), Option<HashMap<String, AttributeValue>>> {
        let put = self
            .0
            .put_item()
            .table_name("keys")
            .item("id", AttributeValue::S("key".to_owned()))
            .item("owner", AttributeValue::S(owner.to_owned()))
            .item("taken_at", number(1))
            .item("expires_at", number(expires_at))
            .condition_expression("attribute_not_exists(id) OR expires_at <= :now")
            .expression_attribute_values(":now", number(now))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        match put.send().await.map_err(SdkError::into_service_error) {
            Ok(_) => Ok(()),
            Err(PutItemError::ConditionalCheckFailedException(error)) => Err(error.item),
            Err(error) => panic!("{error:?}"),
        }
    }

    /// Takes the item over from the process that took it at `taken_at`; `false` if another process has.
    async fn take_over(&self, taken_at: u64, now: u64) -> bool {
        let update = self
            .0
            .update_item()
            .table_name("keys")
            .key("id", AttributeValue::S("key".to_owned()))
            .update_expression("SET taken_at = :now, in_doubt = :true")
            .condition_expression("taken_at = :taken AND attribute_not_exists(answer_status)")
            .expression_attribute_values(":now", number(now))
            .expression_attribute_values(":taken", number(taken_at))
            .expression_attribute_values(":true", AttributeValue::Bool(true));
        match update.send().await.map_err(SdkError::into_service_error) {
            Ok(_) => true,
            Err(UpdateItemError::ConditionalCheckFailedException(_)) => false,
            Err(error) => panic!("{error:?}"),
        }
    }
}

/// Creates the table as the template does.
pub async fn create_table(client: &aws_sdk_dynamodb::Client, name: &str) {
    let key = KeySchemaElement::builder().attribute_name("id").key_type(KeyType::Hash).build().unwrap();
    let attribute = AttributeDefinition::builder().attribute_name("id").attribute_type(ScalarAttributeType::S);
    let table = client.create_table().table_name(name).billing_mode(BillingMode::PayPerRequest).key_schema(key);
    table.attribute_definitions(attribute.build().unwrap()).send().await.expect("a table");
}

fn number(number: u64) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

async fn an_item_is_put_once_and_a_later_put_returns_it(config: &SdkConfig) {
    let table = Table::create(config).await;
    assert_eq!(table.put("first", 2000, 1000).await, Ok(()));
    let found = table.put("second", 3000, 1999).await.unwrap_err().expect("the item");
    assert_eq!(found["owner"], AttributeValue::S("first".to_owned()));
    assert_eq!(found["expires_at"], number(2000));
}

async fn an_item_that_has_expired_makes_way(config: &SdkConfig) {
    let table = Table::create(config).await;
    assert_eq!(table.put("first", 999, 0).await, Ok(()));
    // Numbers are compared as numbers.
    assert_eq!(table.put("second", 3000, 1000).await, Ok(()));
    let found = table.put("third", 4000, 1000).await.unwrap_err().expect("the item");
    assert_eq!(found["owner"], AttributeValue::S("second".to_owned()));
}

async fn an_item_is_updated_while_it_is_as_it_was_read(config: &SdkConfig) {
    let table = Table::create(config).await;
    assert!(!table.take_over(1, 2).await, "there is none");
    assert_eq!(table.put("first", 2000, 1000).await, Ok(()));
    assert!(table.take_over(1, 2).await);
    assert!(!table.take_over(1, 3).await, "another process was first");
    assert!(table.take_over(2, 3).await);
    let found = table.put("second", 3000, 1000).await.unwrap_err().expect("the item");
    assert_eq!((&found["taken_at"], &found["in_doubt"]), (&number(3), &AttributeValue::Bool(true)));
    assert_eq!(found["owner"], AttributeValue::S("first".to_owned()), "the rest stays");
}

async fn a_list_grows_and_begins_as_none(config: &SdkConfig) {
    let table = Table::create(config).await;
    let id = || AttributeValue::S("line".to_owned());
    let get =
        async || table.0.get_item().table_name("keys").key("id", id()).consistent_read(true).send().await.unwrap().item;
    assert_eq!(get().await, None);
    for at in [1, 2, 2] {
        let update = table.0.update_item().table_name("keys").key("id", id());
        update
            .update_expression("SET said_at = list_append(if_not_exists(said_at, :none), :at), expires_at = :expires")
            .expression_attribute_values(":none", AttributeValue::L(Vec::new()))
            .expression_attribute_values(":at", AttributeValue::L(vec![number(at)]))
            .expression_attribute_values(":expires", number(at + 1000))
            .send()
            .await
            .expect("an update");
    }
    let item = get().await.expect("an item");
    assert_eq!(item["said_at"], AttributeValue::L(vec![number(1), number(2), number(2)]));
    assert_eq!(item["expires_at"], number(1002));
}

/// The table of hand-overs, as the template creates it.
async fn create_handovers(config: &SdkConfig) -> HandoverTable {
    let client = aws_sdk_dynamodb::Client::new(config);
    let key = |name: &str| KeySchemaElement::builder().attribute_name(name).key_type(KeyType::Hash).build().unwrap();
    let attribute = |name: &str| {
        AttributeDefinition::builder().attribute_name(name).attribute_type(ScalarAttributeType::S).build().unwrap()
    };
    let projection = Projection::builder().projection_type(ProjectionType::All).build();
    let index = GlobalSecondaryIndex::builder().index_name("open").key_schema(key("watched")).projection(projection);
    let table = client.create_table().table_name("handovers").billing_mode(BillingMode::PayPerRequest);
    let table =
        table.key_schema(key("id")).attribute_definitions(attribute("id")).attribute_definitions(attribute("watched"));
    table.global_secondary_indexes(index.build().unwrap()).send().await.expect("a table");
    HandoverTable::new(config, "handovers".to_owned())
}

fn fact(at: u64, kind: Kind, id: &str) -> Fact {
    Fact::new(UnixTime::from_millis(at), kind, id)
}

async fn the_facts_of_a_hand_over_are_a_set_that_grows(config: &SdkConfig) {
    let table = create_handovers(config).await;
    assert_eq!(table.get("c").await, Ok(None));
    let now = UnixTime::now();
    for fact in [fact(2, Kind::AgentJoined, "a"), fact(1, Kind::Queued, "101"), fact(2, Kind::AgentJoined, "a")] {
        table.record("c", &[fact], now).await.unwrap();
    }
    let mut facts = table.get("c").await.unwrap().expect("an item").facts;
    facts.sort();
    assert_eq!(facts, [fact(1, Kind::Queued, "101"), fact(2, Kind::AgentJoined, "a")]);
    let item = aws_sdk_dynamodb::Client::new(config).get_item().table_name("handovers");
    let item = item.key("id", AttributeValue::S("c".to_owned())).send().await.unwrap().item.expect("an item");
    assert_eq!(item["revision"], number(2), "a repeat changes nothing");
    assert_eq!(item["expires_at"], number(now.secs() + 7 * 24 * 3600));
}

async fn a_hand_over_is_in_the_index_until_nothing_is_left_to_watch(config: &SdkConfig) {
    let table = create_handovers(config).await;
    for number in 0..250 {
        table.record(&format!("c{number}"), &[fact(1, Kind::Queued, "101")], UnixTime::now()).await.unwrap();
    }
    let open = table.open().await.unwrap();
    assert_eq!(open.iter().map(|record| &record.conversation_id).collect::<BTreeSet<_>>().len(), 250);
    assert!(table.note(&open[0], Some(fact(2, Kind::Ended, "")), true).await.unwrap());
    assert_eq!(table.open().await.unwrap().len(), 249);
    // A late event brings it back.
    table.record(&open[0].conversation_id, &[fact(1, Kind::AgentJoined, "a")], UnixTime::now()).await.unwrap();
    let back = table.open().await.unwrap();
    let back = back.iter().find(|record| record.conversation_id == open[0].conversation_id).expect("it is there");
    assert_eq!(back.facts.len(), 3);
}

async fn a_note_is_written_only_to_the_item_that_was_read(config: &SdkConfig) {
    let table = create_handovers(config).await;
    table.record("c", &[fact(1, Kind::Queued, "101")], UnixTime::now()).await.unwrap();
    let mut read = table.get("c").await.unwrap().expect("an item");
    read.notes.is_joining_counted = true;
    table.record("c", &[fact(2, Kind::AgentJoined, "a")], UnixTime::now()).await.unwrap();
    assert_eq!(table.note(&read, None, false).await, Ok(false), "an event has arrived");
    let mut read = table.get("c").await.unwrap().expect("an item");
    assert!(!read.notes.is_joining_counted);
    read.notes.is_joining_counted = true;
    assert_eq!(table.note(&read, None, false).await, Ok(true));
    assert_eq!(table.note(&read, None, false).await, Ok(false), "another run was faster");
    assert!(table.get("c").await.unwrap().expect("an item").notes.is_joining_counted);
}

async fn a_table_that_does_not_exist_is_an_error(config: &SdkConfig) {
    let table = Table(aws_sdk_dynamodb::Client::new(config));
    let put = table.0.put_item().table_name("keys").item("id", AttributeValue::S("key".to_owned()));
    assert_eq!(aws::failure(&put.send().await.unwrap_err()), "ResourceNotFoundException");
}

/// SQS remembers a deduplication id for five minutes; moto forgets it with the message. We rely on AWS's rule.
#[tokio::test]
async fn a_deduplication_id_is_remembered_after_the_message_was_deleted() {
    let peer = Peer::sandbox().await;
    let queue = Queue::create(&sdk_config(&peer.url())).await;
    queue.send("one", "g", "id").await;
    queue.delete(&queue.receive().await[0]).await;
    queue.send("two", "g", "id").await;
    assert_eq!(texts(&queue.receive().await), Vec::<String>::new());
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

#[tokio::test]
async fn the_sandboxs_cloud_refuses_what_it_does_not_know() {
    let peer = Peer::sandbox().await;
    let config = sdk_config(&peer.url());
    let error = aws_sdk_secretsmanager::Client::new(&config).list_secrets().send().await.unwrap_err();
    assert_eq!(aws::failure(&error), "UnknownOperationException");
    let error = aws_sdk_sqs::Client::new(&config).list_queues().send().await.unwrap_err();
    assert_eq!(aws::failure(&error), "UnknownOperationException");
}

#[tokio::test]
async fn the_sandboxs_cloud_refuses_characters_that_xml_does_not_allow() {
    let peer = Peer::sandbox().await;
    let queue = Queue::create(&sdk_config(&peer.url())).await;
    let send = queue.client.send_message().queue_url(&queue.url).message_group_id("g").message_deduplication_id("d");
    let error = send.message_body("\u{fffe}").send().await.unwrap_err();
    assert_eq!(aws::failure(&error), "InvalidMessageContents");
}
