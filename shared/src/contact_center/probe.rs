//! Calls to 8x8 that change nothing there and queue nothing here: is it there, does it know us, does it reach us?

use std::time::Duration;

use bytes::Bytes;
use http::Method;
use serde_json::json;

use super::client::{ApiRequest, ContactCenter, ContactCenterError, Response};

impl ContactCenter {
    /// Lists one webhook, and returns the response whatever its status is.
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

    /// Lets 8x8 call `uri` with a `WEB_HOOK_VERIFY`, as it does before it creates a webhook.
    ///
    /// # Errors
    /// 8x8 gets no 2xx there, and everything that keeps 8x8 from trying.
    pub async fn verify_webhook(&self, uri: &str) -> Result<(), ContactCenterError> {
        let body = json!({ "version": self.webhook_version(), "uri": uri });
        let path = [self.webhooks(), "verify"];
        self.call("verify the webhook", Method::POST, &path, &[], Some(&body)).await.map(drop)
    }
}
