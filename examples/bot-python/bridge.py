"""What a bot needs of the bridge: `serve` receives the events of 8x8, `call` makes the calls of a conversation."""

import hmac, http.client, json, os, secrets, sys, threading, time, urllib.error, urllib.parse, urllib.request, uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def login(who):
    names = {"clientid": f"{who}_APP_TOKEN", "username": f"{who}_USERNAME", "password": f"{who}_PASSWORD"}
    return {field: os.environ.get(name) or sys.exit(f"{name} is not set") for field, name in names.items()}


OURS, THEIRS = login("CALLER"), login("BOT")  # what the bot logs in with at the bridge, and the bridge at the bot
REPEAT = 409, 429, 500, 503, 504  # repeated with the same key (this bot gets no `unknown` without Retry-After)
bearer = None  # our token at the bridge
issued, seen, arrival = {}, set(), threading.Lock()  # when the bridge's tokens expire; the ids of the events that we have


def serve(port, handle):
    """Receives events in the background and gives each one to `handle`, once."""

    class FromBridge(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            routes = {"/tenant-users/oauth2/token": self.token, "/v1/liveAgent/receiveMessage": self.event}
            status, response = routes[self.path](body) if self.path in routes else (404, {})
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(json.dumps(response))))
            self.end_headers()
            self.wfile.write(json.dumps(response).encode())

        def token(self, body):
            form = dict(urllib.parse.parse_qsl(body.decode(errors="replace")))
            if form.get("grant_type") != "password" or not all(same(form.get(field), THEIRS[field]) for field in THEIRS):
                return 400, {"error": "invalid_grant"}
            token = secrets.token_urlsafe(32)
            issued[token] = time.time() + 3600  # seconds
            return 200, {"access_token": token, "token_type": "bearer", "expires_in": 3600}

        def event(self, body):
            token = self.headers.get("Authorization", "").removeprefix("Bearer ")
            if not same(self.headers.get("x-app-token"), THEIRS["clientid"]) or issued.get(token, 0) < time.time():
                return 401, {"error": "unauthorized"}  # the bridge logs in again
            event_id = self.headers.get("x-8x8-event-id") or str(uuid.uuid4())
            with arrival:
                if event_id not in seen:  # otherwise it is a repeat
                    handle(json.loads(body))
                    seen.add(event_id)
            return 200, {}  # not before the bot has the event: after anything but a 2xx it comes again

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), FromBridge)
    threading.Thread(target=server.serve_forever, daemon=True).start()


def same(given, expected):
    return hmac.compare_digest((given or "").encode(), expected.encode())


def call(path, body, method="POST"):
    """Calls the bridge until the outcome is known. All tries have one key, so that nothing is done twice."""
    global bearer
    key, deadline = str(uuid.uuid4()), time.monotonic() + 120  # seconds; an unknown outcome is known before
    while time.monotonic() < deadline:
        wait = 1  # second
        try:
            form = urllib.parse.urlencode({"grant_type": "password", **OURS})
            bearer = bearer or send(os.environ["TOKEN_URL"], form, {})["access_token"]
            headers = {"Content-Type": "application/json", "Idempotency-Key": key,
                       "x-app-token": OURS["clientid"], "Authorization": f"Bearer {bearer}"}
            return send(os.environ["CONVERSATIONS_URL"] + path, json.dumps(body), headers, method)
        except urllib.error.HTTPError as error:
            if error.code == 401 and bearer:
                bearer = None  # it has expired
            elif error.code not in REPEAT:
                raise
            after = error.headers.get("Retry-After", "")
            wait = int(after) if after.isdigit() else wait
        except (OSError, http.client.HTTPException):
            pass  # no response: the call may have been carried out
        time.sleep(wait)
    raise TimeoutError("the bridge gave no outcome")


def send(url, body, headers, method="POST"):
    request = urllib.request.Request(url, body.encode(), headers, method=method)
    with urllib.request.urlopen(request, timeout=35) as response:  # seconds; the bridge responds within 30
        return json.loads(response.read() or "{}")
