"""A service that knows tokens (RFC 7662), for a Dovecot that asks it."""

import http.server
import json
import threading
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

GOOD = "ya29.good-token_1"


@contextmanager
def introspection(user: str) -> Iterator[str]:
    """Run a service that knows one token of `user`; yield where a token is asked about."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = urllib.parse.parse_qs(urllib.parse.urlparse(self.path).query)
            good = asked.get("token") == [GOOD]
            body = json.dumps({"active": good, "email": user}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/?token="
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
