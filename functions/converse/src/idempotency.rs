//! The header `Idempotency-Key`: a request is carried out once, and every repeat gets the same response.
//! <https://datatracker.ietf.org/doc/html/draft-ietf-httpapi-idempotency-key-header>
//!
//! One item per key, for a day. A request claims its key before anything is asked of 8x8 and completes it with the response.
//! A claim that was released or has outlived its lease (the process died) is taken over by the next request with the key,
//! which then knows in which time an attempt was made whose outcome is unknown.

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use bytes::Bytes;
use futures_util::stream;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use multer::Multipart;
use shared::clock::UnixTime;
use shared::contact_center::client::Response;
use shared::digest::sha256_hex;

use crate::delivery::{Delivered, Entry, Interval, MessageFingerprint, NotDelivered, SentLog};
use crate::error::Error;
use crate::table::{Item, Put, Table, TableError, millis, seconds, string};

/// How long a key is known.
const TTL: Duration = Duration::from_secs(24 * 3600);

/// The longest time that a process works on a request: the function's time-out, and a second for clocks that differ.
const LEASE: Duration = Duration::from_secs(30);

/// For what is stored after 8x8 has responded: the rest of the function's time-out.
pub(crate) const STORE_TIMEOUT: Duration = Duration::from_secs(2);

/// The longest key, in characters.
const KEY_LIMIT: usize = 255;

/// Marks a response that an earlier request with the same key got.
pub(crate) const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// The keys.
#[derive(Debug)]
pub(crate) struct IdempotencyStore<'t> {
    table: &'t Table,
}

/// A caller's key, as a digest: the key itself may be anything, and is stored nowhere.
#[derive(Debug, Clone)]
pub(crate) struct Key(String);

/// What a key is used for.
#[derive(Debug)]
pub(crate) struct KeyedRequest<'r> {
    pub(crate) key: &'r Key,
    /// A digest: another request must not use the same key.
    pub(crate) fingerprint: String,
    /// Lambda's id of the invocation that works on it.
    pub(crate) invocation: &'r str,
    /// If it is a message: its conversation and what it is recognised by.
    pub(crate) message: Option<(&'r str, MessageFingerprint)>,
}

/// What a request may do under its key.
#[derive(Debug)]
enum Claim {
    /// Carry the request out.
    Acquired(Acquired),
    /// Respond as before.
    Replay(Response),
}

/// The right to work on a request.
#[derive(Debug, Clone)]
pub(crate) struct Acquired {
    /// The name of what the request creates at 8x8, the same in each attempt.
    pub(crate) correlation: String,
    /// When an attempt was made whose outcome is unknown.
    pub(crate) previous_attempt: Option<Interval>,
    claimed_at: UnixTime,
}

/// The response to a request with a key.
#[derive(Debug)]
pub(crate) struct Once {
    pub(crate) response: Response,
    pub(crate) is_replayed: bool,
}

impl KeyedRequest<'_> {
    /// The message in the log of its conversation.
    fn entry(&self, correlation: &str) -> Option<Entry> {
        let (conversation, fingerprint) = self.message.as_ref()?;
        Some(Entry::new(conversation, correlation, fingerprint.clone()))
    }
}

impl Key {
    /// The request's key, if it has one.
    pub(crate) fn read(headers: &HeaderMap) -> Result<Option<Self>, Error> {
        let mut values = headers.get_all("idempotency-key").iter();
        let Some(value) = values.next() else { return Ok(None) };
        let is_visible = |key: &&[u8]| key.iter().all(u8::is_ascii_graphic) && (1..=KEY_LIMIT).contains(&key.len());
        match (Some(value.as_bytes()).filter(is_visible), values.next()) {
            (Some(key), None) => Ok(Some(Self(sha256_hex(key)))),
            _ => Err(Error::InvalidIdempotencyKey),
        }
    }

    /// The beginning of the digest, by which log lines name a key.
    pub(crate) fn short(&self) -> &str {
        self.0.get(..8).unwrap_or(&self.0)
    }

    /// A key that is used a second time after a day makes another name.
    fn correlation(&self, first_claimed_at: UnixTime) -> String {
        sha256_hex(format!("{} {}", self.0, first_claimed_at.millis()).as_bytes()).split_off(32)
    }
}

impl From<TableError> for Error {
    fn from(error: TableError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

impl<'t> IdempotencyStore<'t> {
    pub(crate) fn new(table: &'t Table) -> Self {
        Self { table }
    }

    /// Does `work` unless it has been done under this key, and stores its response.
    ///
    /// # Errors
    /// The key is in use, or was used for a different request; the table is unavailable; the work's own.
    pub(crate) async fn once(
        &self,
        request: &KeyedRequest<'_>,
        now: UnixTime,
        work: impl AsyncFnOnce(&Acquired) -> Result<Delivered, NotDelivered>,
    ) -> Result<Once, Error> {
        let acquired = match self.claim(request, now).await? {
            Claim::Replay(response) => return Ok(Once { response, is_replayed: true }),
            Claim::Acquired(acquired) => acquired,
        };
        let entry = request.entry(&acquired.correlation);
        let outcome = work(&acquired).await;
        // What follows must not keep the response from the caller.
        let stored = async {
            match &outcome {
                Ok(delivered) if delivered.is_final => self.complete(request.key, &acquired, entry, delivered).await,
                Ok(_) => self.release(request.key, &acquired, entry, None).await,
                Err(NotDelivered { unknown, .. }) => self.release(request.key, &acquired, entry, *unknown).await,
            }
        };
        if tokio::time::timeout(STORE_TIMEOUT, stored).await.is_err() {
            tracing::error!("the table does not respond: an Idempotency-Key stays claimed for half a minute");
        }
        let delivered = outcome.map_err(|failed| failed.error)?;
        Ok(Once { response: delivered.response, is_replayed: false })
    }

    async fn claim(&self, request: &KeyedRequest<'_>, now: UnixTime) -> Result<Claim, Error> {
        let item = HashMap::from([
            ("id".to_owned(), string(&request.key.0)),
            ("fingerprint".to_owned(), string(&request.fingerprint)),
            ("invocation".to_owned(), string(request.invocation)),
            ("first_claimed_at".to_owned(), millis(now)),
            ("claimed_at".to_owned(), millis(now)),
            ("unknown_since".to_owned(), millis(now)),
            ("is_unknown".to_owned(), AttributeValue::Bool(true)),
            ("expires_at".to_owned(), seconds(now + TTL)),
        ]);
        let log = SentLog::new(self.table);
        let entry = request.entry(&request.key.correlation(now));
        let sending = entry.map(|entry| log.sending(&entry, now)).transpose()?;
        let put = match self.table.put_new(item.clone(), sending, now).await {
            // The log of this conversation is full: an unknown outcome in it stays unknown, and everything else goes on.
            Err(error) if error.is_too_large => self.table.put_new(item, None, now).await?,
            put => put?,
        };
        let found = match put {
            Put::Stored => return Ok(request.key.acquired(now, now, None)),
            Put::Exists(found) => found,
        };
        let text = |name: &str| found.get(name).and_then(|value| value.as_s().ok());
        match text("fingerprint") {
            Some(first) if *first == request.fingerprint => {}
            Some(_) => return Err(Error::IdempotencyKeyReused),
            None => return Err(self.table.unreadable().into()),
        }
        // The SDK sends again what got no response: then it finds what its own first try has stored.
        if text("invocation").is_some_and(|invocation| invocation == request.invocation) {
            return Ok(request.key.acquired(now, now, None));
        }
        match response_of(&found) {
            Some(response) => Ok(Claim::Replay(response)),
            None => self.take_over(request, &found, now).await,
        }
    }

    /// Claims a key that another request has claimed and not completed.
    async fn take_over(&self, request: &KeyedRequest<'_>, found: &Item, now: UnixTime) -> Result<Claim, Error> {
        let time = |name: &str| found.get(name)?.as_n().ok()?.parse().ok().map(UnixTime::from_millis);
        let needed = |name: &str| time(name).ok_or_else(|| self.table.unreadable());
        let (first_claimed_at, claimed_at) = (needed("first_claimed_at")?, needed("claimed_at")?);
        let unknown_since = needed("unknown_since")?;
        // A claim that was not released may be worked on until its lease ends.
        let ended_at = time("ended_at");
        if ended_at.is_none() && now.since(claimed_at) < LEASE {
            return Err(Error::InProgress);
        }
        let is_unknown = found.get("is_unknown") == Some(&AttributeValue::Bool(true));
        let previous_attempt =
            is_unknown.then_some(Interval { began: unknown_since, ended: ended_at.unwrap_or(claimed_at + LEASE) });
        let change = self.table.change(
            &request.key.0,
            "SET claimed_at = :now, invocation = :invocation, unknown_since = :since, is_unknown = :true, \
             expires_at = :expires REMOVE ended_at",
            Some("claimed_at = :claimed AND attribute_not_exists(response_status)"),
            HashMap::from([
                (":now".to_owned(), millis(now)),
                (":invocation".to_owned(), string(request.invocation)),
                // The outcome of no attempt since then is known.
                (":since".to_owned(), millis(if is_unknown { unknown_since } else { now })),
                (":true".to_owned(), AttributeValue::Bool(true)),
                (":claimed".to_owned(), millis(claimed_at)),
                (":expires".to_owned(), seconds(now + TTL)),
            ]),
        )?;
        // The attempt before has ended: what it may have left at 8x8 is looked for, and is not in the way of others.
        let removed = match request.entry(&request.key.correlation(first_claimed_at)) {
            Some(entry) => Some(SentLog::new(self.table).removed(&entry)?),
            None => None,
        };
        if self.table.update_with(change, removed).await? {
            return Ok(request.key.acquired(first_claimed_at, now, previous_attempt));
        }
        // Another request was faster, or it was this one and the SDK had no response.
        let item = self.table.get(&request.key.0).await?.unwrap_or_default();
        match item.get("invocation").is_some_and(|found| found.as_s().is_ok_and(|id| id == request.invocation)) {
            true => Ok(request.key.acquired(first_claimed_at, now, previous_attempt)),
            false => Err(Error::InProgress),
        }
    }

    /// Stores the response. The caller gets it even if that fails: a repeat then finds at 8x8 what was done.
    async fn complete(&self, key: &Key, acquired: &Acquired, entry: Option<Entry>, delivered: &Delivered) {
        let stored = async {
            let completion = self.completion(key, acquired, &delivered.response)?;
            let log = SentLog::new(self.table);
            let change = entry.map(|entry| log.outcome(&entry, delivered.log_change)).transpose()?.flatten();
            self.table.update_with(completion, change).await
        };
        match stored.await {
            Ok(true) => {}
            Ok(false) => tracing::error!("a request took longer than its lease: its response is not kept"),
            Err(error) => tracing::error!(%error, "a response is not kept under its Idempotency-Key"),
        }
    }

    fn completion(
        &self,
        key: &Key,
        acquired: &Acquired,
        response: &Response,
    ) -> Result<aws_sdk_dynamodb::types::Update, TableError> {
        let content_type = response.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        self.table.change(
            &key.0,
            "SET response_status = :status, response_type = :type, response_body = :body",
            Some("claimed_at = :claimed"),
            HashMap::from([
                (":status".to_owned(), AttributeValue::N(response.status.as_u16().to_string())),
                (":type".to_owned(), string(content_type)),
                (":body".to_owned(), AttributeValue::B(Blob::new(response.body.to_vec()))),
                (":claimed".to_owned(), millis(acquired.claimed_at)),
            ]),
        )
    }

    /// Releases the key, so that the next request with it need not wait for the lease. `unknown`: that request first has to
    /// find out the outcome of the attempt in that interval.
    async fn release(&self, key: &Key, acquired: &Acquired, entry: Option<Entry>, unknown: Option<Interval>) {
        let interval = unknown.unwrap_or(Interval { began: acquired.claimed_at, ended: acquired.claimed_at });
        let released = async {
            let change = self.table.change(
                &key.0,
                "SET ended_at = :ended, unknown_since = :since, is_unknown = :unknown",
                Some("claimed_at = :claimed"),
                HashMap::from([
                    (":ended".to_owned(), millis(interval.ended)),
                    (":since".to_owned(), millis(interval.began)),
                    (":unknown".to_owned(), AttributeValue::Bool(unknown.is_some())),
                    (":claimed".to_owned(), millis(acquired.claimed_at)),
                ]),
            )?;
            let removed = entry.map(|entry| SentLog::new(self.table).removed(&entry)).transpose()?;
            self.table.update_with(change, removed).await
        };
        if let Err(error) = released.await {
            tracing::error!(%error, "an Idempotency-Key stays claimed for half a minute");
        }
    }
}

impl Key {
    fn acquired(&self, first_claimed_at: UnixTime, claimed_at: UnixTime, previous: Option<Interval>) -> Claim {
        let correlation = self.correlation(first_claimed_at);
        Claim::Acquired(Acquired { correlation, previous_attempt: previous, claimed_at })
    }
}

fn response_of(item: &Item) -> Option<Response> {
    let status = item.get("response_status")?.as_n().ok()?.parse().ok();
    let status = status.and_then(|status| StatusCode::from_u16(status).ok())?;
    let body = Bytes::from(item.get("response_body")?.as_b().ok()?.clone().into_inner());
    let content_type = item.get("response_type").and_then(|value| HeaderValue::from_str(value.as_s().ok()?).ok());
    let mut headers = HeaderMap::from_iter([(REPLAYED, HeaderValue::from_static("true"))]);
    headers.extend(content_type.filter(|value| !value.is_empty()).map(|value| (CONTENT_TYPE, value)));
    Some(Response { status, headers, body })
}

/// The fingerprint of a request: method, path and body. A client chooses a new boundary for each repeat of a form. So of a
/// form, only the parts count: name, file name, content type and content.
pub(crate) async fn fingerprint(
    method: &http::Method,
    path: &[&str],
    content_type: Option<&HeaderValue>,
    body: &Bytes,
) -> String {
    let form = match content_type.and_then(|value| multer::parse_boundary(value.to_str().ok()?).ok()) {
        Some(boundary) => form_fingerprint(boundary, body.clone()).await,
        None => None,
    };
    let body = form.unwrap_or_else(|| sha256_hex(body));
    sha256_hex(format!("{method} {} {body}", path.join("/")).as_bytes())
}

/// `None` if the body is not such a form: then the fingerprint is that of its bytes.
async fn form_fingerprint(boundary: String, body: Bytes) -> Option<String> {
    let body = stream::iter([Ok::<_, std::convert::Infallible>(body)]);
    let mut form = Multipart::new(body, boundary);
    let mut parts = Vec::new();
    while let Some(field) = form.next_field().await.ok()? {
        let headers: Vec<_> = ["content-disposition", "content-type"]
            .into_iter()
            .map(|name| field.headers().get(name).map(|value| sha256_hex(value.as_bytes())).unwrap_or_default())
            .collect();
        parts.push(format!("{} {}", headers.join(" "), sha256_hex(&field.bytes().await.ok()?)));
    }
    Some(sha256_hex(parts.join("\n").as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(values: &[&'static str]) -> Result<Option<Key>, Error> {
        let headers = values.iter().map(|value| ("idempotency-key".parse().unwrap(), HeaderValue::from_static(value)));
        Key::read(&HeaderMap::from_iter(headers))
    }

    #[test]
    fn a_key_is_one_header_of_visible_characters() {
        assert!(matches!(key(&[]), Ok(None)));
        assert!(matches!(key(&["8e03978e-40d5-43e8-bc93-6894a57f9324"]), Ok(Some(_))));
        for bad in [&[""][..], &["a b"], &["a", "b"]] {
            assert!(matches!(key(bad), Err(Error::InvalidIdempotencyKey)), "{bad:?}");
        }
    }

    #[test]
    fn what_a_key_creates_has_a_name_of_its_own() {
        let (one, two) = (key(&["one"]).unwrap().unwrap(), key(&["two"]).unwrap().unwrap());
        let (first, second) = (UnixTime::from_millis(1), UnixTime::from_millis(2));
        assert_eq!(one.correlation(first), one.correlation(first));
        assert_ne!(one.correlation(first), one.correlation(second));
        assert_ne!(one.correlation(first), two.correlation(first));
    }

    #[tokio::test(flavor = "current_thread")]
    async fn the_fingerprint_of_a_form_is_that_of_its_parts() {
        let form = async |boundary: &str, name: &str, kind: &str, content: &str| {
            let body = format!(
                "--{boundary}\r\nContent-Disposition: form-data; name=\"attachment\"; filename=\"{name}\"\r\n\
                 Content-Type: {kind}\r\n\r\n{content}\r\n--{boundary}--\r\n"
            );
            let content_type = format!("multipart/form-data; boundary={boundary}").parse().unwrap();
            fingerprint(&http::Method::POST, &["c", "attachments"], Some(&content_type), &body.into()).await
        };
        let first = form("one", "a", "text/plain", "x").await;
        assert_eq!(first, form("two", "a", "text/plain", "x").await);
        assert_ne!(first, form("one", "b", "text/plain", "x").await);
        assert_ne!(first, form("one", "a", "image/png", "x").await);
        assert_ne!(first, form("one", "a", "text/plain", "y").await);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn the_fingerprint_of_what_is_no_form_is_that_of_its_bytes() {
        let content_type = HeaderValue::from_static("multipart/form-data; boundary=b");
        let of = async |body: &'static str| {
            fingerprint(&http::Method::POST, &[], Some(&content_type), &Bytes::from_static(body.as_bytes())).await
        };
        assert_ne!(of("x").await, of("y").await);
    }
}
