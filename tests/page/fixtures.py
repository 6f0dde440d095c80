"""Snapshots and histories as src/status.rs has them, for each case that the page has to stand.

    fixtures.py FOLDER    writes all of them there, for tests/page.rs to read as what they are
"""

import copy
import json
import math
import pathlib
import random
import sys

TIME = 1_790_000_000.0  # of every snapshot: 2026-09-21 14:13:20 UTC
DAY = 86400.0


def program(**other):
    return {
        "version": "0.1.0",
        "time": TIME,
        "started": TIME - 12 * DAY,
        "draining": False,
        "configuration": {
            "file": "/etc/underpass/server.toml",
            "loaded": TIME - 3 * 3600,
            "reloads": 4,
            "failed_reloads": 1,
            "error": None,
        },
        "process": {
            "descriptors": 143,
            "descriptor_limit": 65536,
            "resident_bytes": 9_437_184,
            "held_bytes": 48_200,
            "held_limit_bytes": 268_435_456,
            "cpu_seconds": 412.75,
            "longest_turn_seconds": 0.0031,
            "dropped_log_lines": 0,
        },
    } | other


def counts(**kinds):
    return [{"kind": kind, "count": count} for kind, count in kinds.items()]


def histogram(all_, middle):
    """About `all_` durations around the bucket `middle`."""
    shares = [math.exp(-((bucket - middle) ** 2) / 3) for bucket in range(12)]
    numbers = [round(all_ * share / sum(shares)) for share in shares]
    return {"sum": round(0.04 * all_, 6), "counts": numbers}


def traffic(entry, visits, received, sent, **ends):
    http = entry == "http"
    return {
        "entry": entry,
        "ends": counts(done=visits, **ends),
        "statuses": counts(**{"2xx": visits - 12, "3xx": 9, "4xx": 3}) if http else [],
        "received_bytes": received,
        "sent_bytes": sent,
        "link_wait": histogram(visits, 1),
        "first_byte": histogram(visits, 4),
    }


def service(name, kind="web", home="198.51.100.7:41822", online=True, **other):
    site = f"{name}.example.com"
    return {
        "name": name,
        "type": kind,
        "names": [site, f"**.{site}"] if kind in ("web", "http", "https") else [],
        "ports": [],
        "online": online,
        "home": home if online else None,
        "balance": None,
        "shares": [],
        "since": TIME - 5 * DAY,
        "visitors": 0,
        "waiting": 0,
        "traffic": [],
    } | other


def home(address, services, trip=0.0234, **other):
    return {
        "address": address,
        "program": "underpass 0.1.0",
        "since": TIME - 5 * DAY,
        "round_trip_seconds": trip,
        "least_round_trip_seconds": trip and round(trip * 0.8, 6),
        "spare_links": 4,
        "used_links": 2,
        "reconnects": 1,
        "draining": False,
        "services": services,
    } | other


def listener(address, entry, accepted, refused=0, service=None):
    return {
        "address": address,
        "entry": entry,
        "service": service,
        "accepted": accepted,
        "refused": refused,
    }


def failure(before, name, end, why, service=None, entry="https", visitor="203.0.113.54"):
    return {
        "time": TIME - before,
        "entry": entry,
        "visitor": visitor,
        "name": name,
        "service": service,
        "end": end,
        "why": why,
    }


def server(services, homes, **other):
    return {"role": "server"} | program() | {
        "services": services,
        "homes": homes,
        "listeners": [
            listener("0.0.0.0:2333", "tunnel", 219, 3),
            listener("0.0.0.0:80", "http", 48_211, 12),
            listener("0.0.0.0:443", "https", 391_422, 87),
            listener("0.0.0.0:5022", "tcp", 311, 20, "pi-ssh"),
            listener("127.0.0.1:9333", "admin", 64),
        ],
        "strays": [
            traffic("http", 30, 91_003, 44_120, no_name=412, unknown_name=207, malformed=31),
            traffic("https", 4, 61_977, 12_404, unknown_name=1903, wrong_protocol=88, timeout=61),
        ],
        "tunnel": {
            "strangers": 1,
            "failed_handshakes": 318,
            "timeouts": 41,
            "wrong_tokens": 2,
            "unknown_services": 5,
        },
        "failures": FAILURES,
    } | other


FAILURES = [
    failure(42, "shop.example.com", "unknown_name", "no service has this name"),
    failure(190, "www.pi.example.com", "home_refused", "nothing at home took the connection",
            "pi", "http"),
    failure(1501, "", "no_name", "the visitor named nobody, and no service takes such visitors",
            visitor="2001:db8:7:1::beef"),
    failure(7200, "local.example.com", "offline", "the service's home was not here", "local"),
]


def two_homes():
    pi, local = "198.51.100.7:41822", "203.0.113.90:50110"
    return server(
        [
            service("pi", visitors=3, home=pi, traffic=[
                traffic("http", 3122, 9_211_034, 48_120_555, home_refused=2, offline=14),
                traffic("https", 88_410, 1_204_551_020, 41_822_093_112, visitor_reset=310),
            ]),
            service("pi-ssh", "tcp", home=pi, ports=["0.0.0.0:5022"], visitors=1, traffic=[
                traffic("tcp", 291, 4_100_220, 19_733_004, denied=20),
            ]),
            service("local", home=local, since=TIME - 7100, visitors=12, waiting=1, traffic=[
                traffic("https", 31_006, 310_224_871, 9_120_441_006, offline=44),
            ]),
        ],
        [
            home(pi, ["pi", "pi-ssh"]),
            home(local, ["local"], 0.0081, since=TIME - 7100, reconnects=6, used_links=13),
        ],
    )


def one_offline():
    case = two_homes()
    away = case["services"][2]
    away.update(online=False, home=None, visitors=0, waiting=0, since=TIME - 260)
    case["homes"].pop()
    case["failures"] = [
        failure(12, "local.example.com", "offline", "the service's home was not here", "local"),
    ] + case["failures"]
    return case


def wrong_file():
    case = two_homes()
    case["configuration"]["error"] = (
        "/etc/underpass/server.toml:31: server.services.blog.hosts: "
        '"blog..example.com" is no pattern: a label is empty')
    case["configuration"]["failed_reloads"] = 2
    return case


WORDS = ("attic barn cabin cellar cottage den farm flat garage garden hut lab lodge loft mill "
         "office porch shed studio villa").split()


def sixty_homes():
    chance = random.Random(60)
    services, homes = [], []
    for number in range(60):
        name = f"{WORDS[number % 20]}-{number:02}"
        address = f"198.51.100.{number + 10}:{41000 + 37 * number}"
        size = chance.randrange(10**5, 10**10)
        online = number not in (17, 41, 42)
        services.append(service(
            name, home=address, online=online, since=TIME - chance.randrange(100, 10**6),
            visitors=chance.randrange(9) if online else 0,
            traffic=[traffic("https", size // 10**5 + 20, size // 30, size)]))
        if online:
            homes.append(home(address, [name], chance.randrange(4000, 180_000) / 10**6,
                              since=TIME - chance.randrange(100, 10**6)))
    homes[5].update(program="rathole", round_trip_seconds=None, least_round_trip_seconds=None)
    homes[8].update(draining=True)
    return server(services, homes, failures=[
        failure(9 + 31 * number, f"{WORDS[number % 20]}.example.org", "unknown_name",
                "no service has this name") for number in range(36)])


def nothing_yet():
    case = server([], [], strays=[], failures=[])
    case["started"] = case["configuration"]["loaded"] = TIME - 8
    case["configuration"].update(reloads=0, failed_reloads=0)
    case["tunnel"] = dict.fromkeys(case["tunnel"], 0)
    case["listeners"] = [listener("0.0.0.0:2333", "tunnel", 0)]
    return case


def upstream(address="vps.example.com:2333", state="connected", **other):
    return {
        "address": address,
        "state": state,
        "since": TIME - 3 * DAY,
        "error": None,
        "round_trip_seconds": 0.0234,
        "least_round_trip_seconds": 0.0191,
        "spare_links": 4,
        "used_links": 3,
        "sessions": 2,
        "resolved": None,
    } | other


def at_home(name, kind, address, state="registered", reason=None, **other):
    return {
        "name": name,
        "type": kind,
        "local_addr": address,
        "registrations": [
            {"server": "vps.example.com:2333", "resolved": None, "state": state, "reason": reason},
        ],
        "visitors": 2,
        "received_bytes": 310_224_871,
        "sent_bytes": 9_120_441_006,
        "answers": True,
        "asked": TIME - 14,
        "error": None,
        "dials": counts(connected=31_006, refused=3),
    } | other


def client(servers, services):
    case = {"role": "client"} | program() | {"servers": servers, "services": services}
    case["configuration"]["file"] = "/etc/underpass/client.toml"
    return case


def connected():
    return client([upstream()], [
        at_home("pi", "web", "127.0.0.1:80, 127.0.0.1:443"),
        at_home("pi-ssh", "tcp", "127.0.0.1:22", visitors=0, answers=None, asked=None, dials=[],
                received_bytes=0, sent_bytes=0),
    ])


def waiting():
    case = client(
        [upstream(state="waiting", since=TIME - 95, round_trip_seconds=None,
                  least_round_trip_seconds=None, spare_links=0, used_links=0,
                  error="connection refused by 192.0.2.10:2333")],
        [at_home("pi", "web", "127.0.0.1:80", "pending", visitors=0)])
    return case


def refused():
    servers = [upstream(), upstream("backup.example.net:2333", round_trip_seconds=0.081,
                                    least_round_trip_seconds=0.0799)]
    services = [
        at_home("pi", "web", "127.0.0.1:80, 127.0.0.1:443"),
        at_home("grafana", "http", "192.168.1.20:3000", answers=False, visitors=0,
                error="connection refused by 192.168.1.20:3000",
                dials=counts(connected=210, refused=17)),
        at_home("nas", "tcp", "nas.lan:445", "refused", "the token is not the server's",
                answers=None, asked=None, visitors=0, dials=[]),
    ]
    for one in services:
        one["registrations"].append(
            {"server": "backup.example.net:2333", "resolved": None, "state": "registered",
             "reason": None})
    services[2]["registrations"][1].update(state="refused", reason="it has no such service")
    return client(servers, services)


def client_nothing():
    return client([], [])


SCRIPT = "<script>alert(1)</script>"
IMAGE = '"><img src=x onerror="alert(2)">'
RIGHT = "\u202egnp.exe\u202c\u200f\u2067abc"
LONG = "verylong" * 250  # 2,000 characters
EVIL = [SCRIPT, IMAGE, RIGHT, LONG, "javascript:alert(3)", "__proto__", "constructor", "{{7*7}}",
        "'\"`&lt;&amp;", "\u0000\u0007\ufffd", " ", "א ב ג"]


def hostile():
    services = [service(text, online=number % 2 == 0, home=text, names=EVIL, ports=[text],
                        type=text, traffic=[traffic(text, 40, 10, 20, **{text: 7})])
                for number, text in enumerate(EVIL)]
    homes = [home(text, [text, *EVIL], program=text) for text in EVIL]
    case = server(services, homes)
    case["failures"] = [failure(number, text, text, text, text, text, text)
                        for number, text in enumerate(EVIL)]
    case["listeners"] = [listener(text, text, 1, 2, text) for text in EVIL]
    case["strays"] = [traffic(text, 40, 1, 2, **{text: 9}) for text in EVIL]
    case["version"] = IMAGE
    case["configuration"].update(file=SCRIPT, error="\n".join(EVIL))
    return case


def hostile_client():
    case = client(
        [upstream(text, text, error=text) for text in EVIL],
        [at_home(text, text, text, text, text, error=text, answers=False,
                 dials=counts(**{text: 4})) for text in EVIL])
    case["configuration"].update(file=IMAGE, error=SCRIPT)
    return case


MOST = 2**64 - 1


def huge():
    """The largest numbers of each kind, after ten years."""
    def most(value):
        if isinstance(value, dict):
            return {name: value[name] if name == "time" else most(value[name]) for name in value}
        if isinstance(value, list):
            return [most(item) for item in value]
        return MOST if isinstance(value, int) and not isinstance(value, bool) else value
    case = most(two_homes())
    case["started"] = TIME - 3653 * DAY
    for one in case["services"] + case["homes"]:
        one["since"] = case["started"]
    for one in case["homes"]:
        one.update(round_trip_seconds=1234.5, least_round_trip_seconds=0.00000012)
    case["process"].update(cpu_seconds=3.1e8, longest_turn_seconds=86400.25)
    return case


def series(name, samples, seed, size):
    chance = random.Random(seed)
    sent, received, visitors = [], [], []
    level = size
    for step in range(samples):
        level += (size * (1 + math.sin(step * 5 / samples + seed)) - level) * 0.04
        level *= chance.uniform(0.9, 1.11)
        burst = chance.random() < 0.02
        sent.append(int(level * (4 if burst else chance.uniform(0.6, 1.2))))
        received.append(int(sent[-1] * chance.uniform(0.08, 0.2)))
        visitors.append(int(3 + 9 * level / size / 2 * chance.uniform(0.7, 1.2)))
    return {"name": name, "received": received, "sent": sent, "visitors": visitors}


def history(status, step):
    """As much as is kept, for the services that have had visitors; and all of them."""
    samples = {5: 720, 60: 1440}[step]
    busy = [one["name"] for one in status["services"] if one.get("traffic") or one.get("visitors")]
    each = [series(name, samples, number + step, step * 10 ** (3 + number % 4) * 3)
            for number, name in enumerate(busy)]
    # A name may be there twice only where it is hostile; the numbers do not matter then.
    if not each:
        return {"step": step, "time": status["time"], "services": []}
    total = {"name": ""} | {way: [sum(column) for column in zip(*(one[way] for one in each))]
                            for way in ("received", "sent", "visitors")}
    return {"step": step, "time": status["time"], "services": [*each, total]}


CASES = {case.__name__: case() for case in (
    two_homes, one_offline, wrong_file, sixty_homes, nothing_yet, connected, waiting, refused,
    client_nothing, hostile, hostile_client, huge)}


def later(status, seconds, received=0, sent=0):
    """The same after a while, in which the first service has had so many bytes."""
    status = copy.deepcopy(status)
    status["time"] += seconds
    for one in status["services"][:1]:
        counted = one["traffic"][-1] if "traffic" in one else one
        counted["received_bytes"] += received
        counted["sent_bytes"] += sent
    return status


def main(folder):
    for name, status in CASES.items():
        files = {f"status-{name}": status} | {
            f"history-{name}-{step}": history(status, step) for step in (5, 60)}
        for file, value in files.items():
            pathlib.Path(folder, f"{file}.json").write_text(json.dumps(value), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
