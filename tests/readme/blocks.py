"""The commands of README, by section and by the machine that they are for."""

import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


def blocks(title):
    """Of the section with this title: (place, script), as they come. A place is the word behind
    `sh`: here, vps, or home, which stands for every home and names `pi`."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    section = re.search(rf"(?ms)^### [0-9]\. {re.escape(title)}\n(.*?)(?=^##)", text)
    if section is None:
        raise SystemExit(f"README has no section {title}")
    found = re.findall(r"(?ms)^```sh (\w+)\n(.*?)^```$", section[1])
    if len(found) < 3:
        raise SystemExit(f"README, {title}: {len(found)} blocks of commands")
    return found


def pages():
    """The same of all pages in docs/, which stand for themselves."""
    for page in sorted((ROOT / "docs").glob("*.md")):
        text = page.read_text(encoding="utf-8")
        for place, script in re.findall(r"(?ms)^```sh (\w+)\n(.*?)^```$", text):
            yield page.name, place, script


def without_builds(script):
    """What a build leaves is there already: builds are not counted."""
    lines = [line for line in script.splitlines() if not re.match(r"cargo build|\.ci/", line)]
    return "\n".join(lines) + "\n"


def scp(machines):
    """An `scp` between machines whose roots are folders: NAME/root below `machines`."""
    return SCP.replace("MACHINES", repr(str(machines)))


SCP = r'''#!/usr/bin/python3
import pathlib, re, shutil, sys

def place(word):
    remote = re.fullmatch(r"root@(vps|pi|local)\.(?:example\.com|lan):(.*)", word)
    if remote is None:
        return pathlib.Path(word)
    root = pathlib.Path(MACHINES) / remote[1] / "root"
    return root / ("root" if not remote[2].startswith("/") else "") / remote[2].lstrip("/")

*sources, target = [word for word in sys.argv[1:] if word != "-r"]
for source in map(place, sources):
    to = place(target)
    if source.is_dir():
        shutil.copytree(source, to)
    else:
        shutil.copy(source, to / source.name if to.is_dir() else to)
'''
