"""Pictures of the page, to be looked at.

    screenshots.py FOLDER [CASE...]     every case, or these, in four looks
    screenshots.py --readme             the two of docs/
"""

import pathlib
import sys
import time

import canned
import fixtures
from chromium import Chromium

LOOKS = {"readme": (1080, False), "desktop": (1280, False), "desktop-dark": (1280, True),
         "phone": (360, False), "phone-dark": (360, True)}
DOCS = pathlib.Path(__file__).parents[2] / "docs"


def picture(site, tab, name, look, **how):
    status = fixtures.CASES[name]
    histories = {"hour": fixtures.history(status, 5), "day": fixtures.history(status, 60)}
    site.show(fixtures.later(status, 2, 214_000, 2_621_440), histories, first=status)
    tab.look(*LOOKS[look])
    tab.go("about:blank")
    tab.go(site.url)
    tab.wait("document.getElementById('all')?.hidden === false && "
             "document.querySelector('#canvas svg, #no-traffic:not([hidden])')")
    time.sleep(0.3)  # for the second snapshot, and what follows from it
    found = tab.complaints()
    if found:
        print(name, found)
    return tab.screenshot(**how)


def main(folder, *names):
    site, browser = canned.Site(), Chromium()
    tab = browser.tab()
    try:
        if folder == "--readme":
            DOCS.joinpath("page-light.png").write_bytes(
                picture(site, tab, "two_homes", "readme", height=1165))
            DOCS.joinpath("page-phone-dark.png").write_bytes(
                picture(site, tab, "one_offline", "phone-dark", height=1010, scale=2))
            return
        for name in names or fixtures.CASES:
            for look in list(LOOKS)[1:]:
                pathlib.Path(folder, f"{name}-{look}.png").write_bytes(
                    picture(site, tab, name, look))
    finally:
        browser.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
