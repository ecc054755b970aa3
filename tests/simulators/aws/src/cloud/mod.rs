//! AWS as the functions see it: Secrets Manager, SQS, DynamoDB and CloudWatch Logs at one address, on AWS's own JSON protocol,
//! so that the functions' SDK clients run unchanged. An operation that is not simulated is refused as AWS refuses an unknown
//! one.

pub mod dynamo_db;
pub mod fifo;
pub mod logs;
pub mod secrets_manager;
pub mod sqs;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_runtime_api::client::http::HttpClient;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::Fault;
use dynamo_db::DynamoDb;
use logs::Logs;
use secrets_manager::SecretsManager;
use simulation::faults::Faults;
use simulation::journal::Journal;
use simulation::server::Server;
use sqs::Sqs;

/// The region of the cloud.
pub const REGION: &str = "us-east-1";

/// The prefix of each function's access key; the function's name follows.
pub const ACCESS_KEY_PREFIX: &str = "ASIASANDBOX-";

/// The configuration of SDK clients that call the cloud at `url` by that HTTP client.
pub fn sdk_config(url: &str, http_client: impl HttpClient + 'static) -> SdkConfig {
    let credentials = Credentials::new("test", "test", None, None, "test");
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::from_static(REGION))
        .endpoint_url(url)
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .http_client(http_client)
        .build()
}

/// Secrets Manager, SQS, DynamoDB and CloudWatch Logs.
#[derive(Debug)]
pub struct Cloud {
    /// The secrets.
    pub secrets: SecretsManager,
    /// The queues.
    pub sqs: Sqs,
    /// The tables.
    pub dynamo_db: DynamoDb,
    /// The functions' log lines.
    pub logs: Logs,
    base: String,
    faults: Arc<Faults<Fault>>,
    journal: Arc<Journal>,
    calls: Mutex<BTreeMap<Call, usize>>,
    /// Counted by caller and service.
    requests: Mutex<BTreeMap<(String, &'static str), usize>>,
}

/// A call that was made, in the terms of an IAM policy.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Call {
    /// The function that made the call.
    pub function: String,
    /// `sqs:SendMessage`
    pub action: String,
    /// The name of the queue, the secret, the table or the log group's function.
    pub resource: String,
}

/// An error as AWS's JSON protocols write it.
#[derive(Debug)]
pub struct AwsError {
    status: StatusCode,
    kind: String,
    query_code: Option<String>,
    message: String,
    /// The fields of the error other than its message.
    fields: Option<Value>,
}

impl AwsError {
    fn invalid(kind: &str, message: &str) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            kind: kind.to_owned(),
            query_code: None,
            message: message.to_owned(),
            fields: None,
        }
    }

    fn with_query_code(kind: &str, query_code: &str, message: &str) -> Self {
        Self { query_code: Some(format!("{query_code};Sender")), ..Self::invalid(kind, message) }
    }

    fn unknown_operation(operation: &str) -> Self {
        Self::invalid("UnknownOperationException", &format!("{operation} is not simulated"))
    }

    fn down() -> Self {
        Self {
            status: StatusCode::INTERNAL_SERVER_ERROR,
            ..Self::invalid("InternalServiceError", "An error occurred on the server side.")
        }
    }
}

impl Cloud {
    /// Starts the cloud; its state can also be read and changed without a request.
    pub async fn start(faults: Arc<Faults<Fault>>, journal: Arc<Journal>) -> (Arc<Self>, Server) {
        let listener = Server::listener().await;
        let base = format!("http://{}", listener.local_addr().expect("a bound listener has an address"));
        let cloud = Arc::new(Self {
            secrets: SecretsManager::default(),
            sqs: Sqs::default(),
            dynamo_db: DynamoDb::default(),
            logs: Logs::default(),
            base,
            faults,
            journal,
            calls: Mutex::default(),
            requests: Mutex::default(),
        });
        // A queue message may have 1 MiB, and arrives as JSON within JSON.
        let router = Router::new().fallback(respond).with_state(Arc::clone(&cloud));
        let router = router.layer(axum::extract::DefaultBodyLimit::max(4 * 1024 * 1024));
        (cloud, Server::on(listener, router))
    }

    /// The URL of a queue of that name.
    pub fn queue_url(&self, name: &str) -> String {
        format!("{}/123456789012/{name}", self.base)
    }

    fn call(&self, headers: &HeaderMap, body: &[u8]) -> Result<Value, AwsError> {
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let (prefix, operation) = header("x-amz-target").split_once('.').unwrap_or_default();
        let service = match prefix {
            "secretsmanager" => "secretsmanager",
            "AmazonSQS" => "sqs",
            "DynamoDB_20120810" => "dynamodb",
            "Logs_20140328" => "logs",
            unknown => return Err(AwsError::unknown_operation(unknown)),
        };
        // The SDK makes the signatures, so that their value is not checked here. AWS refuses a call without one.
        if !header("authorization").starts_with("AWS4-HMAC-SHA256 Credential=") {
            return Err(AwsError {
                status: StatusCode::FORBIDDEN,
                ..AwsError::invalid("MissingAuthenticationTokenException", "the request is not signed")
            });
        }
        let input = serde_json::from_slice(body)
            .map_err(|_| AwsError::invalid("SerializationException", "the body is not JSON"))?;
        let caller = caller(header("authorization"));
        self.record(caller, service, operation, &input);
        let mut requests = self.requests.lock().expect("no holder panics");
        *requests.entry((caller.to_owned(), service)).or_default() += 1;
        drop(requests);
        match service {
            "sqs" if self.faults.strikes(Fault::QueueDown) => Err(AwsError::down()),
            "sqs" => self.sqs.call(operation, &input, &self.base, caller, &self.journal),
            "dynamodb" if self.faults.strikes(Fault::TableDown) => Err(AwsError::down()),
            "dynamodb" => self.dynamo_db.call(operation, &input),
            "logs" => self.logs.call(operation, &input),
            _ if self.faults.strikes(Fault::SecretsDown) => Err(AwsError::down()),
            _ => {
                let response = self.secrets.call(operation, &input);
                if operation == "PutSecretValue" {
                    let what = format!("secret {}", input["SecretId"].as_str().unwrap_or_default());
                    let outcome = response.as_ref().err().map_or("stored", |error| &error.kind);
                    self.journal.hop(caller, "Secrets Manager", &what, outcome, None);
                }
                response
            }
        }
    }
}

impl Cloud {
    fn hangs(&self, headers: &HeaderMap) -> bool {
        let target = headers.get("x-amz-target").and_then(|value| value.to_str().ok()).unwrap_or_default();
        (target.starts_with("secretsmanager.") && self.faults.strikes(Fault::SecretsHang))
            || (target.starts_with("DynamoDB_") && self.faults.strikes(Fault::TableHangs))
    }

    /// Every kind of call that the functions have made, with its number.
    pub fn calls(&self) -> BTreeMap<Call, usize> {
        self.calls.lock().expect("no holder panics").clone()
    }

    /// How many calls a function has made to a service.
    pub fn calls_of(&self, function: &str, service: &str) -> usize {
        let is_asked = |call: &Call| call.function == function && call.action.starts_with(service);
        self.calls().iter().filter(|(call, _)| is_asked(call)).map(|(_, times)| times).sum()
    }

    /// How many requests a function has made to a service. A transaction is one request, whatever calls it consists of.
    pub fn requests_of(&self, function: &str, service: &'static str) -> usize {
        let requests = self.requests.lock().expect("no holder panics");
        requests.get(&(function.to_owned(), service)).copied().unwrap_or_default()
    }

    fn record(&self, function: &str, service: &str, operation: &str, input: &Value) {
        // A transaction needs the permissions of the calls that it consists of:
        // https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/transaction-apis.html
        if operation == "TransactWriteItems" {
            for item in input["TransactItems"].as_array().into_iter().flatten() {
                for (action, write) in [("PutItem", item.get("Put")), ("UpdateItem", item.get("Update"))] {
                    write.into_iter().for_each(|write| self.record(function, service, action, write));
                }
            }
            return;
        }
        let name = ["SecretId", "QueueUrl", "TableName", "logGroupName"]
            .iter()
            .find_map(|field| input.get(field)?.as_str())
            .unwrap_or_default();
        let name = name.rsplit('/').next().unwrap_or_default();
        // An index is a separate resource.
        let resource = match input["IndexName"].as_str() {
            Some(index) => format!("{name}/index/{index}"),
            None => name.to_owned(),
        };
        let call = Call { function: function.to_owned(), action: format!("{service}:{operation}"), resource };
        *self.calls.lock().expect("no holder panics").entry(call).or_default() += 1;
    }
}

/// The function whose credentials signed the request. Each function has its own access key.
fn caller(authorization: &str) -> &str {
    let key = authorization.split("Credential=").nth(1).and_then(|credential| credential.split('/').next());
    key.and_then(|key| key.strip_prefix(ACCESS_KEY_PREFIX)).unwrap_or("unknown")
}

async fn respond(State(cloud): State<Arc<Cloud>>, method: Method, headers: HeaderMap, body: Bytes) -> Response {
    if method != Method::POST {
        return StatusCode::METHOD_NOT_ALLOWED.into_response();
    }
    if cloud.hangs(&headers) {
        // Longer than any caller waits.
        tokio::time::sleep(Duration::from_secs(60)).await;
    }
    let request_id = ("x-amzn-requestid", simulation::id::uuid());
    let json = ("content-type", "application/x-amz-json-1.1".to_owned());
    match cloud.call(&headers, &body) {
        Ok(output) => ([request_id, json], Body::from(output.to_string())).into_response(),
        Err(error) => {
            let mut body = error.fields.unwrap_or_else(|| json!({}));
            body["__type"] = error.kind.into();
            body["message"] = error.message.into();
            let mut response = (error.status, [request_id, json], body.to_string()).into_response();
            if let Some(code) = error.query_code {
                response.headers_mut().insert("x-amzn-query-error", code.parse().expect("codes are ASCII"));
            }
            response
        }
    }
}
