"""What the page has to say of a snapshot, reckoned anew. `None`: another check looks at it."""

NOTHING = "–"


def grouped(number):
    return f"{float(number) if number > 2**53 else number:,.0f}"


def of_thousands(number, units):
    value, unit = float(number), 0
    while value >= 999.5 and unit < len(units) - 1:
        value, unit = value / 1000, unit + 1
    return f"{value:.1f}{units[unit]}" if unit and value < 9.95 else f"{value:.0f}{units[unit]}"


def size(number):
    return of_thousands(number, [" B", " kB", " MB", " GB", " TB", " PB", " EB"])


def short(number):
    if number < 10**7:
        return grouped(number)
    return of_thousands(number, ["", " k", " M", " G", " T", " P", " E"])


def span(seconds):
    if seconds < 60:
        return f"{int(seconds)} s"
    if seconds < 3600:
        return f"{int(seconds // 60)} min"
    if seconds < 2 * 86400:
        return f"{int(seconds // 3600)} h"
    if seconds < 730 * 86400:
        return f"{int(seconds // 86400)} days"
    return f"{int(seconds // (365.25 * 86400))} years"


def ago(status, time):
    return span(status["time"] - time) + " ago"


def brief(seconds):
    ms = seconds * 1000
    if ms >= 59_950:
        return span(seconds)
    if ms >= 999.5:
        return f"{seconds:.1f} s"
    if 0 < ms < 0.05:
        return "under 0.1 ms"
    return f"{ms:.1f} ms" if ms < 9.95 else f"{ms:.0f} ms"


def trip(line):
    seconds = line["round_trip_seconds"]
    return "not measured" if seconds is None else brief(seconds)


def quality(line):
    least = line["least_round_trip_seconds"]
    return [trip(line) + ("" if least is None else f"least {brief(least)}"),
            f"{short(line['used_links'])} used{short(line['spare_links'])} spare"]


def few(words):
    return ", ".join(words[:2]) + f" and {len(words) - 2} more" if len(words) > 3 \
        else ", ".join(words)


def flows(service, received, sent):
    """Rates are not known from one snapshot."""
    waiting = service.get("waiting")
    return [short(service["visitors"]) + (f"{short(waiting)} waiting" if waiting else ""), None,
            f"{NOTHING}{size(sent)} so far", f"{NOTHING}{size(received)} so far"]


def server_tables(status):
    homes = {home["address"]: home for home in status["homes"]}

    def service(one):
        received = sum(entry["received_bytes"] for entry in one["traffic"])
        sent = sum(entry["sent_bytes"] for entry in one["traffic"])
        lasting = f"for {span(status['time'] - one['since'])}"
        home = "no home is here" if one["home"] is None \
            else f"{one['home']}round trip {trip(homes[one['home']])}"
        return [f"{one['name']}{one['type']}: {few(one['names'] + one['ports'])}",
                ("Online" if one["online"] else "Offline") + lasting, home,
                *flows(one, received, sent)]

    def home(one):
        state = "Leaving" if one["draining"] else "Connected"
        times = "time" if one["reconnects"] == 1 else "times"
        return [f"{few(one['services'])}{one['address']}, {one['program']}",
                f"{state}for {span(status['time'] - one['since'])}", *quality(one),
                f"{short(one['reconnects'])} {times}"]

    def failure(one):
        return [one["visitor"] + ago(status, one["time"]),
                (one["name"] or "no name") + f"over {one['entry']}", one["service"] or "none",
                one["why"] + one["end"]]

    def listener(one):
        owner = f", {one['service']}" if one["service"] else ""
        return [f"{one['address']}{one['entry']}{owner}", short(one["accepted"]),
                short(one["refused"])]

    def stray(one):
        return [one["entry"], None,
                f"{size(one['received_bytes'])}{size(one['sent_bytes'])} back"]

    services = sorted(status["services"], key=lambda one: one["online"])
    return {
        "services": [service(one) for one in services],
        "homes": [home(one) for one in status["homes"]],
        "failures": [failure(one) for one in status["failures"]],
        "listeners": [listener(one) for one in status["listeners"]],
        "strays": [stray(one) for one in status["strays"]],
    }


def client_tables(status):
    states = {"connected": "Connected", "waiting": "Waiting to try again"}
    words = {"registered": "Registered", "pending": "Asked, no answer yet", "refused": "Refused"}
    answers = {True: "Answers", False: "Does not answer", None: "Nobody has asked yet"}

    def server(one):
        return [one["address"] + (one["error"] or ""),
                f"{states[one['state']]}for {span(status['time'] - one['since'])}", *quality(one),
                f"{short(one['sessions'])} so far"]

    def service(one):
        several = len(one["registrations"]) > 1
        registrations = "".join(
            words[each["state"]] + (f"with {each['server']}" if several else "")
            + (each["reason"] or "") for each in one["registrations"])
        asked = "" if one["asked"] is None else ago(status, one["asked"])
        return [f"{one['name']}{one['type']}: {one['local_addr']}", registrations,
                answers[one["answers"]] + asked + (one["error"] or ""),
                *flows(one, one["received_bytes"], one["sent_bytes"])]

    return {"servers": [server(one) for one in status["servers"]],
            "services": [service(one) for one in status["services"]]}


def lists(status):
    process, file = status["process"], status["configuration"]
    result = {
        "process": {
            "Memory": [size(process["resident_bytes"]), ""],
            "Longest turn in the last minute": [brief(process["longest_turn_seconds"]), ""],
            "Processor time": [f"{short(round(process['cpu_seconds']))} s", ""],
        },
        "configuration": {
            "File": [file["file"], ""],
            "Is what runs": ["no, see above" if file["error"] else "yes", ""],
            "Read": [ago(status, file["loaded"]), ""],
            "Reloads": [short(file["reloads"]), f"and {short(file['failed_reloads'])} failed"],
        },
    }
    for term, used, limit, show in (
            ("Descriptors", "descriptors", "descriptor_limit", short),
            ("Bytes held for slow readers", "held_bytes", "held_limit_bytes", size)):
        nearly = "nearly all" if process[used] > 0.9 * process[limit] else ""
        result["process"][term] = [f"{show(process[used])} of {show(process[limit])}", nearly]
    if status["role"] == "server":
        tunnel, services = status["tunnel"], status["services"]
        result["junk"] = {
            "Have proved nothing yet": [short(tunnel["strangers"]), ""],
            "Failed handshakes": [short(tunnel["failed_handshakes"]),
                                  "another key, or no client of ours"],
            "Proved nothing in time": [short(tunnel["timeouts"]), ""],
            "Wrong tokens": [short(tunnel["wrong_tokens"]), ""],
            "Unknown services": [short(tunnel["unknown_services"]),
                                 "the file has none of the name"],
        }
        waiting = sum(one["waiting"] for one in services)
        entries = [entry for one in services for entry in one["traffic"]] + status["strays"]
        result["figures"] = {
            "Services online":
                [f"{sum(one['online'] for one in services)} of {len(services)}", ""],
            "Visitors now": [short(sum(one["visitors"] for one in services)),
                             f"{short(waiting)} wait for a link" if waiting else ""],
            "To visitors": [NOTHING, size(sum(one["sent_bytes"] for one in entries)) + " so far"],
            "From visitors":
                [NOTHING, size(sum(one["received_bytes"] for one in entries)) + " so far"],
        }
    return result
