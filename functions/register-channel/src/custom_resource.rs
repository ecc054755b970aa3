//! CloudFormation's protocol for a custom resource: in every case a response goes to the pre-signed URL of the
//! request. A stack without a response hangs for an hour.
//!
//! <https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/crpg-ref.html>

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;
use reqwest::StatusCode;
use reqwest::header::CONTENT_TYPE;
use serde::Deserialize;
use serde_json::{Value, json};
use shared::clock::UnixTime;
use shared::contact_center::saved::SavedChannel;
use shared::http::failure;
use shared::url::VerbatimUrl;

use crate::operation::{AdoptionParams, Operation, RegistrationParams, given};
use crate::{Error, Misconfigured, RegisterChannel};

/// The part of the invocation's time that is reserved for the response: three tries and the pauses between them.
const RESERVE: Duration = Duration::from_secs(20);

/// S3 accepts the response in well under a second.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Between the tries to respond.
const PAUSES: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(2)];

/// CloudFormation accepts a response of 4096 bytes at the most.
/// <https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/crpg-ref-responses.html>
const RESPONSE_LIMIT: usize = 4096;

/// An HTTP API's `$default` stage is deployed asynchronously: the callback URL responds some seconds after CloudFormation
/// says that the stage exists. After a minute something else is wrong, and 8x8 may say what.
const PROBE_PATIENCE: Duration = Duration::from_secs(60);

/// The part of the invocation's time that the probes leave for the registration.
const REGISTRATION_TIME: Duration = Duration::from_secs(30);

/// Between two probes.
const PROBE_PAUSE: Duration = Duration::from_secs(1);

/// receive-message responds to a probe in milliseconds, after a cold start in a second.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);

/// What 8x8 itself sends to verify a webhook; it needs no signature and is not queued.
const PROBE: &str = r#"{"notificationVersion":"Chat Gateway v1.0","eventType":"WEB_HOOK_VERIFY"}"#;

/// How often 8x8 is asked, and the pauses between.
const REGISTRATION_PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(3)];

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
    old_resource_properties: Option<Value>,
}

/// A success and what its reason says, if it needs one.
struct Success {
    data: Value,
    warning: Option<String>,
}

/// What the properties of a Create or Update ask for.
#[derive(Debug)]
struct Properties {
    /// The channel to adopt; none: one of our own.
    channel_id: Option<String>,
    queue_id: Option<String>,
    /// None: API Gateway's.
    callback_url: Option<String>,
    credentials_changed: bool,
}

impl Properties {
    /// Registers or adopts. All of it may be repeated: what exists already is found.
    async fn register(&mut self, function: &RegisterChannel) -> Result<Value, Error> {
        if self.credentials_changed {
            // A warm process and the stored token still use the former credentials: without this, a wrong key would be
            // found only when they expire, hours after the update has succeeded.
            function.contact_center.renew_credentials("register the channel").await?;
            self.credentials_changed = false;
        }
        let callback_url = self.callback_url.clone();
        let operation = match self.channel_id.clone() {
            Some(channel_id) => {
                let params = AdoptionParams { channel_id, callback_url, shared: false };
                function.make_way_for(&params).await?;
                Operation::Adopt(params)
            }
            None => {
                let queue_id = Some(self.queue_id.clone().ok_or(Error::NoQueue)?);
                function.make_way_for_own().await?;
                Operation::Register(RegistrationParams { queue_id, callback_url, take_over: false })
            }
        };
        function.perform(operation).await
    }
}

impl From<Value> for Success {
    fn from(data: Value) -> Self {
        Self { data, warning: None }
    }
}

impl CustomResource {
    /// `None` if `request` is not CloudFormation's.
    pub(crate) fn parse(request: &Value) -> Option<Self> {
        Self::deserialize(request).ok()
    }

    /// Does what is asked for and responds to CloudFormation, also after a panic and when time is running out.
    ///
    /// An error means that CloudFormation did not accept the response; Lambda then invokes the function again.
    pub(crate) async fn respond(self, function: &RegisterChannel, deadline: UnixTime) -> Result<Value, Error> {
        let time = deadline.since(UnixTime::now() + RESERVE);
        let outcome = carried_out(self.carry_out(function, time), time).await;
        let response = self.to_response(function.name(), outcome);
        self.send(function.client(), &response).await?;
        Ok(response)
    }

    /// As [`Self::respond`], where nothing can be done but for a stack that has registered nothing.
    pub(crate) async fn respond_misconfigured(self, function: &Misconfigured) -> Result<Value, Error> {
        let outcome = if self.request_type == "Delete" && function.is_empty().await {
            Ok(Success::from(Value::Null))
        } else {
            Err(Error::Config(function.error.clone()).to_string())
        };
        let response = self.to_response("live-agent-misconfigured", outcome);
        self.send(&function.client, &response).await?;
        Ok(response)
    }

    async fn carry_out(&self, function: &RegisterChannel, time: Duration) -> Result<Success, Error> {
        match self.request_type.as_str() {
            "Create" | "Update" => self.register(function, time).await.map(Success::from),
            "Delete" => self.delete(function).await,
            _ => Err(Error::NotAnOperation),
        }
    }

    /// Registers or adopts what the properties say. The callback URL is the one that is saved, unless the property has
    /// changed: a load balancer's address that an operator has put in place survives every other update of the stack.
    async fn register(&self, function: &RegisterChannel, time: Duration) -> Result<Value, Error> {
        let text = |properties: &Option<Value>, name| {
            properties.as_ref()?.get(name)?.as_str().map(str::to_owned).and_then(given)
        };
        let wanted = |name| text(&self.resource_properties, name);
        let changed = wanted("CallbackUrl") != text(&self.old_resource_properties, "CallbackUrl");
        let callback_url = wanted("CallbackUrl").filter(|_| changed);
        if let Some(url) = &callback_url {
            let url = VerbatimUrl::parse(url).ok_or(Error::BadCallbackUrl)?;
            probe(function.client(), &url, time.saturating_sub(REGISTRATION_TIME).min(PROBE_PATIENCE)).await;
        }
        // Also when one channel replaces another.
        let saved = function.read_saved().await?;
        let saved_url = saved.content.registration().map(|registered| registered.callback_url.clone());
        let callback_url = callback_url.or(saved_url);
        let mut properties = Properties {
            channel_id: wanted("ChannelId"),
            queue_id: wanted("QueueId"),
            callback_url,
            credentials_changed: wanted("CredentialsRevision")
                != text(&self.old_resource_properties, "CredentialsRevision"),
        };
        let mut pauses = REGISTRATION_PAUSES.into_iter();
        loop {
            match properties.register(function).await {
                Err(Error::ContactCenter(error)) if error.is_transient() => {
                    let Some(pause) = pauses.next() else { return Err(error.into()) };
                    tracing::warn!(%error, "8x8 is asked again");
                    tokio::time::sleep(pause).await;
                }
                outcome => return outcome,
            }
        }
    }

    /// Releases or removes what is saved. Nothing was registered: nothing to ask 8x8 for.
    async fn delete(&self, function: &RegisterChannel) -> Result<Success, Error> {
        let removed = match function.is_adopted().await? {
            true => function.perform(Operation::Release).await,
            false => function.perform(Operation::Deregister).await,
        };
        match removed {
            // With a revoked key nothing can be removed, now or later: the stack must go away all the same.
            Err(Error::ContactCenter(error)) if error.is_unauthorized() => {
                tracing::warn!(%error, "webhook and channel are left at 8x8");
                let warning = format!("webhook and channel are left at 8x8, remove them in its console: {error}");
                Ok(Success { data: Value::Null, warning: Some(warning) })
            }
            removed => removed.map(Success::from),
        }
    }

    fn to_response(&self, name: &str, outcome: Result<Success, String>) -> Value {
        let (status, mut reason, data) = match outcome {
            Ok(Success { data, warning }) => (
                "SUCCESS",
                warning.unwrap_or_default(),
                json!({ "ChannelId": data.get("channel_id"), "WebhookId": data.get("webhook_id") }),
            ),
            Err(reason) => {
                tracing::error!(reason, "the stack operation fails");
                ("FAILED", reason, json!({}))
            }
        };
        loop {
            let response = json!({
                "Status": status,
                "Reason": reason,
                // A resource keeps its id: another one would make CloudFormation delete the former.
                "PhysicalResourceId": self.physical_resource_id.as_deref().unwrap_or(name),
                "StackId": self.stack_id,
                "RequestId": self.request_id,
                "LogicalResourceId": self.logical_resource_id,
                "Data": data,
            });
            // The limit is one of bytes, and JSON may take six for a character.
            let excess = response.to_string().len().saturating_sub(RESPONSE_LIMIT);
            if excess == 0 || reason.is_empty() {
                return response;
            }
            let kept = reason.chars().count().saturating_sub(excess.div_ceil(6));
            reason = reason.chars().take(kept).collect();
        }
    }

    async fn send(&self, client: &reqwest::Client, response: &Value) -> Result<(), Error> {
        let url = VerbatimUrl::parse(&self.response_url);
        let url = url.ok_or_else(|| Error::Unanswered("its ResponseURL is no https URL".to_owned()))?.url();
        let mut pauses = PAUSES.into_iter();
        loop {
            // The URL is signed for an empty content type.
            let request = client.put(url.clone()).header(CONTENT_TYPE, "").timeout(RESPONSE_TIMEOUT);
            let reason = match request.body(response.to_string()).send().await {
                Ok(response) if response.status().is_success() => return Ok(()),
                Ok(response) => format!("status {}", response.status().as_u16()),
                Err(error) => failure(&error).to_owned(),
            };
            let Some(pause) = pauses.next() else { return Err(Error::Unanswered(reason)) };
            tokio::time::sleep(pause).await;
        }
    }
}

impl RegisterChannel {
    /// Removes a registration of our own, or releases another channel, so that this one can be adopted. What can be checked
    /// is checked first.
    async fn make_way_for(&self, params: &AdoptionParams) -> Result<(), Error> {
        let saved = self.read_saved().await?;
        let Some(registered) = saved.content.registration() else {
            if matches!(saved.content, SavedChannel::Creating(_)) {
                self.deregister().await?;
            }
            return Ok(());
        };
        if registered.adopted.is_some() && registered.channel_id == params.channel_id {
            return Ok(());
        }
        self.adoptable(params).await?;
        let removed = if registered.adopted.is_some() { self.release().await } else { self.deregister().await };
        removed.map(drop)
    }

    /// Releases an adopted channel, so that a channel of our own can be registered.
    async fn make_way_for_own(&self) -> Result<(), Error> {
        if self.is_adopted().await? {
            self.release().await?;
        }
        Ok(())
    }

    async fn is_adopted(&self) -> Result<bool, Error> {
        let saved = self.read_saved().await?;
        Ok(saved.content.registration().is_some_and(|registered| registered.adopted.is_some()))
    }
}

/// Waits until `url` responds with 200. 8x8 calls it before it registers a webhook, and refuses the webhook without a response.
/// It is no error if `patience` runs out: 8x8 may reach what this function does not.
async fn probe(client: &reqwest::Client, url: &VerbatimUrl, patience: Duration) {
    let probes = async {
        loop {
            let request = client.post(url.url()).header(CONTENT_TYPE, "application/json").timeout(PROBE_TIMEOUT);
            match request.body(PROBE).send().await {
                Ok(response) if response.status() == StatusCode::OK => return,
                Ok(response) => tracing::debug!(status = response.status().as_u16(), "the callback URL is not ready"),
                Err(error) => tracing::debug!(reason = failure(&error), "the callback URL is not ready"),
            }
            tokio::time::sleep(PROBE_PAUSE).await;
        }
    };
    if tokio::time::timeout(patience, probes).await.is_err() {
        tracing::warn!(
            seconds = patience.as_secs(),
            "the callback URL does not respond with 200: 8x8 is asked all the same"
        );
    }
}

/// The result of `work` within `time`, in the form that CloudFormation receives.
async fn carried_out(work: impl Future<Output = Result<Success, Error>>, time: Duration) -> Result<Success, String> {
    match tokio::time::timeout(time, AssertUnwindSafe(work).catch_unwind()).await {
        Ok(Ok(Ok(success))) => Ok(success),
        Ok(Ok(Err(error))) => Err(error.to_string()),
        Ok(Err(_)) => Err("register-channel panicked: its log says more".to_owned()),
        Err(_) => Err("8x8 did not respond in time".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn a_panic_is_an_outcome() {
        let outcome = carried_out(async { panic!("confidential") }, MINUTE).await;
        assert_eq!(outcome.err().as_deref(), Some("register-channel panicked: its log says more"));
    }

    #[tokio::test]
    async fn running_out_of_time_is_an_outcome() {
        let outcome = carried_out(std::future::pending(), Duration::ZERO).await;
        assert_eq!(outcome.err().as_deref(), Some("8x8 did not respond in time"));
    }

    #[test]
    fn a_response_has_at_most_4096_bytes_whatever_the_reason_is() {
        let request = json!({
            "RequestType": "Create",
            "ResponseURL": "https://bucket.example/",
            "StackId": "arn:aws:cloudformation:eu-central-1:123456789012:stack/acme/1",
            "RequestId": "1",
            "LogicalResourceId": "Channel",
        });
        let request = CustomResource::parse(&request).unwrap();
        for text in ["遅", "\"", "\u{1}", "a", "😀"] {
            for count in [1, 500, 1200, 2000, 5000] {
                let reason = text.repeat(count);
                let response = request.to_response("live-agent-acme", Err(reason.clone()));
                let (bytes, shown) = (response.to_string().len(), response["Reason"].as_str().unwrap());
                assert!(bytes <= 4096 && reason.starts_with(shown), "{bytes} bytes of {text} × {count}");
                assert!(
                    shown == reason || bytes > 4000,
                    "{bytes} bytes of {text} × {count}: less than there is room for"
                );
            }
        }
    }

    #[test]
    fn an_operators_request_is_not_cloudformations() {
        assert!(CustomResource::parse(&json!({ "operation": "review" })).is_none());
    }
}
