"""Visits the HTTP entry at ADDRESS PORT with requests, by the homes' own names."""

import hashlib
import sys

import requests
import urllib3

ENTRY = (sys.argv[1], int(sys.argv[2]))
CONNECT = urllib3.util.connection.create_connection
urllib3.util.connection.create_connection = lambda _, *rest, **more: CONNECT(ENTRY, *rest, **more)


def check(got, wanted):
    if got != wanted:
        sys.exit(f"got {got!r}, wanted {wanted!r}")


session = requests.Session()
session.trust_env = False
for name in ["pi", "local", "pi", "local"] * 5:
    answer = session.get(f"http://x.{name}.example.com/whoami", timeout=30)
    check(answer.status_code, 200)
    check(answer.text, f"{name} x.{name}.example.com 127.0.0.1\n")

content = bytes(range(256)) * 4000
wanted = f"{len(content)} {hashlib.sha256(content).hexdigest()}\n"
up = "http://up.example.com/up"
check(session.post(up, data=content, timeout=30).text, wanted)
check(session.put(up, data=content, timeout=30).text, wanted)
pieces = (content[at:at + 777] for at in range(0, len(content), 777))
check(session.post(up, data=pieces, timeout=30).text, wanted)
check(session.post(up, files={"file": content}, timeout=30).status_code, 200)

answer = session.head("http://pi.example.com/files/page", timeout=30)
check((answer.status_code, answer.headers["Content-Length"]), (200, "200000"))
with session.get("http://pi.example.com/files/page", stream=True, timeout=30) as answer:
    check(sum(len(piece) for piece in answer.iter_content(1000)), 200000)
tag = answer.headers["ETag"]
answer = session.get(
    "http://pi.example.com/files/page", headers={"If-None-Match": tag}, timeout=30
)
check((answer.status_code, answer.content), (304, b""))
answer = session.get(
    "http://pi.example.com/files/page", headers={"Range": "bytes=5-9"}, timeout=30
)
check((answer.status_code, len(answer.content)), (206, 5))
check(session.get("http://pi.example.com/nothing", timeout=30).status_code, 404)
answer = session.get("http://away.example.com/", timeout=30)
check((answer.status_code, "Retry-After" in answer.headers), (503, True))
check(session.get("http://nobody.example.com/", timeout=30).status_code, 404)
print("all is well")
