// What a bot needs of the bridge: `serve` receives the events of 8x8, `call` makes the calls of a conversation.

import { createHash, randomBytes, randomUUID, timingSafeEqual } from "node:crypto";
import { createServer } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";

function setting(name) {
  if (!process.env[name]) throw new Error(`${name} is not set`);
  return process.env[name];
}
const login = (who) =>
  ({ clientid: setting(`${who}_APP_TOKEN`), username: setting(`${who}_USERNAME`), password: setting(`${who}_PASSWORD`) });
const ours = login("CALLER"), theirs = login("BOT"); // what the bot logs in with at the bridge, and the bridge at the bot
const REPEAT = [409, 429, 500, 503, 504]; // repeated with the same key (this bot gets no `unknown` without Retry-After)
let bearer; // our token at the bridge
const issued = new Map(), seen = new Map(); // when the bridge's tokens expire; the ids of the events that we have

const digest = (text) => createHash("sha256").update(text ?? "").digest();
const same = (given, expected) => timingSafeEqual(digest(given), digest(expected));

function token(body) {
  const form = new URLSearchParams(body);
  if (form.get("grant_type") !== "password" || !Object.keys(theirs).every((field) => same(form.get(field), theirs[field])))
    return [400, { error: "invalid_grant" }];
  const token = randomBytes(32).toString("base64url");
  issued.set(token, Date.now() + 3600_000); // milliseconds
  return [200, { access_token: token, token_type: "bearer", expires_in: 3600 }];
}

async function event(body, headers, handle) {
  const token = (headers.authorization ?? "").replace("Bearer ", "");
  if (!same(headers["x-app-token"], theirs.clientid) || !(issued.get(token) > Date.now()))
    return [401, { error: "unauthorized" }]; // the bridge logs in again
  const id = headers["x-8x8-event-id"] ?? randomUUID();
  if (!seen.has(id)) seen.set(id, handle(JSON.parse(body))); // otherwise it is a repeat
  await seen.get(id);
  return [200, {}]; // not before the bot has the event: after anything but a 2xx it comes again
}

// Receives events and gives each one to `handle`, once; `ready` is called when it listens.
export function serve(port, handle, ready) {
  const routes = { "/tenant-users/oauth2/token": token, "/v1/liveAgent/receiveMessage": event };
  const respond = async (request, response) => {
    let body = "";
    for await (const chunk of request.setEncoding("utf8")) body += chunk;
    const route = request.method === "POST" ? routes[request.url] : undefined;
    const [status, json] = route ? await route(body, request.headers, handle) : [404, {}];
    response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(json));
  };
  createServer((request, response) => respond(request, response).catch(() => response.destroy())).listen(port, "127.0.0.1", ready);
}

// Calls the bridge until the outcome is known. All tries have one key, so that nothing is done twice.
export async function call(path, body, method = "POST") {
  const key = randomUUID(), deadline = Date.now() + 120_000; // milliseconds; an unknown outcome is known before
  while (Date.now() < deadline) {
    let response;
    try {
      if (!bearer) response = await send(setting("TOKEN_URL"), { body: new URLSearchParams({ grant_type: "password", ...ours }) });
      if (response?.ok) bearer = (await response.json()).access_token;
      if (bearer) {
        const headers = { "content-type": "application/json", "idempotency-key": key,
                          "x-app-token": ours.clientid, authorization: `Bearer ${bearer}` };
        response = await send(setting("CONVERSATIONS_URL") + path, { method, headers, body: JSON.stringify(body) });
        if (response.ok) return JSON.parse((await response.text()) || "{}");
      }
    } catch {
      response = undefined; // no response: the call may have been carried out
    }
    if (response?.status === 401 && bearer) bearer = undefined; // it has expired
    else if (response && !REPEAT.includes(response.status)) throw new Error(`status ${response.status}`);
    await sleep(1000 * (Number(response?.headers.get("retry-after")) || 1));
  }
  throw new Error("the bridge gave no outcome");
}

// The bridge responds within 30 seconds.
const send = (url, options) => fetch(url, { method: "POST", ...options, redirect: "error", signal: AbortSignal.timeout(35_000) });
