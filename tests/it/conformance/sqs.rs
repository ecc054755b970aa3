//! SQS FIFO.

use std::collections::BTreeSet;

use aws_config::SdkConfig;
use aws_sdk_sqs::types::{Message, MessageAttributeValue, MessageSystemAttributeName, QueueAttributeName};
use shared::aws;
use shared::clock::UnixTime;
use shared::queue::{EventQueue, QueueDepth, QueuedEvent};
use shared::url::VerbatimUrl;

use super::{Peer, sdk_config};

on_both_clouds! {
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

#[tokio::test]
async fn the_sandboxs_cloud_refuses_characters_that_xml_does_not_allow() {
    let peer = Peer::sandbox().await;
    let queue = Queue::create(&sdk_config(&peer.url())).await;
    let send = queue.client.send_message().queue_url(&queue.url).message_group_id("g").message_deduplication_id("d");
    let error = send.message_body("\u{fffe}").send().await.unwrap_err();
    assert_eq!(aws::failure(&error), "InvalidMessageContents");
}
