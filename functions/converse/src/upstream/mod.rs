//! 8x8's conversations, as the Chat Gateway has them, whichever of its two APIs the contact center speaks: the older one is
//! translated on both sides ([`chat_api_v2`]), so that nothing above knows that there are two.

mod chat_api_v2;

use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode};
use shared::clock::UnixTime;
use shared::contact_center::client::{ApiRequest, ContactCenter, ContactCenterError, Response};
use shared::contact_center::config::ContactCenterApi;
use tokio::time::timeout;
use url::Url;

use crate::error::Error;
use crate::routes::{Call, Operation, Route};

/// The largest page of 8x8's lists.
pub(crate) const PAGE_SIZE: usize = 100;

/// 8x8.
#[derive(Debug)]
pub(crate) struct Upstream {
    contact_center: ContactCenter,
}

/// A request in the Chat Gateway's terms.
#[derive(Debug, Clone)]
pub(crate) struct Request<'r> {
    pub(crate) call: &'r Call<'r>,
    pub(crate) query: Option<&'r str>,
    pub(crate) content_type: Option<HeaderValue>,
    pub(crate) body: Bytes,
    /// A name of the request that stays the same when it is repeated.
    pub(crate) key: Option<&'r str>,
}

/// Why a request has no response that can be passed on.
#[derive(Debug)]
pub(crate) enum SendError {
    /// It never left us.
    NotSent(&'static str),
    /// 8x8 may have got it, and may have carried it out.
    NoResponse(&'static str),
    /// 8x8 has carried it out, and its response cannot be read.
    Unusable(&'static str),
    /// Nothing was done, and a repeat would end the same.
    Rejected(Error),
}

/// What the API takes in a creation.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CreationRules {
    /// Whether a creation can name its queue.
    pub(crate) names_queue: bool,
    /// A user has at most so many properties.
    pub(crate) property_limit: usize,
    /// Whether a user's documented fields are counted as such.
    pub(crate) counts_fields: bool,
}

impl Upstream {
    pub(crate) fn new(contact_center: ContactCenter) -> Self {
        Self { contact_center }
    }

    pub(crate) fn creation_rules(&self) -> CreationRules {
        match self.contact_center.api() {
            ContactCenterApi::ChatGatewayV1 => {
                CreationRules { names_queue: true, property_limit: 30, counts_fields: false }
            }
            ContactCenterApi::ChatApiV2 => chat_api_v2::CREATION_RULES,
        }
    }

    /// The size of the pages of messages to ask for.
    pub(crate) fn message_page_size(&self) -> usize {
        match self.contact_center.api() {
            ContactCenterApi::ChatGatewayV1 => PAGE_SIZE,
            ContactCenterApi::ChatApiV2 => chat_api_v2::WHOLE_LIST,
        }
    }

    /// Filters, as parts of a query, for the conversations whose user has a property with that value, to be tried in this
    /// order until one is accepted. `is_open`: one that has ended need not be found.
    pub(crate) fn filters(&self, property: &str, value: &str, is_open: bool) -> Vec<String> {
        match self.contact_center.api() {
            ContactCenterApi::ChatGatewayV1 if is_open => vec!["&filter=state!%3Didle".to_owned(), String::new()],
            ContactCenterApi::ChatGatewayV1 => vec![String::new()],
            ContactCenterApi::ChatApiV2 => vec![format!("&customer.{property}={value}")],
        }
    }

    /// Sends a request, and returns 8x8's response whatever its status, except those that reject the bridge's credentials.
    pub(crate) async fn send(&self, request: &Request<'_>, deadline: UnixTime) -> Result<Response, SendError> {
        let api_request = self.translated(request).map_err(SendError::Rejected)?;
        let response = self.exchange(request.call.route, &api_request, deadline).await?;
        match self.contact_center.api() {
            ContactCenterApi::ChatGatewayV1 => Ok(response),
            ContactCenterApi::ChatApiV2 if response.status.is_success() => Ok(chat_api_v2::response(request, response)),
            ContactCenterApi::ChatApiV2 => self.without_missing_list(request, response, deadline).await,
        }
    }

    /// The older API responds with 404 for an empty list of conversations or of messages, as it does for a conversation that
    /// does not exist.
    async fn without_missing_list(
        &self,
        request: &Request<'_>,
        response: Response,
        deadline: UnixTime,
    ) -> Result<Response, SendError> {
        if (request.call.route.operation, response.status) == (Operation::ListConversations, StatusCode::NOT_FOUND) {
            return Ok(chat_api_v2::empty_list("conversations", request, response));
        }
        let is_list = request.call.route.operation == Operation::ListMessages;
        let (true, StatusCode::NOT_FOUND, Some(id)) = (is_list, response.status, request.call.conversation()) else {
            return Ok(response);
        };
        let call = Call { route: Route::of(Operation::ShowConversation), path: vec![id] };
        let show = Request { call: &call, query: None, content_type: None, body: Bytes::new(), key: None };
        let show = self.translated(&show).map_err(SendError::Rejected)?;
        let shown = self.exchange(call.route, &show, deadline).await?;
        Ok(if shown.status.is_success() { chat_api_v2::empty_list("messages", request, response) } else { response })
    }

    async fn exchange(&self, route: &Route, request: &ApiRequest, deadline: UnixTime) -> Result<Response, SendError> {
        let remaining = deadline.since(UnixTime::now());
        let result = timeout(remaining, Box::pin(self.contact_center.send(route.name, request))).await;
        let Ok(result) = result else { return Err(SendError::NoResponse("no response in time")) };
        let rejected = |error| Err(SendError::Rejected(error));
        match result {
            Ok(response) if response.status == StatusCode::UNAUTHORIZED => {
                rejected(Error::Credentials(response.problem()))
            }
            Ok(response) if response.status.is_redirection() || response.status.is_informational() => {
                rejected(Error::UnusableResponse("it is a redirection"))
            }
            Ok(response) => Ok(response),
            Err(ContactCenterError::NoResponse { sent: false, reason, .. }) => Err(SendError::NotSent(reason)),
            Err(ContactCenterError::NoResponse { sent: true, reason, .. }) => Err(SendError::NoResponse(reason)),
            Err(ContactCenterError::Unusable { reason, .. }) => Err(SendError::Unusable(reason)),
            Err(ContactCenterError::Refused { problem, .. }) => rejected(Error::Credentials(problem)),
            Err(error @ ContactCenterError::NoCredentials { .. }) => rejected(Error::Unavailable(error.to_string())),
        }
    }

    fn translated(&self, request: &Request<'_>) -> Result<ApiRequest, Error> {
        let config = self.contact_center.config();
        let Request { call, content_type, body, .. } = request;
        match config.api {
            ContactCenterApi::ChatGatewayV1 => {
                let mut url = self.gateway_url(call)?;
                url.set_query(request.query);
                Ok(ApiRequest {
                    method: call.route.method().clone(),
                    url,
                    content_type: content_type.clone(),
                    body: body.clone(),
                    idempotency_key: None,
                    timeout: call.route.timeout,
                })
            }
            ContactCenterApi::ChatApiV2 => {
                let translated = chat_api_v2::request(request)?;
                let path = std::iter::once("conversations").chain(translated.path.iter().copied());
                let mut url = config.endpoint.join(path);
                url.set_query(translated.query.as_deref());
                let idempotency_key = match (&translated.method, request.key, &translated.body) {
                    (&Method::POST, Some(key), Some(body)) => Some(chat_api_v2::idempotency_key(key, body)),
                    _ => None,
                };
                Ok(ApiRequest {
                    method: translated.method,
                    url,
                    content_type: translated.body.as_ref().map(|_| HeaderValue::from_static("application/json")),
                    body: translated.body.map(Bytes::from).unwrap_or_default(),
                    idempotency_key,
                    timeout: call.route.timeout,
                })
            }
        }
    }

    fn gateway_url(&self, call: &Call<'_>) -> Result<Url, Error> {
        let config = self.contact_center.config();
        let path = call.path.iter().copied();
        if !matches!(call.route.operation, Operation::SubmitCardAction | Operation::ExecuteCardAction) {
            return Ok(config.endpoint.join(std::iter::once("conversations").chain(path)));
        }
        // The one resource that is beside the Chat Gateway's API instead of in it.
        let missing = "8x8's path of it names the tenant, and CONTACT_CENTER_TENANT_ID is not set";
        let tenant_id = config.tenant_id.as_deref().ok_or(Error::NotSupported(missing))?;
        let unknown = "8x8 has it beside chat-gateway/v1, and CONTACT_CENTER_ENDPOINT does not end in that";
        let base = config.endpoint.above(&["chat-gateway", "v1"]).ok_or(Error::NotSupported(unknown))?;
        Ok(base.join(["api", "v1", "tenant", tenant_id, "conversations"].into_iter().chain(path)))
    }
}
