//! Which requests to 8x8 an operation becomes: at the Chat Gateway itself, with another URL; at the older API, translated.

use std::time::Duration;

use http::{HeaderValue, Method};
use shared::config::{ContactCenterApi, ContactCenterConfig};
use shared::contact_center::client::{Answer, Outgoing};
use url::Url;

use crate::answer::Refusal;
use crate::chat_api_v2;
use crate::operation::{Call, Content, Operation};

/// 8x8 answers in well under a second. Two attempts of six seconds, and a look at 8x8 after each, end before API Gateway
/// gives up after thirty. <https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-quotas.html>
const CALL_TIMEOUT: Duration = Duration::from_secs(6);

/// An attachment of four megabytes crosses a line of three megabits a second in that time, and two attempts end before API
/// Gateway gives up.
const TRANSFER_TIMEOUT: Duration = Duration::from_secs(12);

/// The request to 8x8 that `call` becomes.
pub(crate) fn outgoing(
    config: &ContactCenterConfig,
    method: &Method,
    call: &Call<'_>,
    content: Content,
) -> Result<Outgoing, Refusal> {
    match config.api {
        ContactCenterApi::ChatGatewayV1 => {
            let mut url = url(config, call)?;
            url.set_query(content.query.as_deref());
            let Content { content_type, body, .. } = content;
            Ok(Outgoing { method: method.clone(), url, content_type, body, timeout: timeout(call.operation) })
        }
        ContactCenterApi::ChatApiV2 => {
            let request = chat_api_v2::request(call, content)?;
            let path = std::iter::once("conversations").chain(request.path.iter().copied());
            let mut url = config.endpoint.join(path);
            url.set_query(request.query.as_deref());
            let content_type = request.body.as_ref().map(|_| HeaderValue::from_static("application/json"));
            let body = request.body.map(|body| body.to_string().into()).unwrap_or_default();
            Ok(Outgoing { method: request.method, url, content_type, body, timeout: timeout(call.operation) })
        }
    }
}

/// 8x8's answer to `call` as the Chat Gateway gives it. An error stays what it is.
pub(crate) fn answer(config: &ContactCenterConfig, call: &Call<'_>, query: Option<&str>, answer: Answer) -> Answer {
    match config.api {
        ContactCenterApi::ChatGatewayV1 => answer,
        ContactCenterApi::ChatApiV2 if answer.status.is_success() => chat_api_v2::answer(call, query, answer),
        ContactCenterApi::ChatApiV2 => answer,
    }
}

fn url(config: &ContactCenterConfig, call: &Call<'_>) -> Result<Url, Refusal> {
    let path = call.path.iter().copied();
    if !matches!(call.operation, Operation::SubmitCardAction | Operation::ExecuteCardAction) {
        return Ok(config.endpoint.join(std::iter::once("conversations").chain(path)));
    }
    // The one thing that lies beside the Chat Gateway's API instead of in it.
    let missing = "8x8's path of it names the tenant, and CONTACT_CENTER_TENANT_ID is not set";
    let tenant_id = config.tenant_id.as_deref().ok_or(Refusal::NotSupported(missing))?;
    let unknown = "8x8 has it beside chat-gateway/v1, and CONTACT_CENTER_ENDPOINT does not end in that";
    let base = config.endpoint.above(&["chat-gateway", "v1"]).ok_or(Refusal::NotSupported(unknown))?;
    Ok(base.join(["api", "v1", "tenant", tenant_id, "conversations"].into_iter().chain(path)))
}

fn timeout(operation: Operation) -> Duration {
    let is_transfer = matches!(operation, Operation::AddAttachment | Operation::DownloadAttachment);
    if is_transfer { TRANSFER_TIMEOUT } else { CALL_TIMEOUT }
}
