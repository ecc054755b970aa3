//! Calls that change nothing at 8x8 and queue nothing here. They show whether 8x8 responds, accepts our credentials and
//! reaches us.

use std::time::Duration;

use bytes::Bytes;
use http::Method;
use serde_json::json;

use super::client::{ApiRequest, ContactCenter, ContactCenterError, Response};

impl ContactCenter {
    /// Lists one webhook, and returns the response with any status.
    ///
    /// # Errors
    /// There are no credentials, or no response within `timeout`.
    pub async fn probe(&self, timeout: Duration) -> Result<Response, ContactCenterError> {
        let mut url = self.config().endpoint.join([self.webhooks()]);
        url.query_pairs_mut().extend_pairs([("size", "1"), ("page", "0")]);
        let request = ApiRequest {
            method: Method::GET,
            url,
            content_type: None,
            body: Bytes::new(),
            idempotency_key: None,
            timeout,
        };
        self.send("list the webhooks", &request).await
    }

    /// Makes 8x8 call `uri` with a `WEB_HOOK_VERIFY`, as it does before it creates a webhook.
    ///
    /// # Errors
    /// 8x8 gets no 2xx from `uri`, or the call to 8x8 fails.
    pub async fn verify_webhook(&self, uri: &str) -> Result<(), ContactCenterError> {
        let body = json!({ "version": self.webhook_version(), "uri": uri });
        let path = [self.webhooks(), "verify"];
        self.call("verify the webhook", Method::POST, &path, &[], Some(&body)).await.map(drop)
    }
}
