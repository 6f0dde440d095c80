"""Pictures of the page in every case, to be looked at.

    screenshots.py FOLDER [CASE...]
"""

import base64
import pathlib
import sys
import time

import fixtures
import canned
from chromium import Chromium

LOOKS = {"desktop": (1280, False), "desktop-dark": (1280, True), "phone": (360, False),
         "phone-dark": (360, True)}


def main(folder, *names):
    site, browser = canned.Site(), Chromium()
    tab = browser.tab()
    try:
        for name in names or fixtures.CASES:
            status = fixtures.CASES[name]
            histories = {"hour": fixtures.history(status, 5), "day": fixtures.history(status, 60)}
            site.show(fixtures.later(status, 2, 214_000, 2_621_440), histories, first=status)
            for look, (width, dark) in LOOKS.items():
                tab.look(width, dark)
                tab.go(site.url)
                tab.wait("document.getElementById('all')?.hidden === false && "
                         "!!document.querySelector('#canvas svg, #no-traffic:not([hidden])')")
                time.sleep(0.3)  # for the second snapshot
                picture = base64.b64decode(tab.screenshot())
                pathlib.Path(folder, f"{name}-{look}.png").write_bytes(picture)
            print(name, tab.complaints())
    finally:
        browser.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
