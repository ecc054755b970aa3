//! CloudFormation's protocol for a custom resource: whatever happens, the answer goes to the pre-signed URL of the request,
//! for a stack that gets none hangs for an hour.
//!
//! <https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/crpg-ref.html>

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;
use reqwest::header::CONTENT_TYPE;
use serde::Deserialize;
use serde_json::{Value, json};
use shared::clock::UnixTime;
use shared::config::ExactUrl;
use shared::http::failure;

use crate::operation::{Operation, Wishes};
use crate::{Error, RegisterChannel};

/// What is kept of the invocation for the answer: three tries and the pauses between them.
const RESERVE: Duration = Duration::from_secs(20);

/// S3 takes the answer in well under a second.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Between the tries to answer.
const PAUSES: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(2)];

/// CloudFormation takes an answer of 4096 bytes at the most; ids and keys need the rest.
const REASON_LIMIT: usize = 2000;

/// A request of CloudFormation's.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct CustomResource {
    request_type: String,
    #[serde(rename = "ResponseURL")]
    response_url: String,
    stack_id: String,
    request_id: String,
    logical_resource_id: String,
    physical_resource_id: Option<String>,
    resource_properties: Option<Value>,
}

impl CustomResource {
    /// `None` if `request` is not CloudFormation's.
    pub(crate) fn parse(request: &Value) -> Option<Self> {
        Self::deserialize(request).ok()
    }

    /// Does what is asked for and tells CloudFormation the outcome, also after a panic and when time is running out.
    ///
    /// An error means that CloudFormation could not be told; Lambda then invokes the function again.
    pub(crate) async fn answer(self, function: &RegisterChannel, deadline: UnixTime) -> Result<Value, Error> {
        let time = deadline.since(UnixTime::now() + RESERVE);
        let outcome = carried_out(self.carry_out(function), time).await;
        let answer = self.to_answer(function.name(), outcome);
        self.send(function, &answer).await?;
        Ok(answer)
    }

    async fn carry_out(&self, function: &RegisterChannel) -> Result<Value, Error> {
        match self.request_type.as_str() {
            "Create" | "Update" => function.perform(Operation::Register(self.wishes()?)).await,
            "Delete" => self.delete(function).await,
            _ => Err(Error::NotAnOperation),
        }
    }

    fn wishes(&self) -> Result<Wishes, Error> {
        let text = |name| self.resource_properties.as_ref()?.get(name)?.as_str().map(str::to_owned);
        let queue_id = text("QueueId").ok_or(Error::NoQueue)?;
        Ok(Wishes { queue_id: Some(queue_id), callback_url: text("CallbackUrl") })
    }

    /// CloudFormation deletes what a stack leaves behind: the registration itself, or, after the integration was renamed,
    /// the one of the old name.
    async fn delete(&self, function: &RegisterChannel) -> Result<Value, Error> {
        let physical_id = self.physical_resource_id.as_deref().unwrap_or_default();
        if physical_id.starts_with("live-agent-") && physical_id != function.name() {
            return function.remove_by_name(physical_id).await;
        }
        match function.perform(Operation::Deregister).await {
            Err(error) if !function.is_registered().await? => {
                // A stack whose creation failed, say for a wrong API key, has to roll back all the same.
                tracing::warn!(%error, "nothing was registered, and 8x8 cannot be asked whether something is left");
                Ok(Value::Null)
            }
            removed => removed,
        }
    }

    fn to_answer(&self, name: &str, outcome: Result<Value, String>) -> Value {
        let (status, reason, data) = match outcome {
            Ok(registered) => (
                "SUCCESS",
                String::new(),
                json!({ "ChannelId": registered.get("channel_id"), "WebhookId": registered.get("webhook_id") }),
            ),
            Err(reason) => {
                tracing::error!(reason, "the stack operation fails");
                ("FAILED", reason.chars().take(REASON_LIMIT).collect(), json!({}))
            }
        };
        let physical_id = match (self.request_type.as_str(), &self.physical_resource_id) {
            // What is deleted keeps its id to the end.
            ("Delete", Some(id)) => id,
            _ => name,
        };
        json!({
            "Status": status,
            "Reason": reason,
            "PhysicalResourceId": physical_id,
            "StackId": self.stack_id,
            "RequestId": self.request_id,
            "LogicalResourceId": self.logical_resource_id,
            "Data": data,
        })
    }

    async fn send(&self, function: &RegisterChannel, answer: &Value) -> Result<(), Error> {
        let url = ExactUrl::parse(&self.response_url);
        let url = url.ok_or_else(|| Error::Unanswered("its ResponseURL is no https URL".to_owned()))?.url();
        let mut pauses = PAUSES.into_iter();
        loop {
            // The URL is signed for an empty content type.
            let request = function.client().put(url.clone()).header(CONTENT_TYPE, "").timeout(ANSWER_TIMEOUT);
            let reason = match request.body(answer.to_string()).send().await {
                Ok(response) if response.status().is_success() => return Ok(()),
                Ok(response) => format!("status {}", response.status().as_u16()),
                Err(error) => failure(&error).to_owned(),
            };
            let Some(pause) = pauses.next() else { return Err(Error::Unanswered(reason)) };
            tokio::time::sleep(pause).await;
        }
    }
}

/// What `work` comes to within `time`, as CloudFormation can be told it.
async fn carried_out(work: impl Future<Output = Result<Value, Error>>, time: Duration) -> Result<Value, String> {
    match tokio::time::timeout(time, AssertUnwindSafe(work).catch_unwind()).await {
        Ok(Ok(Ok(value))) => Ok(value),
        Ok(Ok(Err(error))) => Err(error.to_string()),
        Ok(Err(_)) => Err("register-channel panicked: its log tells more".to_owned()),
        Err(_) => Err("8x8 did not answer in time".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn a_panic_is_an_outcome() {
        let outcome = carried_out(async { panic!("confidential") }, MINUTE).await;
        assert_eq!(outcome, Err("register-channel panicked: its log tells more".to_owned()));
    }

    #[tokio::test]
    async fn running_out_of_time_is_an_outcome() {
        let outcome = carried_out(std::future::pending(), Duration::ZERO).await;
        assert_eq!(outcome, Err("8x8 did not answer in time".to_owned()));
    }

    #[test]
    fn an_operators_request_is_not_cloudformations() {
        assert!(CustomResource::parse(&json!({ "operation": "review" })).is_none());
    }
}
