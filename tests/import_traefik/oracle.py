"""What a real Traefik does with Compose files: an oracle for `underpass import`.

    oracle.py TRAEFIK ADDRESS

TRAEFIK is the program, ADDRESS an address of the loopback network that is all its own: homes listen
there on their own ports, entry points 10000 further up. Standard input has a JSON object a line:

    {"compose": [text...], "static": text or null, "dynamic": [text...], "env": {...},
     "questions": [{"entry": 80, "tls": false, "name": "a.x", "path": "/", "password": false}...]}

and each is answered by a line with a list: a home's port, "redirect", or "refused" with a reason.
Docker's socket is a stand-in that has the containers of the Compose files; a Traefik whose static
configuration is that of the last line goes on, and is told of the new containers by an event.
"""

import base64
import concurrent.futures
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import yaml

TRAEFIK, ADDRESS = sys.argv[1:3]
SHIFT = 10000
API_PORT = 19999
DEADLINE = 30


class Docker:
    """The containers that there are, and who waits for an event."""

    def __init__(self):
        self.containers = {}
        self.changes = 0
        self.changed = threading.Condition()
        self.path = tempfile.mkdtemp() + "/docker.sock"
        docker = self

        class Handler(Api):
            state = docker

        class Server(ThreadingHTTPServer):
            address_family = socket.AF_UNIX
            daemon_threads = True

            def server_bind(self):
                self.socket.bind(self.server_address)
                self.server_name, self.server_port = "docker", 0

            def get_request(self):
                return self.socket.accept()[0], ("unix", 0)

        threading.Thread(target=Server(self.path, Handler).serve_forever, daemon=True).start()

    def put(self, containers):
        with self.changed:
            self.containers = containers
            self.changes += 1
            self.changed.notify_all()


class Api(BaseHTTPRequestHandler):
    """Docker's HTTP API, as far as Traefik asks."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, value):
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        path = re.sub(r"^/v1\.\d+", "", self.path.split("?")[0])
        if path == "/_ping":
            self.answer("OK")
        elif path == "/version":
            self.answer({"Version": "27", "ApiVersion": "1.44", "MinAPIVersion": "1.24"})
        elif path == "/containers/json":
            self.answer([{"Id": name, "Names": ["/" + name]} for name in self.state.containers])
        elif path.startswith("/containers/"):
            self.inspect(path.split("/")[2])
        elif path == "/events":
            self.events()
        else:
            self.send_error(404)

    def inspect(self, name):
        container = self.state.containers.get(name)
        if container is None:
            return self.send_error(404)
        ports = {f"{port}/tcp": None for port in container["ports"]}
        self.answer({
            "Id": name,
            "Name": "/" + name,
            "Created": "2024-01-01T00:00:00Z",
            "State": {"Status": "running", "Running": True},
            "HostConfig": {"NetworkMode": "net"},
            "Config": {"Labels": container["labels"]},
            "NetworkSettings": {
                "Ports": ports,
                "Networks": {"net": {"NetworkID": "n", "IPAddress": ADDRESS}},
            },
        })

    def events(self):
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        seen = 0
        while True:
            with self.state.changed:
                self.state.changed.wait_for(lambda: self.state.changes != seen)
                seen = self.state.changes
            event = {"Type": "container", "Action": "start", "status": "start", "id": "x"}
            line = json.dumps({**event, "Actor": {"ID": "x", "Attributes": {}}}) + "\n"
            self.wfile.write(f"{len(line):x}\r\n{line}\r\n".encode())
            self.wfile.flush()


def behind_header(data):
    """What follows a PROXY header, if there is one."""
    if data[:12] == b"\r\n\r\n\x00\r\nQUIT\n":
        return data[16 + int.from_bytes(data[14:16], "big"):] if len(data) >= 16 else b""
    if data[:5] == b"PROXY":
        return data.partition(b"\r\n")[2]
    return data


def home(port):
    """Answers whatever comes with its own port."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((ADDRESS, port))
    listener.listen(64)

    def serve(connection):
        with connection:
            try:
                connection.settimeout(10)
                data = connection.recv(65536)
                # A PROXY header may come alone, before what the visitor says.
                while (rest := behind_header(data)) == b"":
                    more = connection.recv(65536)
                    if not more:
                        return
                    data += more
                if rest[:2] == b"\x16\x03":
                    connection.sendall(b"home-%d over TLS" % port)
                    return
                body = b"home-%d" % port
                head = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
                connection.sendall(head % len(body) + body)
            except OSError:
                pass

    def accept():
        while True:
            threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()


def shifted(text):
    """`:80` on every address as `ADDRESS:10080`."""
    host, _, rest = text.rpartition(":")
    port, slash, protocol = rest.partition("/")
    return f"{ADDRESS}:{int(port) + SHIFT}{slash}{protocol}"


def interpolate(value, env):
    """As Compose does, for the forms that the cases use."""
    if isinstance(value, dict):
        return {key: interpolate(item, env) for key, item in value.items()}
    if isinstance(value, list):
        return [interpolate(item, env) for item in value]
    if not isinstance(value, str):
        return value

    def replace(match):
        if match[0] == "$$":
            return "$"
        name, form = match[1] or match[3], match[2] or ""
        if form.startswith(":-"):
            return env.get(name) or form[2:]
        if form.startswith("-"):
            return env.get(name, form[1:])
        return env.get(name, "")

    return re.sub(r"\$\$|\$\{(\w+)([^}]*)\}|\$(\w+)", replace, value)


def pairs(value):
    if isinstance(value, list):
        value = dict((item.split("=", 1) + [""])[:2] for item in value)

    def word(item):
        if isinstance(item, bool):
            return str(item).lower()
        return "" if item is None else str(item)

    return {key: word(item) for key, item in (value or {}).items()}


def merged(files, env):
    """The services of Compose files, the later ones over the earlier ones."""
    services = {}
    for text in files:
        for name, service in interpolate(yaml.safe_load(text), env)["services"].items():
            known = services.setdefault(name, {})
            for key, value in (service or {}).items():
                if key in ("labels", "environment"):
                    known[key] = {**pairs(known.get(key)), **pairs(value)}
                elif key in ("ports", "expose"):
                    known[key] = known.get(key, []) + value
                else:
                    known[key] = value
    return services


def inside(port):
    """The container's port of an entry of `ports`."""
    if isinstance(port, dict):
        return int(port["target"])
    return int(str(port).split("/")[0].rsplit(":", 1)[-1].split("-")[0])


def containers_of(services):
    found = {}
    for name, service in services.items():
        if not str(service.get("image", "")).split("/")[-1].startswith("traefik"):
            labels = {
                "com.docker.compose.project": "case",
                "com.docker.compose.service": name,
                **pairs(service.get("labels")),
            }
            ports = [inside(port) for port in service.get("ports", [])]
            ports += [int(port) for port in service.get("expose", [])]
            found[name] = {"labels": labels, "ports": ports}
    return found


class Stack:
    """A running Traefik with one static configuration."""

    def __init__(self, key, flags, env, static, dynamic):
        self.key = key
        self.docker = Docker()
        self.folder = tempfile.mkdtemp()
        mark = {"rule": "Host(`mark.invalid`)", "service": "mark", "entryPoints": ["traefik"]}
        server = {"loadBalancer": {"servers": [{"url": "http://127.0.0.1:1"}]}}
        mark = {"http": {"routers": {"mark": mark}, "services": {"mark": server}}}
        for i, text in enumerate([*dynamic, json.dumps(mark)]):
            with open(f"{self.folder}/dynamic{i}.yml", "w") as file:
                json.dump(self.dynamic(yaml.safe_load(text)), file)
        fixed = yaml.safe_load(static) if static is not None else {}
        self.reads_files = "file" in (fixed.get("providers") or {}) or any(
            "providers.file" in flag.lower() for flag in flags
        )
        if static is not None:
            flags = [f"--configfile={self.folder}/static.yml"]
            with open(f"{self.folder}/static.yml", "w") as file:
                json.dump(self.static(yaml.safe_load(static)), file)
        elif flags:
            flags = [self.flag(flag) for flag in flags] + [
                f"--providers.docker.endpoint=unix://{self.docker.path}",
                f"--entrypoints.traefik.address={ADDRESS}:{API_PORT}",
                "--api.insecure=true",
                "--providers.providersthrottleduration=1ms",
            ]
        else:
            for key in [key for key in env if key.endswith("_ADDRESS")]:
                env[key] = shifted(env[key])
            env |= {
                "TRAEFIK_PROVIDERS_DOCKER_ENDPOINT": f"unix://{self.docker.path}",
                "TRAEFIK_ENTRYPOINTS_TRAEFIK_ADDRESS": f"{ADDRESS}:{API_PORT}",
                "TRAEFIK_API_INSECURE": "true",
                "TRAEFIK_PROVIDERS_PROVIDERSTHROTTLEDURATION": "1ms",
            }
        self.log = open(f"{self.folder}/log", "w+")
        self.process = subprocess.Popen(
            [TRAEFIK, *flags],
            env={**env, "PATH": os.environ["PATH"], "HOME": self.folder},
            cwd=self.folder,
            stdout=self.log,
            stderr=self.log,
            preexec_fn=lambda: PRCTL and PRCTL(1, signal.SIGKILL),
        )

    def flag(self, flag):
        key, equals, value = flag.partition("=")
        if re.fullmatch(r"--?entrypoints\.[^.]+\.address", key.lower()):
            value = shifted(value)
        if key.lower().endswith(("providers.file.filename", "providers.file.directory")):
            return f"--providers.file.directory={self.folder}"
        return key + equals + value

    def static(self, static):
        for entry in static["entryPoints"].values():
            entry["address"] = shifted(entry["address"])
        providers = static.setdefault("providers", {})
        providers["providersThrottleDuration"] = "1ms"
        if "docker" in providers:
            providers["docker"] = providers["docker"] or {}
            providers["docker"]["endpoint"] = f"unix://{self.docker.path}"
        if "file" in providers:
            providers["file"] = {"directory": f"{self.folder}/dynamic"}
            os.mkdir(f"{self.folder}/dynamic")
            for i in range(8):
                if os.path.exists(f"{self.folder}/dynamic{i}.yml"):
                    os.rename(f"{self.folder}/dynamic{i}.yml", f"{self.folder}/dynamic/{i}.yml")
        static["entryPoints"]["traefik"] = {"address": f"{ADDRESS}:{API_PORT}"}
        static["api"] = {"insecure": True}
        return static

    def dynamic(self, dynamic):
        text = json.dumps(dynamic)
        return json.loads(re.sub(r"rathole:(\d+)", ADDRESS + r":\1", text))

    def load(self, containers, number):
        """Waits until a router that comes with the containers is there."""
        mark = {
            f"traefik.http.routers.mark{number}.rule": f"Host(`mark{number}.invalid`)",
            f"traefik.http.routers.mark{number}.entrypoints": "traefik",
            f"traefik.http.services.mark{number}.loadbalancer.server.port": "1",
            "traefik.enable": "true",
            "zone": "out",
        }
        self.docker.put({**containers, "mark": {"labels": mark, "ports": [1]}})
        end = time.monotonic() + DEADLINE
        while time.monotonic() < end:
            if self.process.poll() is not None:
                return False
            # Each provider is loaded when it is ready.
            if self.reads_files:
                if visit(API_PORT, "x", "/api/http/routers/mark@file")[0] != 200:
                    time.sleep(0.005)
                    continue
            status = visit(API_PORT, "x", f"/api/http/routers/mark{number}@docker")[0]
            if status == 200 or status == 404 and self.has_no_docker():
                time.sleep(0.02)  # the entry points are switched one after another
                return True
            time.sleep(0.005)
        raise TimeoutError(self.tail())

    def has_no_docker(self):
        status, _, body = visit(API_PORT, "x", "/api/overview")
        return status == 200 and b'"Docker"' not in body

    def tail(self):
        self.log.seek(0)
        return self.log.read()[-2000:]

    def stop(self):
        self.process.kill()
        self.process.wait()


def visit(port, name, path, password=False):
    """Status, headers and body of a request in plain HTTP; status 0: none."""
    login = base64.b64encode(b"u:secret").decode()
    extra = f"Authorization: Basic {login}\r\n" if password else ""
    request = f"GET {path} HTTP/1.1\r\nHost: {name}\r\n{extra}Connection: close\r\n\r\n"
    try:
        with socket.create_connection((ADDRESS, port), DEADLINE) as connection:
            connection.settimeout(DEADLINE)
            connection.sendall(request.encode())
            data = b""
            while more := connection.recv(65536):
                data += more
    except OSError:
        return 0, "", b""
    head, _, body = data.partition(b"\r\n\r\n")
    words = head.split(b" ", 2)
    status = int(words[1]) if len(words) > 1 and words[1][:3].isdigit() else 0
    return status, head.decode(errors="replace").lower(), body


def hello(port, name, alpn):
    """The first bytes that come back to a TLS visitor."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if alpn:
        context.set_alpn_protocols([alpn])
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname=name or None)
    try:
        tls.do_handshake()
    except ssl.SSLWantReadError:
        pass
    try:
        with socket.create_connection((ADDRESS, port), DEADLINE) as connection:
            connection.settimeout(DEADLINE)
            connection.sendall(outgoing.read())
            return connection.recv(1024)
    except OSError:
        return b""


def ask(question):
    port = question["entry"] + SHIFT
    if question["tls"]:
        first = hello(port, question["name"], question.get("alpn"))
        found = re.match(rb"home-(\d+)", first)
        return int(found[1]) if found else "refused"
    status, head, body = visit(port, question["name"], question["path"], question["password"])
    if 300 <= status < 400 and "location: https://" in head:
        return "redirect"
    found = re.match(rb"home-(\d+)", body)
    return int(found[1]) if status == 200 and found else f"refused {status}"


def main():
    for port in HOMES:
        home(port)
    stack, number = None, 0
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for line in sys.stdin:
            case = json.loads(line)
            number += 1
            services = merged(case["compose"], case["env"])
            traefik = [
                service for service in services.values()
                if str(service.get("image", "")).split("/")[-1].startswith("traefik")
            ]
            flags, env = [], {}
            for service in traefik:
                command = service.get("command", [])
                words = command.split() if isinstance(command, str) else command
                flags += map(str, words)
                env |= pairs(service.get("environment"))
            key = json.dumps([flags, env, case["static"], case["dynamic"]])
            if stack is None or stack.key != key:
                if stack:
                    stack.stop()
                stack = Stack(key, flags, env, case["static"], case["dynamic"])
            if stack.load(containers_of(services), number):
                answers = list(pool.map(ask, case["questions"]))
            else:
                answers = ["refused: Traefik does not start"] * len(case["questions"])
            print(json.dumps(answers), flush=True)
    if stack:
        stack.stop()


def die_with_parent():
    """Linux's PR_SET_PDEATHSIG, where there is one."""
    import ctypes
    return ctypes.CDLL(None).prctl


HOMES = (5080, 5443, 5022, 5090, 5091)
PRCTL = die_with_parent()

if __name__ == "__main__":
    main()
