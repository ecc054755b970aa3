//! DynamoDB.

use std::collections::{BTreeSet, HashMap};

use aws_config::SdkConfig;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType, Projection,
    ProjectionType, ReturnValuesOnConditionCheckFailure, ScalarAttributeType,
};
use shared::aws;
use shared::clock::UnixTime;
use shared::handover::fact::{Fact, Kind};
use shared::handover::table::HandoverTable;

use super::{Peer, sdk_config};

on_both_clouds! {
    an_item_is_put_once_and_a_later_put_returns_it
    an_item_that_has_expired_makes_way
    an_item_is_updated_while_it_is_as_it_was_read
    a_list_grows_and_begins_as_none
    a_table_that_does_not_exist_is_an_error
    the_facts_of_a_hand_over_are_a_set_that_grows
    a_hand_over_is_in_the_index_until_nothing_is_left_to_watch
    a_note_is_written_only_to_the_item_that_was_read
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
            .update_expression("SET taken_at = :now, is_open = :true")
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
    assert_eq!((&found["taken_at"], &found["is_open"]), (&number(3), &AttributeValue::Bool(true)));
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
