"""An HTTP server with the dashboard's files and the answers of a scenario, and a proxy that puts a coordinator beneath a
path. Both are for the checks only."""

import http.client
import http.server
import json
import queue
import socket
import threading
import time
import urllib.parse
from pathlib import Path

from scenarios import now_ms

PAGE = Path(__file__).resolve().parents[2] / "coordinator" / "src" / "http" / "page"
TYPES = {".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
POLICY = ("default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; "
          "form-action 'none'; frame-ancestors 'none'")


STANDBY = {"error": "this coordinator is a standby: another one is active, and has the answer", "standby": True}


class Listener(http.server.ThreadingHTTPServer):
    daemon_threads = True
    # A port that was just closed is taken again at once: the checks end a server and start it again.
    allow_reuse_address = True
    request_queue_size = 128

    def handle_error(self, request, client_address):
        """A browser closes connections as it likes."""


class Server:
    """Runs one handler on one port; `stop` ends its connections too, as the end of a process does."""

    def __init__(self, prefix=""):
        self.prefix = prefix
        self.port = 0
        self.listener = None
        self.sockets = set()
        self.requests = []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}{self.prefix}/"

    def start(self):
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self):
                super().setup()
                server.sockets.add(self.connection)

            def finish(self):
                server.sockets.discard(self.connection)
                super().finish()

            def log_message(self, *_):
                pass

            def do_GET(self):
                server.requests.append(self.path)
                if server.prefix and not self.path.startswith(server.prefix + "/"):
                    return send(self, 404, "text/plain", b"outside the path\n")
                return server.get(self, self.path[len(server.prefix):])

        self.listener = Listener(("127.0.0.1", self.port), Handler)
        self.port = self.listener.server_address[1]
        threading.Thread(target=self.listener.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def stop(self):
        listener, self.listener = self.listener, None
        if listener is None:
            return
        listener.shutdown()
        listener.server_close()
        for connection in list(self.sockets):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        self.sockets.clear()

    def get(self, handler, path):
        raise NotImplementedError


def send(handler, status, kind, body, head=()):
    handler.send_response(status)
    handler.send_header("content-type", kind)
    handler.send_header("content-length", str(len(body)))
    handler.send_header("cache-control", "no-store")
    for name, value in head:
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(body)


class Coordinator(Server):
    """Answers as a coordinator does, from a `Fleet`."""

    def __init__(self, fleet, prefix=""):
        super().__init__(prefix)
        self.fleet = fleet
        self.events = []
        self.waiting = []
        self.lock = threading.Lock()
        self.silent = False
        self.missing = None
        for kind, data in fleet.kept_events:
            self.publish(kind, data)

    def publish(self, kind, data):
        """Tells all pages of an event, and keeps it for those that come later."""
        data = {"event": kind, "at_ms": now_ms(), **data}
        with self.lock:
            self.events = [*self.events[-999:], (len(self.events) and self.events[-1][0] + 1 or 1, kind, json.dumps(data))]
            for one in self.waiting:
                one.put(self.events[-1])

    def get(self, handler, path):
        path, _, text = path.partition("?")
        query = dict(urllib.parse.parse_qsl(text))
        if not path.startswith("/api/"):
            return self.asset(handler, path)
        if self.fleet.standby:
            return send(handler, 503, "application/json", json.dumps(STANDBY).encode())
        if path == "/api/events":
            return self.stream(handler, "overview" in query)
        status, body = self.fleet.answer(urllib.parse.unquote(path.removeprefix("/api/")), query)
        return send(handler, status, "application/json", json.dumps(body).encode())

    def asset(self, handler, path):
        file = PAGE / (path.lstrip("/") or "index.html")
        if path == self.missing or file.suffix not in TYPES or ".." in path or not file.is_file():
            return send(handler, 404, "text/plain", b"not found\n")
        return send(handler, 200, TYPES[file.suffix], file.read_bytes(), [("content-security-policy", POLICY), ("x-content-type-options", "nosniff")])

    def stream(self, handler, with_overview):
        handler.send_response(200)
        handler.send_header("content-type", "text/event-stream")
        handler.send_header("cache-control", "no-store")
        handler.send_header("connection", "close")
        handler.end_headers()
        mine = queue.Queue()
        after = handler.headers.get("last-event-id")
        with self.lock:
            for event in self.events:
                if after is not None and event[0] > int(after):
                    mine.put(event)
            self.waiting.append(mine)
        listener = self.listener
        try:
            due = time.monotonic()
            while self.listener is listener:
                try:
                    number, kind, data = mine.get(timeout=max(0.0, due - time.monotonic()))
                    handler.wfile.write(f"id: {number}\nevent: {kind}\ndata: {data}\n\n".encode())
                except queue.Empty:
                    due += 1
                    if with_overview and not self.silent:
                        # A coordinator that has lost the lease keeps the stream, and says so in it.
                        state = STANDBY if self.fleet.standby else self.fleet.status(full=False)
                        handler.wfile.write(f"event: overview\ndata: {json.dumps(state)}\n\n".encode())
                    elif not self.silent:
                        handler.wfile.write(b": still here\n\n")
                handler.wfile.flush()
        except OSError:
            pass
        finally:
            handler.close_connection = True
            with self.lock:
                self.waiting.remove(mine)


class Proxy(Server):
    """Puts another server beneath a path, as operators do, and can be stopped as a coordinator can."""

    def __init__(self, target, prefix):
        super().__init__(prefix)
        self.target = urllib.parse.urlsplit(target)

    def get(self, handler, path):
        connection = http.client.HTTPConnection(self.target.hostname, self.target.port or 80, timeout=60)
        try:
            headers = {name: value for name, value in handler.headers.items() if name.lower() in ("accept", "last-event-id")}
            connection.request("GET", self.target.path.rstrip("/") + path, headers=headers)
            answer = connection.getresponse()
            handler.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in ("transfer-encoding", "content-length", "connection", "date", "server"):
                    handler.send_header(name, value)
            handler.send_header("connection", "close")
            handler.end_headers()
            while piece := answer.read1(65536):
                handler.wfile.write(piece)
                handler.wfile.flush()
        except OSError:
            pass
        finally:
            handler.close_connection = True
            connection.close()
