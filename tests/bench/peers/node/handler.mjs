// receive-message's job in Node.js: verifies an event of 8x8's by its signature, puts it into the FIFO queue, responds.
//
// A peer for the benchmark, not a part of the bridge. The rule of the signature is in docs/signature/README.md.

import { createHash, createPublicKey, verify as verifySignature } from "node:crypto";
import { crc32 } from "node:zlib";
import { SendMessageCommand, SQSClient } from "@aws-sdk/client-sqs";

const BODY_LIMIT = 512 * 1024;
// SQS drops a repeated event id for 300 s: from `AHEAD_MS` before the transmission to `AGE_MS` after it.
const [AGE_MS, AHEAD_MS] = [240_000, 60_000];
const [KEY_TTL_MS, UNKNOWN_KEY_TTL_MS] = [55 * 60_000, 5_000];
const JWK_LIMIT = 16 * 1024;
const DOCUMENTED = new Set([
  "WEB_HOOK_VERIFY", "CONVERSATION_UPDATE", "QUEUED", "MEMBERS_CHANGED", "TRANSFER", "MESSAGE", "ACTIVITY", "AGENT_JOINED",
  "AGENT_LEFT", "TEXT",
]);
const SIGNED = [
  "x-8x8-signature", "x-8x8-tenant-id", "x-8x8-customer-id", "x-8x8-event-id", "x-8x8-retry", "x-8x8-transmission-time",
];
const NUMBER = /^(0|[1-9][0-9]{0,14})$/;
const KEY_ID = /^[A-Za-z0-9_-]{1,64}$/;
const SQS_ID = /^[!-~]{1,128}$/;
const BASE64_URL = /^[A-Za-z0-9_-]*$/;
const ASCII = /^[\t -~]+$/;

const ENDPOINT = required("CONTACT_CENTER_ENDPOINT").replace(/\/+$/, "");
const TENANT_ID = process.env.CONTACT_CENTER_TENANT_ID;
const QUEUE_URL = required("EVENT_QUEUE_URL");
const FUNCTION_NAME = required("AWS_LAMBDA_FUNCTION_NAME");

const sqs = new SQSClient({ maxAttempts: 3, requestHandler: { connectionTimeout: 1_000, requestTimeout: 3_000 } });

function required(name) {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set`);
  return value;
}

/** The status for the sender, and the reason for the log and the metric. */
class Rejection extends Error {
  constructor(status, reason, options) {
    super(reason, options);
    Object.assign(this, { status, reason });
  }
}

/** 8x8's public keys by id. A key stays in use while it cannot be fetched again. */
class Keys {
  /** id: { key or null, when it was fetched } */
  #known = new Map();

  /** Whether the key of that id proves something; a key that does not is fetched once more, since 8x8 may have replaced it. */
  async prove(id, proves) {
    const now = performance.now();
    let entry = this.#known.get(id);
    if (!entry || now - entry.fetchedAt >= (entry.key ? KEY_TTL_MS : UNKNOWN_KEY_TTL_MS)) {
      entry = { key: await this.#refresh(id, entry?.key, now), fetchedAt: now };
    }
    if (!entry.key) throw new Rejection(401, "unknown-key");
    if (proves(entry.key)) return true;
    if (now - entry.fetchedAt < UNKNOWN_KEY_TTL_MS) return false;
    const key = await this.#refresh(id, entry.key, now);
    return key !== null && proves(key);
  }

  async #refresh(id, old, now) {
    let key;
    try {
      key = await fetchKey(id);
    } catch (error) {
      if (!old) throw new Rejection(503, "key-unavailable", { cause: error });
      return old;
    }
    if (this.#known.size >= 1000 && !this.#known.has(id)) {
      for (const [known, entry] of this.#known) if (!entry.key) this.#known.delete(known);
    }
    this.#known.set(id, { key, fetchedAt: now });
    return key;
  }
}

/** The key of that id; `null` if 8x8 has none. */
async function fetchKey(id) {
  const response = await fetch(`${ENDPOINT}/jwk/${id}/public`, { redirect: "error", signal: AbortSignal.timeout(3_000) });
  const text = await response.text();
  if (response.status === 404 || response.status === 410) return null;
  if (response.status !== 200 || text.length > JWK_LIMIT) throw new Error("not a key");
  let jwk = JSON.parse(text);
  if (typeof jwk === "string") jwk = JSON.parse(jwk);
  if (jwk.kty !== "RSA" || (jwk.kid ?? id) !== id) throw new Error("not the RSA key of that id");
  const key = createPublicKey({ key: { kty: jwk.kty, n: jwk.n, e: jwk.e }, format: "jwk" });
  const bits = key.asymmetricKeyDetails.modulusLength;
  if (bits < 2048 || bits > 8192) throw new Error("not a key of 2048 to 8192 bits");
  return key;
}

const keys = new Keys();

/** base64url without padding. */
function decode(text) {
  if (!BASE64_URL.test(text)) throw new Error("not base64url");
  return Buffer.from(text, "base64url");
}

/** The JOSE header, if it is 8x8's: RS256, detached and unencoded payload, a key that is named and not brought along. */
function joseHeader(text) {
  const header = JSON.parse(decode(text).toString());
  const { alg, b64, crit, kid, jku, x5u, jwk, x5c } = header;
  const isOurs =
    alg === "RS256" &&
    b64 === false &&
    Array.isArray(crit) && crit.length === 1 && crit[0] === "b64" &&
    typeof kid === "string" && KEY_ID.test(kid) &&
    [jku, x5u, jwk, x5c].every((member) => member === undefined);
  if (!isOurs) throw new Error("not 8x8's header");
  return header;
}

/** Proves that 8x8 sent `body` with `headers`, not long before now. What costs nothing is checked first. */
async function verify(headers, body, now) {
  const values = SIGNED.map((name) => headers[name]);
  const [signature, tid, cid, eid, retry, tt] = values;
  if (!values.every((value) => value !== undefined && ASCII.test(value)) || !NUMBER.test(retry) || !NUMBER.test(tt)) {
    throw new Rejection(401, "malformed-signature");
  }
  const age = now - Number(tt);
  if (age > AGE_MS || age < -AHEAD_MS) throw new Rejection(401, "stale");
  let [protectedHeader, proof, header] = signature.split("..");
  try {
    header = joseHeader(protectedHeader);
    proof = decode(proof);
  } catch (error) {
    throw new Rejection(401, "malformed-signature", { cause: error });
  }
  const payload = JSON.stringify({ checksum: crc32(body), cid, eid, retry: Number(retry), tid, tt: Number(tt) });
  const signed = Buffer.from(`${protectedHeader}.${payload}`);
  const isGenuine = await keys.prove(header.kid, (key) => verifySignature("RSA-SHA256", signed, key, proof));
  if (!isGenuine) throw new Rejection(401, "forged");
}

/** The event in the body. */
function parse(body) {
  let event;
  try {
    event = JSON.parse(body.toString());
  } catch (error) {
    throw new Rejection(400, "not-an-event", { cause: error });
  }
  if (typeof event?.eventType !== "string" || event.eventType === "" || Array.isArray(event)) {
    throw new Rejection(400, "not-an-event");
  }
  return event;
}

/** An id that SQS takes. */
function permittedId(text) {
  return SQS_ID.test(text) ? text : createHash("sha256").update(text).digest("hex");
}

async function receive(request) {
  const now = Date.now();
  const { headers } = request;
  const body = Buffer.from(request.body ?? "", request.isBase64Encoded ? "base64" : "utf8");
  if (body.length > BODY_LIMIT) throw new Rejection(413, "too-large");
  if (headers["x-8x8-signature"] === undefined) {
    // 8x8 does not document that it signs the question whether the webhook can be reached.
    if (parse(body).eventType !== "WEB_HOOK_VERIFY") throw new Rejection(401, "no-credentials");
    return;
  }
  await verify(headers, body, now);
  const event = parse(body);
  if (TENANT_ID && headers["x-8x8-tenant-id"] !== TENANT_ID) throw new Rejection(401, "foreign-tenant");
  if (event.eventType === "WEB_HOOK_VERIFY") return;
  const isDocumented = DOCUMENTED.has(event.eventType);
  const message = {
    body: body.toString("base64"),
    content_type: headers["content-type"] ?? null,
    headers: Object.fromEntries(Object.entries(headers).filter(([name]) => name.startsWith("x-8x8-"))),
    received_at: now,
    event_type: isDocumented ? event.eventType : "undocumented",
    is_typing: event.eventType === "ACTIVITY" && event.data?.name === "typing",
  };
  const { conversationId } = event;
  const isOfConversation = typeof conversationId === "string" && conversationId !== "";
  const group = permittedId(isOfConversation ? conversationId : "no-conversation");
  const eventId = permittedId(headers["x-8x8-event-id"]);
  try {
    await sqs.send(
      new SendMessageCommand({
        QueueUrl: QUEUE_URL,
        MessageBody: JSON.stringify(message),
        MessageGroupId: group,
        MessageDeduplicationId: eventId,
      }),
    );
  } catch (error) {
    throw new Rejection(503, "queue-unavailable", { cause: error });
  }
  // An ordinary event has no metric line: a metric filter counts the line below.
  const counts = {};
  if (!isDocumented) counts.EventsUndocumented = 1;
  if (headers["x-8x8-retry"] !== "0") counts.EventsRepeated = 1;
  if (Object.keys(counts).length > 0) writeMetrics(counts);
  const tookMs = Date.now() - now;
  writeLine({ level: "INFO", message: "queued", conversation: group, event: eventId, type: message.event_type, took_ms: tookMs });
}

function writeLine(fields) {
  process.stdout.write(`${JSON.stringify(fields)}\n`);
}

/** In CloudWatch's embedded metric format. */
function writeMetrics(counts) {
  const Metrics = Object.keys(counts).map((Name) => ({ Name, Unit: "Count" }));
  const directive = { Namespace: "LiveAgentBridge", Dimensions: [["FunctionName"]], Metrics };
  writeLine({ _aws: { Timestamp: Date.now(), CloudWatchMetrics: [directive] }, FunctionName: FUNCTION_NAME, ...counts });
}

/** One request of API Gateway's HTTP API. */
export async function handle(request) {
  try {
    await receive(request);
  } catch (error) {
    if (!(error instanceof Rejection)) throw error;
    writeLine({ level: "WARN", message: "the callback was rejected", reason: error.reason });
    writeMetrics({ EventsRefused: 1 });
    const headers = { "content-type": "application/json" };
    if (error.status === 503) headers["retry-after"] = "5";
    return { statusCode: error.status, headers, body: '{"message":"rejected"}' };
  }
  return { statusCode: 200, body: "" };
}
