"""A reverse proxy that stands for the public addresses: API Gateway's, and that of a load balancer in front of it.

MiniStack distinguishes HTTP APIs by the Host header, `<api>.execute-api.localhost:<port>`, and a URL with that name does not
resolve everywhere. Here the first segment of the path is the id of the API instead, or the name of a load balancer, whose
API `targets` says. The rest goes through byte for byte.
"""

import http.client
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# Hop-by-hop headers, which a proxy does not forward (RFC 9110, 7.6.1), and those that it sets itself.
NOT_FORWARDED = {"connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "host", "content-length"}
# API Gateway gives up after 30 s.
TIME_LIMIT = 30


class Bridge:
    def __init__(self, port):
        self.targets = {}
        bridge = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do(self):
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                name, _, rest = self.path.lstrip("/").partition("/")
                api = bridge.targets.get(name, name)
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIME_LIMIT)
                try:
                    connection.putrequest(self.command, f"/{rest}", skip_host=True, skip_accept_encoding=True)
                    connection.putheader("Host", f"{api}.execute-api.localhost:{port}")
                    for header, value in self.headers.items():
                        if header.lower() not in NOT_FORWARDED:
                            connection.putheader(header, value)
                    if body or self.command not in ("GET", "HEAD"):
                        connection.putheader("Content-Length", str(len(body)))
                    connection.endheaders(body)
                    response = connection.getresponse()
                    content = response.read()
                except OSError:
                    self.send_error(503)
                    return
                finally:
                    connection.close()
                self.send_response(response.status)
                for header, value in response.getheaders():
                    if header.lower() not in NOT_FORWARDED | {"date", "server"}:
                        self.send_header(header, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = do_OPTIONS = do

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_port
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self.server.serve_forever, args=(0.1,), daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()
