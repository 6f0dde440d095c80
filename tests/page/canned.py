"""What the engine will be: serves the page and canned answers of its API, with the same policy."""

import http.server
import json
import pathlib
import threading
import urllib.parse

PAGE = pathlib.Path(__file__).parents[2] / "src/admin/page"
FILES = {"/": ("index.html", "text/html"), "/page.css": ("page.css", "text/css"),
         "/page.js": ("page.js", "text/javascript")}
POLICY = ("default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
          "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")


class Site(http.server.ThreadingHTTPServer):
    """On a port of its own. `show` changes what it says, to streams that are open too."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}/"
        self.change = threading.Condition()
        self.version = 0
        self.status = self.first = None
        self.histories = {}
        self.up = True
        self.asked = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def show(self, status, histories=None, first=None):
        """`first`: what api/v1/status says, if that is another snapshot than the stream's."""
        with self.change:
            self.status, self.first = status, first or status
            if histories is not None:
                self.histories = histories
            self.version += 1
            self.change.notify_all()

    def set_up(self, up):
        """Down: streams break off, and whoever asks gets nothing."""
        with self.change:
            self.up = up
            self.change.notify_all()

    def handle_error(self, request, client_address):
        """Browsers leave in the middle."""


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        url = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(url.query))
        self.server.asked.append(self.path)
        if url.path in FILES:
            name, kind = FILES[url.path]
            return self.answer(200, f"{kind}; charset=utf-8", (PAGE / name).read_bytes())
        if not self.server.up:
            self.close_connection = True
            return None
        if url.path == "/api/v1/status":
            return self.json(200, self.server.first)
        if url.path == "/api/v1/history":
            return self.json(200, self.server.histories[query["range"]])
        if url.path == "/api/v1/explain":
            return self.explain(query)
        if url.path == "/api/v1/events":
            return self.events()
        return self.answer(404, "text/plain", b"not here\n")

    def explain(self, query):
        name = query["name"]
        if ".." in name:
            return self.json(400, {"error": f"invalid: {name}: a label is empty"})
        return self.json(200, {"name": name, "lines": [
            f"http: pi, by pi.example.com, for {query.get('path', 'any path')}",
            "https: pi, by pi.example.com"]})

    def events(self):
        self.close_connection = True
        self.send_response(200)
        self.headers_of("text/event-stream")
        self.end_headers()
        seen = None
        while True:
            with self.server.change:
                if not self.server.up:
                    return
                if seen == self.server.version:
                    self.server.change.wait(2)
                    continue
                seen, text = self.server.version, json.dumps(self.server.status)
            self.wfile.write(f"event: status\ndata: {text}\n\n".encode())

    def json(self, code, value):
        return self.answer(code, "application/json", json.dumps(value).encode())

    def headers_of(self, kind):
        self.send_header("Content-Type", kind)
        self.send_header("Content-Security-Policy", POLICY)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Cache-Control", "no-store")

    def answer(self, code, kind, body):
        self.send_response(code)
        self.headers_of(kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass
