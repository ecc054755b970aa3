"""receive-message's job for a signed event, as a Lambda function in Python: verify 8x8's signature, queue the event, respond.

Only the benchmark uses it. It checks what receive-message checks with CALLBACK_AUTHENTICATION=signature; it has no log lines, no
metrics and no stale-if-error cache, which makes it cheaper than a complete function.
"""

import base64
import json
import os
import re
import time
import urllib.request
import zlib

import boto3
from botocore.config import Config
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers
from cryptography.hazmat.primitives.hashes import SHA256

# The limits of receive-message: bytes, and milliseconds before and after the transmission.
BODY_LIMIT, AGE, AHEAD = 512 * 1024, 240_000, 60_000
SIGNED = ["x-8x8-signature", "x-8x8-tenant-id", "x-8x8-customer-id", "x-8x8-event-id", "x-8x8-retry", "x-8x8-transmission-time"]
KEY_ID = re.compile(r"[\w-]+")

ENDPOINT = os.environ["CONTACT_CENTER_ENDPOINT"].rstrip("/")
TENANT = os.environ.get("CONTACT_CENTER_TENANT_ID")
QUEUE = os.environ["EVENT_QUEUE_URL"]
sqs = boto3.client("sqs", config=Config(connect_timeout=2, read_timeout=2))
keys = {}


class Refused(Exception):
    pass


def key_of(key_id):
    if key_id not in keys:
        with urllib.request.urlopen(f"{ENDPOINT}/jwk/{key_id}/public", timeout=3) as response:
            jwk = json.load(response)
        exponent, modulus = (int.from_bytes(decoded(jwk[name])) for name in "en")
        keys[key_id] = RSAPublicNumbers(exponent, modulus).public_key()
    return keys[key_id]


def decoded(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def verify(headers, body):
    signature, tenant, customer, event_id, retry, transmitted = (headers.get(name) or refuse() for name in SIGNED)
    now = int(time.time() * 1000)
    if not int(transmitted) - AHEAD <= now <= int(transmitted) + AGE:
        refuse()
    header, _, signed = signature.partition("..")
    jose = json.loads(decoded(header))
    if jose["alg"] != "RS256" or jose["b64"] is not False or jose["crit"] != ["b64"] or not KEY_ID.fullmatch(jose["kid"]):
        refuse()
    payload = (f'{header}.{{"checksum":{zlib.crc32(body)},"cid":{json.dumps(customer)},"eid":{json.dumps(event_id)},'
               f'"retry":{retry},"tid":{json.dumps(tenant)},"tt":{transmitted}}}')
    try:
        key_of(jose["kid"]).verify(decoded(signed), payload.encode(), PKCS1v15(), SHA256())
    except InvalidSignature:
        refuse()
    if TENANT and tenant != TENANT:
        refuse()
    return event_id


def refuse():
    raise Refused


def handle(event, _context):
    body = event.get("body") or ""
    body = base64.b64decode(body) if event.get("isBase64Encoded") else body.encode()
    if len(body) > BODY_LIMIT:
        return {"statusCode": 413}
    headers = event["headers"]
    try:
        event_id = verify(headers, body)
    except (Refused, ValueError, KeyError):
        return {"statusCode": 401}
    parsed = json.loads(body)
    message = {
        "body": base64.b64encode(body).decode(),
        "content_type": headers.get("content-type"),
        "headers": {name: value for name, value in headers.items() if name.startswith("x-8x8-")},
        "received_at": int(time.time() * 1000),
        "event_type": parsed["eventType"],
    }
    sqs.send_message(
        QueueUrl=QUEUE,
        MessageBody=json.dumps(message),
        MessageGroupId=parsed.get("conversationId") or "no-conversation",
        MessageDeduplicationId=event_id,
    )
    return {"statusCode": 200, "body": ""}
