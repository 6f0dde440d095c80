"""The page in headless Chromium, in every case of fixtures.py: what it shows, to whom, and that it
shows nothing else. tests/page.rs runs this; the last line says how many checks passed.

    page.py [CHECK...]            these, or all
    page.py --but CHECK...        all but these
"""

import importlib.util
import json
import pathlib
import re
import sys
import time
import traceback

import canned
import expected
import fixtures
from chromium import Chromium, Failed
from fixtures import CASES, later

LOOKS = [(1280, False), (1280, True), (360, False), (360, True)]
READY = ("document.getElementById('all')?.hidden === false && "
         "document.querySelector('#canvas svg, #no-traffic:not([hidden])')")
# From first to last line of a table's body, what each cell says.
ROWS = """(id) => [...document.querySelectorAll(`#${id} > table > tbody > tr:not(.rest)`)].map(
  (row) => [...row.children].map((cell) => cell.textContent))"""


class Page:
    """One site, one browser, one tab."""

    def __init__(self):
        axe = pathlib.Path(importlib.util.find_spec("axe_playwright_python").origin).parent
        self.axe = (axe / "axe.min.js").read_text(encoding="utf-8")
        self.site, self.browser = canned.Site(), Chromium()
        self.tab = self.browser.tab()

    def open(self, status, width=1280, dark=False, first=None, **media):
        self.say(status, first)
        self.tab.look(width, dark, **media)
        self.tab.go("about:blank")
        self.tab.go(self.site.url)
        self.tab.wait(READY)
        self.upto(status)

    def say(self, status, first=None):
        histories = {"hour": fixtures.history(status, 5), "day": fixtures.history(status, 60)}
        self.site.show(status, histories, first)

    def upto(self, status):
        """The page shows this snapshot."""
        clock = time.strftime("%H:%M:%S", time.gmtime(status["time"]))
        self.tab.wait(f"document.getElementById('live').textContent === 'Live, {clock}'")

    def update(self, status):
        self.site.show(status)
        self.upto(status)

    def text(self, selector):
        return self.tab.run(f"document.querySelector({json.dumps(selector)}).textContent")

    def rows(self, table):
        return self.tab.run(f"({ROWS})({json.dumps(table)})")

    def facts(self, id_):
        pairs = self.tab.run(
            f"[...document.querySelectorAll('#{id_} > div')].map((pair) => "
            "[pair.children[0].textContent, ...[...pair.children[1].children].map((part) => "
            "part.textContent)])")
        return {term: value for term, *value in pairs}

    def click(self, selector):
        self.tab.run(f"document.querySelector({json.dumps(selector)}).click()")

    def tidy(self, where):
        found = self.tab.complaints()
        assert not found, f"{where}: {found}"


def equal(found, wanted, what=""):
    assert found == wanted, f"{what}\n   found {found!r}\n  wanted {wanted!r}"


def compare(rows, wanted, what):
    """What was seconds ago is a little more by now."""
    equal(len(rows), len(wanted), f"rows of {what}")
    for pair in zip(rows, wanted):
        for found, cell in zip(*pair):
            if cell is not None:
                equal(*(re.sub(r"\d+ s ago", "N s ago", text) for text in (found, cell)), what)


# ---- The checks


def check_sources(_):
    """Small, and nothing from elsewhere or that the policy forbids."""
    texts = {name: (canned.PAGE / name).read_text(encoding="utf-8")
             for name, _ in canned.FILES.values()}
    size = sum(len(text.encode()) for text in texts.values())
    assert size < 60_000, f"{size} bytes"
    html = texts["index.html"]
    assert not re.search(r"\s(style|on\w+)\s*=", html), "inline style or script"
    assert not re.search(r"<script(?![^>]* src=)|<style", html), "inline style or script"
    for name, text in texts.items():
        addresses = set(re.findall(r"\w+://[\w./]*", text)) - {"http://www.w3.org/2000/svg"}
        assert not addresses, f"{name}: {addresses}"
        assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(", text)


def check_every_case(page):
    """Nothing in the console, nothing too wide, and nothing that axe finds: in all looks of one
    case, in two where there is more to see, and in one in turn where only the words are others.
    """
    for number, (name, status) in enumerate(CASES.items()):
        page.open(status)
        page.tab.run(page.axe)
        chosen = {"two_homes": LOOKS, "wrong_file": LOOKS[1:3], "refused": LOOKS[1:3]}
        chosen = chosen.get(name, [LOOKS[number % 4]])
        for width, dark in [*LOOKS, (800, False)]:
            axe = (width, dark) in chosen
            width_and_axe(page, f"{name}, {width} px, dark: {dark}", width, dark, axe)
        page.tab.run("document.querySelectorAll('button.open').forEach((one) => one.click())")
        for width in (1280, 800, 360):
            axe = width == 360 and len(chosen) > 1
            width_and_axe(page, f"{name}, {width} px, all open", width, False, axe)
        page.tidy(name)


def width_and_axe(page, where, width, dark, axe):
    page.tab.look(width, dark)
    page.tab.wait(f"document.documentElement.clientWidth === {width}")
    wide = page.tab.run("document.documentElement.scrollWidth")
    assert wide <= width, f"{where}: {wide} px wide"
    for finding in page.tab.run(AXE) if axe else []:
        raise AssertionError(f"{where}: {json.dumps(finding, indent=1)}")


AXE = """axe.run({ preload: false, resultTypes: ["violations"],
  runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] })
  .then(({ violations }) => violations.map(({ id, help, nodes }) =>
  ({ id, help, nodes: nodes.slice(0, 3).map((node) => node.html + node.failureSummary) })))"""


def check_what_it_says(page):
    """Every cell, against what the snapshot gives by another program's arithmetic."""
    for name in ("two_homes", "one_offline", "sixty_homes", "huge", "wrong_file"):
        status = CASES[name]
        page.open(status)
        page.tab.run("document.querySelectorAll('button.all').forEach((button) => button.click())")
        for table, wanted in expected.server_tables(status).items():
            compare(page.rows(table), wanted, f"{name}, {table}")
        for list_, wanted in expected.lists(status).items():
            for term, value in wanted.items():
                equal(page.facts(list_)[term], value, f"{name}, {list_}, {term}")
        page.tidy(name)
    for name in ("connected", "waiting", "refused"):
        status = CASES[name]
        page.open(status)
        for table, wanted in expected.client_tables(status).items():
            compare(sorted(page.rows(table)), sorted(wanted), f"{name}, {table}")
        for term, value in expected.lists(status)["process"].items():
            equal(page.facts("process")[term], value, name)


def check_verdicts(page):
    """The sentence on top, the title, and the mark."""
    for name, verdict, kind in [
            ("two_homes", "All 3 services are online", "good"),
            ("one_offline", "local is offline", "bad"),
            ("sixty_homes", "shed-17, barn-41 and cabin-42 are offline", "bad"),
            ("nothing_yet", "No services yet", "none"),
            ("connected", "Both services can be reached", "good"),
            ("waiting", "Not connected to vps.example.com:2333", "bad"),
            ("refused", "grafana and nas cannot be reached", "bad"),
            ("client_nothing", "No servers yet", "none")]:
        page.open(CASES[name])
        equal(page.text("h1"), verdict)
        equal(page.tab.run("document.querySelector('h1').dataset.kind"), kind)
        if name == "one_offline":
            equal(page.text("#summary"),
                  "offline for 4 min, 1 home connected, running for 12 days")
        title = "all well" if kind == "good" else verdict
        equal(page.tab.run("document.title"), f"{title} – underpass")
    for name in ("nothing_yet", "client_nothing"):
        page.open(CASES[name])
        shown = page.tab.run("[...document.querySelectorAll('.empty')].filter((one) => "
                             "one.offsetHeight > 0).map((one) => one.textContent)")
        assert any("Add a table" in text for text in shown), shown
        assert any("open one of your names" in text for text in shown), shown
    page.update(later(CASES["client_nothing"], 2) | {"draining": True})
    equal(page.text("h1"), "Shutting down: no new visitors")


def check_rates(page):
    """From two snapshots, and from no two of different runs."""
    for name in ("two_homes", "refused"):
        first = CASES[name]
        which = first["services"][0]["name"]
        page.open(later(first, 2, 50_000, 1_000_000), first=first)
        page.tab.wait("document.querySelector('#figures').textContent.includes('500 kB/s')")
        row = next(row for row in page.rows("services") if row[0].startswith(which))
        assert row[-2].startswith("500 kB/s") and row[-1].startswith("25 kB/s"), row
        assert page.facts("figures")["From visitors"][0] == "25 kB/s", page.facts("figures")
        again = later(first, 4) | {"started": first["time"]}
        page.update(again)
        equal(page.facts("figures")["To visitors"][0], "–")


def check_changes_in_place(page):
    """The same elements, the focus, and the place on the page; and what is said aloud."""
    status = CASES["two_homes"]
    page.open(status, width=360)
    page.tab.run("""(() => {
      const button = [...document.querySelectorAll('button.open')].find(
        (one) => one.textContent === 'local');
      button.click();
      button.focus();
      button.kept = true;
      document.querySelector('h1').kept = true;
      window.changes = [];
      new MutationObserver((list) => window.changes.push(...list.map((one) => one.target.id ||
        one.target.className || one.target.nodeName))).observe(document.getElementById('announcer'),
        { childList: true, subtree: true, characterData: true });
    })()""")
    before = page.tab.run("scrollY")
    page.update(later(status, 2, 10, 10))
    equal(page.tab.run("[scrollY, window.changes.length]"), [before, 0], "a tick")
    equal(page.text("#announcer"), "")
    away = later(CASES["one_offline"], 4)
    page.update(away)
    state = page.tab.run("""[document.activeElement.kept, document.activeElement.textContent,
      document.activeElement.getAttribute('aria-expanded'), document.querySelector('h1').kept,
      document.querySelector('#services tbody tr').contains(document.activeElement)]""")
    equal(state, [True, "local", "true", True, True])
    equal(page.text("#announcer"), "local is offline.")
    page.update(later(status, 6))
    equal(page.text("#announcer"), "local is online.")
    wrong = later(CASES["wrong_file"], 8)
    page.update(wrong)
    equal(page.text("#wrong-file pre"), wrong["configuration"]["error"])
    assert page.tab.run("document.getElementById('wrong-file').offsetHeight > 50")
    page.update(later(status, 10))
    assert page.tab.run("document.getElementById('wrong-file').hidden")
    page.tidy("changes")


def check_hostile(page):
    """What strangers write is text, wherever it stands."""
    for name, table in (("hostile", "failures"), ("hostile_client", "servers")):
        status = CASES[name]
        page.open(status)
        page.update(later(status, 2))
        page.tab.run("document.querySelectorAll('button.open').forEach((one) => one.click())")
        first = [row[0] for row in page.rows(table)]
        for text in fixtures.EVIL:
            shown = text.strip() or "(blank)"
            assert any(cell.startswith(shown) for cell in first), f"{text[:80]!r}: {first}"
        counted = page.tab.run("['script', 'img', 'iframe', 'style', 'object', 'a[href^=\"java\"]',"
                               " '[onerror]', '[style]'].map((one) => "
                               "document.querySelectorAll(one).length)")
        equal(counted, [1, 0, 0, 0, 0, 0, 0, 0])
        page.tidy(name)
    page.open(CASES["hostile"])
    for text in fixtures.EVIL[:2]:
        page.tab.run(f"document.getElementById('asked').value = {json.dumps(text)}")
        page.click("#explain button")
        page.tab.wait(f"document.querySelector('#answer h3')?.textContent === "
                      f"{json.dumps(text.partition('/')[0])}")
    page.tidy("explain")


def check_keyboard(page):
    """Everything is reached by Tab, and seen to be."""
    page.open(CASES["sixty_homes"])
    reached = []
    for _ in range(60):
        page.tab.key("Tab", 9)
        reached.append(page.tab.run("""(() => {
          const one = document.activeElement;
          const seen = [one, one.nextElementSibling, one.parentElement].some((node) => node &&
            getComputedStyle(node).outlineStyle === 'solid');
          return [one === document.body ? 'BODY' : one.id || one.className || one.textContent, seen,
            one.getBoundingClientRect().left >= 0];
        })()"""))
        if reached[-1][0] == "BODY":
            break
    names = [name for name, *_ in reached]
    for wanted in ("skip", "Traffic", "Program", "scrub", "filter", "order", "open", "all", "asked",
                   "Explain", "This as JSON", "Metrics"):
        assert wanted in names, f"{wanted} is not in {names}"
    equal(names[0], "skip")
    hidden = [name for name, seen, inside in reached if name != "BODY" and not (seen and inside)]
    equal(hidden, [], "focus that is not seen")

    page.tab.run("document.getElementById('scrub').focus()")
    before = page.tab.run("document.getElementById('scrub').getAttribute('aria-valuetext')")
    page.tab.key("ArrowLeft", 37)
    page.tab.wait("document.getElementById('scrub').getAttribute('aria-valuetext') !== "
                  + json.dumps(before))
    when = page.text("#when")
    assert re.fullmatch(r"\d\d:\d\d:\d\d", when), when
    spoken = page.tab.run("document.getElementById('scrub').getAttribute('aria-valuetext')")
    equal(spoken, f"{when}: {page.text('#plot b')} to visitors, "
          + page.tab.run("document.querySelectorAll('#plot b')[1].textContent") + " from visitors, "
          + "visitors: " + page.tab.run("document.querySelectorAll('#plot b')[2].textContent"))

    page.tab.run("document.querySelector('button.open').focus()")
    page.tab.key("Enter", 13, "\r")
    page.tab.wait("document.querySelector('tr.rest:not([hidden])')?.offsetHeight > 100")


def check_many(page):
    """Sixty homes: those that are offline first, a dozen rows, a filter, an order."""
    page.open(CASES["sixty_homes"])
    rows = page.rows("services")
    equal([len(rows), len(page.rows("homes"))], [12, 12])
    offline = ["shed-17", "barn-41", "cabin-42"]
    equal([row[0].partition("web")[0] for row in rows[:4]], [*offline, "attic-00"])
    equal(page.text("#services .all"), "Show all 60 services")
    page.click("#services .all")
    equal(len(page.rows("services")), 60)
    page.tab.run("""(() => { const box = document.getElementById('filter'); box.value = 'BARN';
      box.dispatchEvent(new Event('input')); })()""")
    equal([row[0].partition("web")[0] for row in page.rows("services")],
          ["barn-41", "barn-01", "barn-21"])
    equal(len(page.rows("homes")), 2)
    page.tab.run("""(() => { const box = document.getElementById('filter'); box.value = 'nobody';
      box.dispatchEvent(new Event('input')); })()""")
    equal(page.rows("services"), [])
    page.tab.wait("[...document.querySelectorAll('#services .empty')].some((one) => "
                  "one.offsetHeight > 0 && one.textContent === 'No service has that in it.')")
    page.tab.run("""(() => { const box = document.getElementById('filter'); box.value = '';
      box.dispatchEvent(new Event('input')); const order = document.getElementById('order');
      order.value = 'traffic'; order.dispatchEvent(new Event('input')); })()""")
    history = fixtures.history(CASES["sixty_homes"], 5)["services"]
    busiest = max(history[:-1], key=lambda one: sum(one["sent"]) + sum(one["received"]))
    assert page.rows("services")[0][0].startswith(busiest["name"]), page.rows("services")[0]
    page.tidy("many")


def check_history(page):
    """The plot's words are the sums of what came; the other range is another plot."""
    status = CASES["two_homes"]
    page.open(status)
    for range_, step in (("hour", 5), ("day", 60)):
        page.click(f"[value={range_}]")
        total = fixtures.history(status, step)["services"][-1]
        label = (f"Plot of the last {range_}: {expected.size(sum(total['sent']))} to visitors, "
                 f"{expected.size(sum(total['received']))} from visitors, at most "
                 f"{max(total['visitors'])} visitors.")
        page.tab.wait("document.querySelector('#canvas svg').getAttribute('aria-label')"
                      f".startsWith({json.dumps(label)})")
        equal(page.text("#plot b"), expected.size(sum(total["sent"])))
        one = fixtures.history(status, step)["services"][0]
        amount = expected.size(sum(one["sent"]) + sum(one["received"]))
        assert f"{amount} last {range_}" in page.rows("services")[0], page.rows("services")[0]
    # Half an hour after the start: half of the plot is empty, and says so.
    short = fixtures.history(status, 5)
    for series in short["services"]:
        for way in ("sent", "received", "visitors"):
            series[way] = series[way][360:]
    page.site.show(status, {"hour": short, "day": short})
    page.click("[value=hour]")
    page.tab.wait("/M(5|6)[0-9]{2}/.test(document.querySelector('#canvas path.sent')"
                  ".getAttribute('d'))")
    page.tab.run("(() => { const scrub = document.getElementById('scrub'); scrub.value = 3; "
                 "scrub.dispatchEvent(new Event('input')); })()")
    equal(page.text("#plot b"), "–")
    page.tidy("history")


def check_explain(page):
    """The box: a name, a path, an address as it is copied, an error."""
    page.open(CASES["two_homes"])
    for asked, query, answer in [
            ("pi.example.com", "name=pi.example.com", "for any path"),
            ("https://pi.example.com/photos/a b", "name=pi.example.com&path=%2Fphotos%2Fa+b",
             "for /photos/a b"),
            ("a&name=b/?c", "name=a%26name%3Db&path=%2F%3Fc", "for /?c"),
            ("a..b", "name=a..b", "invalid: a..b: a label is empty")]:
        page.tab.run(f"document.getElementById('asked').value = {json.dumps(asked)}")
        page.tab.run("document.getElementById('asked').focus()")
        page.tab.key("Enter", 13, "\r")
        page.tab.wait("document.getElementById('answer').textContent"
                      f".includes({json.dumps(answer)})")
        assert f"/api/v1/explain?{query}" in page.site.asked, page.site.asked[-3:]
    page.site.set_up(False)
    try:
        page.click("#explain button")
        page.tab.wait("document.getElementById('answer').textContent.startsWith('No answer')")
    finally:
        page.site.set_up(True)
    page.tab.complaints()  # of that


def check_no_news(page):
    """A stream that ends is opened again; while nobody answers, the page says since when."""
    status = CASES["two_homes"]
    page.open(status)
    page.site.set_up(False)
    page.tab.wait("document.getElementById('no-news-title').textContent === "
                  "'No news from underpass since 14:13:20'", 12)
    equal(page.text("#live"), "No news")
    equal(page.tab.run("document.title"), "no news – underpass")
    words = page.text("#no-news p")
    assert re.fullmatch(r"That is \d+ s ago, and what you see is from then: it cannot be reached\. "
                        r"Trying again by itself\.", words), words
    equal(page.text("#announcer"), "No news from underpass since 14:13:20.")
    page.site.show(later(status, 60))
    page.site.set_up(True)
    page.tab.wait("document.getElementById('live').textContent === "
                  "'Live, 14:14:20'", 12)
    assert page.tab.run("document.getElementById('no-news').hidden")
    equal(page.text("#announcer"), "The news from underpass is back.")
    page.update(later(status, 62))  # by a stream again
    page.site.refuses = True
    page.tab.go("about:blank")
    page.tab.go(page.site.url)
    page.tab.wait("document.querySelector('#no-news p')?.textContent === "
                  "'Now it answers with status 503. Trying again by itself.'")
    page.site.refuses = False
    page.upto(later(status, 62))
    page.site.streams = False
    try:
        page.open(status)
        page.site.asked.clear()
        time.sleep(3)
        polls = page.site.asked.count("/api/v1/status")
        assert polls in (1, 2), f"it asked {polls} times in 3 s"
        equal(page.text("#live"), "Live, 14:13:20", "without streams")
    finally:
        page.site.streams = True
    # The browser says that it could not connect. Nothing else.
    for complaint in page.tab.complaints():
        assert "net::ERR" in complaint or "Failed to load" in complaint, complaint


def main(*names):
    page = Page()
    checks = {name.removeprefix("check_"): check for name, check in globals().items()
              if name.startswith("check_")}
    if names[:1] == ("--but",):
        chosen = [name for name in checks if name not in names]
    else:
        chosen = names or list(checks)
    failed = 0
    try:
        for name in chosen:
            began = time.monotonic()
            try:
                checks[name](page)
                print(f"ok    {name} ({time.monotonic() - began:.1f} s)", flush=True)
            except (AssertionError, Failed):
                failed += 1
                print(f"wrong {name}\n{traceback.format_exc()}", flush=True)
    finally:
        page.browser.close()
    print(f"{len(chosen) - failed} of {len(chosen)} checks passed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
