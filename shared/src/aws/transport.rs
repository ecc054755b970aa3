//! The HTTP client of the AWS SDK: hyper's own, on the TLS of [`crate::http`]. The functions' other client is not used for AWS:
//! what it adds for an operator's URLs (redirects, proxies, parsing) costs 40,000 instructions a call, and AWS's URLs do not
//! need it.

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use http::Request;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::{Client, Error, connect};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use url::Url;

use crate::http::{ClientError, IDLE_TIMEOUT, WARM_UP_TIMEOUT, connector};

/// Connections to AWS, kept open between calls. A clone shares them.
#[derive(Debug, Clone)]
pub struct Transport(Client<HttpsConnector<connect::HttpConnector>, SdkBody>);

impl Transport {
    /// HTTP/1.1; without TLS for an endpoint on this machine.
    ///
    /// # Errors
    /// TLS cannot be set up.
    #[tracing::instrument(level = "debug", name = "AWS TLS")]
    pub fn new() -> Result<Self, ClientError> {
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_timer(TokioTimer::new())
            .build(connector()?);
        Ok(Self(client))
    }

    /// Opens a connection while a function starts, as [`crate::http::warm_up`] does.
    #[tracing::instrument(level = "debug", name = "AWS connection", skip_all)]
    pub async fn warm_up(&self, url: Url) {
        let Ok(request) = Request::head(url.as_str()).body(SdkBody::empty()) else { return };
        match tokio::time::timeout(WARM_UP_TIMEOUT, self.0.request(request)).await {
            Ok(Ok(_)) => {}
            Ok(Err(_)) | Err(_) => tracing::debug!("no connection to AWS at the start"),
        }
    }
}

impl HttpClient for Transport {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for Transport {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let request = match request.try_into_http1x() {
            Ok(request) => request,
            Err(error) => return HttpConnectorFuture::ready(Err(ConnectorError::user(error.into()))),
        };
        let response = self.0.request(request);
        HttpConnectorFuture::new(async {
            let response = response.await.map_err(connector_error)?;
            HttpResponse::try_from(response.map(SdkBody::from_body_1_x))
                .map_err(|error| ConnectorError::other(error.into(), None))
        })
    }
}

/// The request may or may not have reached AWS. Every operation that we use may be sent again.
fn connector_error(error: Error) -> ConnectorError {
    ConnectorError::io(error.into())
}
