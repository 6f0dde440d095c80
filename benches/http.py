#!/usr/bin/env python3
"""Requests over keep-alive through the HTTP entry, beside HAProxy alone and rathole + HAProxy.

    benches/http.py            needs wrk, nginx and HAProxy (Debian), and rathole 0.5.0

RATHOLE, HAPROXY and UNDERPASS name other files; ROUNDS (5), SECONDS (3), VISITORS (16). nginx
plays both homes. Each stack is measured once in each round, in turn; the table has medians. CPU is
that of the processes on the VPS, from /proc, from before the first request until they are quiet.
Everything is on loopback and is stopped by its id.
"""

import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ROUNDS, SECONDS, VISITORS = (int(os.environ.get(name, default)) for name, default in
                             (("ROUNDS", 5), ("SECONDS", 3), ("VISITORS", 16)))
TICK = os.sysconf("SC_CLK_TCK")
HOMES = ("pi", "local")


def program(name, default):
    """The file of a program, or None."""
    named = os.environ.get(name)
    return named or shutil.which(default) or shutil.which(default, path="/usr/sbin:/usr/local/bin")


PORTS = set()


def free_port():
    """One that was not given before."""
    while True:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            port = listener.getsockname()[1]
        if port not in PORTS:
            PORTS.add(port)
            return port


def wait_for(port, end=30):
    until = time.monotonic() + end
    while time.monotonic() < until:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    sys.exit(f"nobody listens on port {port}")


class Stack:
    """Processes of one kind of VPS, and of the homes behind it."""

    def __init__(self, name, folder):
        self.name, self.folder = name, folder / name.split()[0]
        self.folder.mkdir()
        self.processes, self.vps = [], []
        self.rates, self.costs = [], []

    def start(self, command, on_vps=False):
        log = open(self.folder / f"{len(self.processes)}.log", "w")
        child = subprocess.Popen([str(word) for word in command], stdout=log, stderr=log)
        self.processes.append(child)
        if on_vps:
            self.vps.append(child)

    def write(self, file, text):
        path = self.folder / file
        path.write_text(text)
        return path

    def cpu(self):
        ticks = 0
        for child in self.vps:
            fields = Path(f"/proc/{child.pid}/stat").read_text().rsplit(")", 1)[1].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / TICK

    def stop(self):
        for child in self.processes:
            child.terminate()
        for child in self.processes:
            try:
                child.wait(10)
            except subprocess.TimeoutExpired:
                child.kill()
        self.processes, self.vps = [], []


def nginx(stack, ports):
    servers = "".join(
        f"server {{ listen 127.0.0.1:{port}; location / {{ return 200 '{name}\\n'; }} }}\n"
        for name, port in zip(HOMES, ports))
    conf = stack.write("nginx.conf", f"""
daemon off; worker_processes 1; pid {stack.folder}/nginx.pid; error_log stderr;
events {{ worker_connections 1024; }}
http {{ access_log off; keepalive_requests 1000000000; keepalive_timeout 300s;
{servers} }}
""")
    stack.start([program("NGINX", "nginx"), "-c", conf, "-e", "stderr"])
    for port in ports:
        wait_for(port)


def haproxy(stack, front, ports):
    choice = "".join(f"  use_backend {name} if {{ hdr(host) -i {name}.test }}\n" for name in HOMES)
    backends = "".join(f"backend {name}\n  mode http\n  server s 127.0.0.1:{port}\n"
                       for name, port in zip(HOMES, ports))
    conf = stack.write("haproxy.cfg", f"""
global
  nbthread 1
defaults
  mode http
  timeout connect 5s
  timeout client 300s
  timeout server 300s
  http-reuse safe
frontend f
  bind 127.0.0.1:{front}
  option forwardfor
{choice}
{backends}
""")
    stack.start([program("HAPROXY", "haproxy"), "-db", "-f", conf], on_vps=True)
    wait_for(front)


def keys(underpass):
    lines = subprocess.run([underpass, "--genkey"], capture_output=True, text=True, check=True)
    lines = lines.stdout.splitlines()
    return lines[1], lines[4]


def start_alone(stack, front):
    homes = [free_port() for _ in HOMES]
    nginx(stack, homes)
    haproxy(stack, front, homes)


def start_rathole(stack, front, private, public):
    homes = [free_port() for _ in HOMES]
    doors = [free_port() for _ in HOMES]
    tunnel = free_port()
    nginx(stack, homes)
    services = "".join(f'[server.services.{name}]\ntoken = "t"\nbind_addr = "127.0.0.1:{port}"\n'
                       for name, port in zip(HOMES, doors))
    server = stack.write("server.toml", f"""[server]
bind_addr = "127.0.0.1:{tunnel}"
[server.transport]
type = "noise"
[server.transport.noise]
local_private_key = "{private}"
{services}""")
    services = "".join(f'[client.services.{name}]\ntoken = "t"\nlocal_addr = "127.0.0.1:{port}"\n'
                       for name, port in zip(HOMES, homes))
    client = stack.write("client.toml", f"""[client]
remote_addr = "127.0.0.1:{tunnel}"
[client.transport]
type = "noise"
[client.transport.noise]
remote_public_key = "{public}"
{services}""")
    stack.start([program("RATHOLE", "rathole"), "--server", server], on_vps=True)
    wait_for(tunnel)
    stack.start([program("RATHOLE", "rathole"), "--client", client])
    for door in doors:
        wait_for(door)
    haproxy(stack, front, doors)


def start_underpass(stack, front, underpass, private, public):
    homes = [free_port() for _ in HOMES]
    tunnel = free_port()
    nginx(stack, homes)
    services = "".join(f'[server.services.{name}]\ntype = "http"\ntoken = "t"\n'
                       f'hosts = ["{name}.test"]\n' for name in HOMES)
    server = stack.write("server.toml", f"""[server]
bind_addr = "127.0.0.1:{tunnel}"
http_addr = "127.0.0.1:{front}"
[server.transport]
type = "noise"
[server.transport.noise]
local_private_key = "{private}"
{services}""")
    services = "".join(f'[client.services.{name}]\ntype = "http"\ntoken = "t"\n'
                       f'local_addr = "127.0.0.1:{port}"\n' for name, port in zip(HOMES, homes))
    client = stack.write("client.toml", f"""[client]
remote_addr = "127.0.0.1:{tunnel}"
[client.transport]
type = "noise"
[client.transport.noise]
remote_public_key = "{public}"
{services}""")
    stack.start([underpass, "--server", server], on_vps=True)
    wait_for(front)
    stack.start([underpass, "--client", client])


def ask(front, name):
    with socket.create_connection(("127.0.0.1", front), 5) as visitor:
        request = f"GET / HTTP/1.1\r\nHost: {name}.test\r\nConnection: close\r\n\r\n"
        visitor.sendall(request.encode())
        answer = b""
        while piece := visitor.recv(4096):
            answer += piece
    return answer.decode()


def measure(stack, front):
    until = time.monotonic() + 10
    while not all(f"\r\n\r\n{name}\n" in ask(front, name) for name in HOMES):
        if time.monotonic() > until:
            sys.exit(f"{stack.name}: the homes do not answer")
        time.sleep(0.05)
    before = stack.cpu()
    wrk = [program("WRK", "wrk"), "-t1", f"-c{VISITORS}", f"-d{SECONDS}s", "-H", "Host: pi.test",
           f"http://127.0.0.1:{front}/"]
    text = subprocess.run(wrk, capture_output=True, text=True, check=True).stdout
    time.sleep(0.2)
    used = stack.cpu() - before
    requests = int(re.search(r"(\d+) requests in", text).group(1))
    if "Non-2xx" in text or "Socket errors" in text:
        sys.exit(f"{stack.name}: {text}")
    stack.rates.append(requests / SECONDS)
    stack.costs.append(used / requests * 1e6)


def main():
    underpass = os.environ.get("UNDERPASS") or ROOT / "target/release/underpass"
    if not Path(underpass).exists():
        sys.exit("cargo build --release --no-default-features first, or set UNDERPASS")
    private, public = keys(underpass)
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        folder.chmod(0o755)
        stacks = [
            (Stack("HAProxy alone", folder), lambda s, f: start_alone(s, f)),
            (Stack("rathole + HAProxy", folder),
             lambda s, f: start_rathole(s, f, private, public)),
            (Stack("underpass", folder),
             lambda s, f: start_underpass(s, f, underpass, private, public)),
        ]
        if not program("HAPROXY", "haproxy"):
            print("no HAProxy: its columns stay empty")
            stacks = stacks[2:]
        elif not program("RATHOLE", "rathole"):
            print("no rathole: its column stays empty")
            del stacks[1]
        for turn in range(ROUNDS):
            for stack, start in stacks if turn % 2 == 0 else reversed(stacks):
                try:
                    front = free_port()
                    start(stack, front)
                    measure(stack, front)
                    print(f"round {turn + 1}: {stack.name}", file=sys.stderr)
                finally:
                    stack.stop()
        names = [stack.name for stack, _ in stacks]
        print("| | " + " | ".join(names) + " |\n| --- " * 1 + "| --- " * len(names) + "|")
        for label, what in (("requests a second", "rates"), ("CPU us per request, VPS", "costs")):
            cells = [f"{statistics.median(getattr(stack, what)):.0f}" for stack, _ in stacks]
            print(f"| {label}, {VISITORS} visitors | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
