"""A web server of the demonstration, a process of its own: every page is its name, and /healthz is well."""

from __future__ import annotations

import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Page(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 5.0  # seconds of silence until a connection is closed

    def do_GET(self) -> None:
        body = b"well\n" if self.path == "/healthz" else f"{self.connection.getsockname()[0]}\n".encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: only what keeps it from starting is in its log."""


def main() -> None:
    address, port = sys.argv[1:]
    try:
        server = ThreadingHTTPServer((address, int(port)), Page)
    except OSError as error:
        sys.exit(f"{address}:{port}: {os.strerror(error.errno or 0).lower()}")
    server.serve_forever()


if __name__ == "__main__":
    main()
