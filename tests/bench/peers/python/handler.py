"""receive-message's job in Python: verifies an event of 8x8's by its signature, puts it into the FIFO queue, responds.

A peer for the benchmark, not a part of the bridge. The rule of the signature is in docs/signature/README.md.
"""

import base64
import hashlib
import json
import os
import re
import time
import zlib

import boto3
import urllib3
from botocore.config import Config
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers
from cryptography.hazmat.primitives.hashes import SHA256

BODY_LIMIT = 512 * 1024
# SQS drops a repeated event id for 300 s: from `AHEAD_MS` before the transmission to `AGE_MS` after it.
AGE_MS, AHEAD_MS = 240_000, 60_000
KEY_TTL, UNKNOWN_KEY_TTL = 55 * 60, 5
JWK_LIMIT = 16 * 1024
DOCUMENTED = frozenset((
    "WEB_HOOK_VERIFY", "CONVERSATION_UPDATE", "QUEUED", "MEMBERS_CHANGED", "TRANSFER", "MESSAGE", "ACTIVITY", "AGENT_JOINED",
    "AGENT_LEFT", "TEXT",
))
SIGNED = (
    "x-8x8-signature", "x-8x8-tenant-id", "x-8x8-customer-id", "x-8x8-event-id", "x-8x8-retry", "x-8x8-transmission-time",
)
NUMBER = re.compile(r"0|[1-9][0-9]{0,19}")
KEY_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
SQS_ID = re.compile(r"[!-~]{1,128}")
BASE64_URL = re.compile(r"[A-Za-z0-9_-]*")
PADDING, HASH = PKCS1v15(), SHA256()

ENDPOINT = os.environ["CONTACT_CENTER_ENDPOINT"].rstrip("/")
TENANT_ID = os.environ.get("CONTACT_CENTER_TENANT_ID")
QUEUE_URL = os.environ["EVENT_QUEUE_URL"]
FUNCTION_NAME = os.environ["AWS_LAMBDA_FUNCTION_NAME"]

http = urllib3.PoolManager(timeout=3, retries=False)
sqs = boto3.client("sqs", config=Config(connect_timeout=1, read_timeout=3, retries={"mode": "standard", "max_attempts": 3}))


class Rejection(Exception):
    """The status for the sender, and the reason for the log and the metric."""

    def __init__(self, status, reason):
        super().__init__(reason)
        self.status, self.reason = status, reason


class Keys:
    """8x8's public keys by id. A key stays in use while it cannot be fetched again."""

    def __init__(self):
        self.known = {}  # id: (key or None, when it was fetched)

    def prove(self, key_id, proves):
        """Whether the key of that id proves something; a key that does not is fetched once more, since 8x8 may have replaced it."""
        now = time.monotonic()
        key, fetched_at = self.known.get(key_id, (None, None))
        is_fresh = fetched_at is not None and now - fetched_at < (KEY_TTL if key else UNKNOWN_KEY_TTL)
        if not is_fresh:
            key, fetched_at = self.refresh(key_id, key, now), now
        if key is None:
            raise Rejection(401, "unknown-key")
        if proves(key):
            return True
        return now - fetched_at >= UNKNOWN_KEY_TTL and proves(self.refresh(key_id, key, now))

    def refresh(self, key_id, old, now):
        try:
            key = fetch_key(key_id)
        except (urllib3.exceptions.HTTPError, ValueError, KeyError, TypeError) as error:
            if old is None:
                raise Rejection(503, "key-unavailable") from error
            return old
        if len(self.known) >= 1000 and key_id not in self.known:
            self.known = {id: entry for id, entry in self.known.items() if entry[0]}
        self.known[key_id] = (key, now)
        return key


def fetch_key(key_id):
    """The key of that id; `None` if 8x8 has none."""
    response = http.request("GET", f"{ENDPOINT}/jwk/{key_id}/public")
    if response.status in (404, 410):
        return None
    if response.status != 200 or len(response.data) > JWK_LIMIT:
        raise ValueError("not a key")
    jwk = json.loads(response.data)
    if isinstance(jwk, str):
        jwk = json.loads(jwk)
    if jwk["kty"] != "RSA" or jwk.get("kid", key_id) != key_id:
        raise ValueError("not the RSA key of that id")
    modulus, exponent = decode(jwk["n"]), decode(jwk["e"])
    if not 256 <= len(modulus) <= 1024:
        raise ValueError("not a key of 2048 to 8192 bits")
    return RSAPublicNumbers(int.from_bytes(exponent), int.from_bytes(modulus)).public_key()


keys = Keys()


def decode(text):
    """base64url without padding."""
    if not BASE64_URL.fullmatch(text):
        raise ValueError("not base64url")
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def verify(headers, body, now_ms):
    """Proves that 8x8 sent `body` with `headers`, not long before now. What costs nothing is checked first."""
    try:
        signature, tenant, customer, event, retry, sent_at = (headers[name] for name in SIGNED)
    except KeyError:
        raise Rejection(401, "malformed-signature") from None
    if not (NUMBER.fullmatch(retry) and NUMBER.fullmatch(sent_at)) or not all(headers[name].isascii() for name in SIGNED):
        raise Rejection(401, "malformed-signature")
    if not -AHEAD_MS <= now_ms - int(sent_at) <= AGE_MS:
        raise Rejection(401, "stale")
    protected, dots, proof = signature.partition("..")
    try:
        header, proof = json.loads(decode(protected)), decode(proof)
        is_ours = (
            dots
            and header["alg"] == "RS256"
            and header["b64"] is False
            and header["crit"] == ["b64"]
            and KEY_ID.fullmatch(header["kid"])
            and not header.keys() & {"jku", "x5u", "jwk", "x5c"}
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        is_ours = False
    if not is_ours:
        raise Rejection(401, "malformed-signature")
    text = json.dumps(
        {
            "checksum": zlib.crc32(body),
            "cid": customer,
            "eid": event,
            "retry": int(retry),
            "tid": tenant,
            "tt": int(sent_at),
        },
        separators=(",", ":"),
    )
    signed = f"{protected}.{text}".encode()

    def proves(key):
        try:
            key.verify(proof, signed, PADDING, HASH)
        except InvalidSignature:
            return False
        return True

    if not keys.prove(header["kid"], proves):
        raise Rejection(401, "forged")


def parse(body):
    """The event, its type and its conversation."""
    try:
        event = json.loads(body)
    except ValueError:
        raise Rejection(400, "not-an-event") from None
    if not isinstance(event, dict) or not isinstance(event.get("eventType"), str) or not event["eventType"]:
        raise Rejection(400, "not-an-event")
    conversation = event.get("conversationId")
    return event, event["eventType"], conversation if isinstance(conversation, str) and conversation else None


def permitted_id(text):
    """An id that SQS takes."""
    return text if SQS_ID.fullmatch(text) else hashlib.sha256(text.encode()).hexdigest()


def receive(request):
    started_at, now_ms = time.perf_counter(), int(time.time() * 1000)
    headers, text = request["headers"], request.get("body") or ""
    body = base64.b64decode(text) if request.get("isBase64Encoded") else text.encode()
    if len(body) > BODY_LIMIT:
        raise Rejection(413, "too-large")
    if "x-8x8-signature" not in headers:
        # 8x8 does not document that it signs the question whether the webhook can be reached.
        if parse(body)[1] != "WEB_HOOK_VERIFY":
            raise Rejection(401, "no-credentials")
        return
    verify(headers, body, now_ms)
    event, event_type, conversation = parse(body)
    if TENANT_ID and headers["x-8x8-tenant-id"] != TENANT_ID:
        raise Rejection(401, "foreign-tenant")
    if event_type == "WEB_HOOK_VERIFY":
        return
    is_documented = event_type in DOCUMENTED
    data = event.get("data")
    message = {
        "body": base64.b64encode(body).decode(),
        "content_type": headers.get("content-type"),
        "headers": {name: value for name, value in headers.items() if name.startswith("x-8x8-")},
        "received_at": now_ms,
        "event_type": event_type if is_documented else "undocumented",
        "is_typing": event_type == "ACTIVITY" and isinstance(data, dict) and data.get("name") == "typing",
    }
    event_id, group = permitted_id(headers["x-8x8-event-id"]), permitted_id(conversation or "no-conversation")
    try:
        sqs.send_message(
            QueueUrl=QUEUE_URL,
            MessageBody=json.dumps(message, separators=(",", ":")),
            MessageGroupId=group,
            MessageDeduplicationId=event_id,
        )
    except Exception as error:
        raise Rejection(503, "queue-unavailable") from error
    # An ordinary event has no metric line: a metric filter counts the line below.
    counts = {}
    if not is_documented:
        counts["EventsUndocumented"] = 1
    if headers["x-8x8-retry"] != "0":
        counts["EventsRepeated"] = 1
    if counts:
        write_metrics(counts, now_ms)
    took_ms = int((time.perf_counter() - started_at) * 1000)
    write_line(level="INFO", message="queued", conversation=group, event=event_id, type=message["event_type"], took_ms=took_ms)


def write_line(**fields):
    print(json.dumps(fields, separators=(",", ":")))


def write_metrics(counts, now_ms):
    """In CloudWatch's embedded metric format."""
    metrics = [{"Name": name, "Unit": "Count"} for name in counts]
    directive = {"Namespace": "LiveAgentBridge", "Dimensions": [["FunctionName"]], "Metrics": metrics}
    write_line(_aws={"Timestamp": now_ms, "CloudWatchMetrics": [directive]}, FunctionName=FUNCTION_NAME, **counts)


def handle(request, context):
    """One request of API Gateway's HTTP API."""
    try:
        receive(request)
    except Rejection as rejection:
        write_line(level="WARN", message="the callback was rejected", reason=rejection.reason)
        write_metrics({"EventsRefused": 1}, int(time.time() * 1000))
        headers = {"content-type": "application/json"}
        if rejection.status == 503:
            headers["retry-after"] = "5"
        return {"statusCode": rejection.status, "headers": headers, "body": '{"message":"rejected"}'}
    return {"statusCode": 200, "body": ""}
