"""The status page in a real browser, over a real server and over made-up ones."""

from __future__ import annotations

import http.client
import json
import os
import pwd
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from browser import Browser, browsing
from dnslb_server import eventually, started
from made_up import QUIET, MadeUp, backend, carried, refusal, rrset
from peers import free_port
from test_failover import Backend, living_backends, write_zones

from dnslb.admin import client
from dnslb.control.change import Change
from dnslb.control.status import OrderStatus, PoolStatus, ProbeStatus

SHOWN = 2.0  # seconds from a verdict to its place on the page
HOSTILE = "<img src=x onerror=\"document.title='broken into'\"><script>alert(1)</script>&amp;\u202e"
LONG = f"{'a-very-long-label-' * 3}.{'b' * 60}.example.test."

CHANGES = "document.getElementById('changes').innerText"
LINK = "document.getElementById('link')?.innerText"  # nothing as long as the page is not there
ALARMS = "document.getElementById('alarms').innerText"
LIVE = f"{LINK} === '● live'"
DRAWN = "document.querySelectorAll('.spark').length > 0"

ROW = """
((card, address) => {
  const rows = document.querySelectorAll(`[data-key="pool-${card}"] tbody tr`);
  return Array.from(rows).find((row) => row.dataset.key === address)?.innerText ?? "";
})
"""

# The least contrast of any text with what is behind it (WCAG 2, relative luminance).
CONTRAST = """
(() => {
  const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const linear = (part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
  const luminance = ([red, green, blue]) =>
    0.2126 * linear(red / 255) + 0.7152 * linear(green / 255) + 0.0722 * linear(blue / 255);
  const behind = (element) => {
    const colour = numbers(getComputedStyle(element).backgroundColor);
    return colour.length === 3 || colour[3] === 1 ? colour : behind(element.parentElement);
  };
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const found = [];
  while (texts.nextNode()) {
    const element = texts.currentNode.parentElement;
    if (!texts.currentNode.data.trim() || element.getClientRects().length === 0) continue;
    const both = [luminance(numbers(getComputedStyle(element).color)), luminance(behind(element))];
    const ratio = (Math.max(...both) + 0.05) / (Math.min(...both) + 0.05);
    found.push([ratio, texts.currentNode.data]);
  }
  found.sort((one, other) => one[0] - other[0]);
  return found;
})()
"""


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browsing(tmp_path_factory.mktemp("chromium")) as browser:
        yield browser


@contextmanager
def visiting(browser: Browser, url: str) -> Iterator[Browser]:
    """The page, drawn; whatever happens there, nothing is complained of and no request leaves the server."""
    browser.open(url)
    browser.window(1280, 900)
    browser.prefer("light")
    browser.eventually(LIVE)
    yield browser
    assert browser.complaints() == []
    # The browser's own drawings in its controls are "data:".
    asked = {urlsplit(each) for each in browser.requests()}
    assert {each.netloc for each in asked if each.scheme != "data"} == {urlsplit(url).netloc}


@contextmanager
def showing(browser: Browser, operations: MadeUp) -> Iterator[Browser]:
    with carried(operations) as url, visiting(browser, url):
        yield browser


def row(address: str, card: str = "www.example.test.-A") -> str:
    """What the row says, as an expression."""
    return f"{ROW}({card!r}, {address!r})"


def lively() -> MadeUp:
    """One of everything, with long texts everywhere."""
    drain = OrderStatus(None, "192.0.2.2", "drain", 1.0, None, 4e9, "a reason " * 20)
    planned = OrderStatus(LONG, "2001:db8:1111:2222:3333:4444:5555:6666", "maint", 1.0, 4e9, 4.1e9, "x" * 200)
    long = "2001:db8:1111:2222:3333:4444:5555:6666"
    backends = (
        backend("192.0.2.1", up=False, reason="y" * 200),
        backend("192.0.2.2", order=drain),
        replace(backend("192.0.2.3", share=0.5), streak=2, weight=256),
        replace(backend("192.0.2.4", up=None), backup=True),
        backend(long, share=0.5, order=planned),
    )
    open_ = rrset(backend("192.0.2.5", up=False, share=1.0), fails_open=True, why="z" * 100)
    status = replace(
        QUIET,
        directory=f"/{'d' * 200}",
        refused=refusal("zones/example.test.zone:1:1: " + "w" * 200),
        restart=("log_format", "admin_token_file"),
        pools=(PoolStatus(LONG, (rrset(*backends),)), PoolStatus("open.example.test.", (open_, rrset()))),
    )
    probes = tuple(
        ProbeStatus(LONG, each.address, (0.001, 0.02, 1.5), (True, each.up is True, True)) for each in backends
    )
    changes = tuple(
        Change(1.0 + number, LONG, long, what, "v" * 200)
        for number, what in enumerate(("up", "down", "drain", "maint", "ready"))
    )
    return MadeUp(status, changes, probes)


# A real server.


@pytest.fixture
def backends(tmp_path: Path) -> Iterator[list[Backend]]:
    with living_backends(tmp_path) as backends:
        yield backends


def test_it_shows_what_happens_within_two_seconds(tmp_path: Path, chromium: Browser, backends: list[Backend]) -> None:
    port, victim = free_port(), backends[1]
    zone = write_zones(tmp_path, victim.port) / "example.test.zone"
    good = zone.read_text()
    options = ("--listen", f"127.0.0.1:{free_port()}", "--workers", "1", "--admin", f"127.0.0.1:{port}")
    with started(tmp_path, *options) as server, visiting(chromium, f"http://127.0.0.1:{port}/") as page:
        page.eventually(f"/up for .*status 200/s.test({row(victim.host)})")

        victim.kill()
        eventually(lambda: f"{victim.host} down" in server.log, "not noticed", 10.0)
        page.eventually(f"/not handed out.*down for .*connection refused/s.test({row(victim.host)})", SHOWN)
        page.eventually(f"/down.*{victim.host}/s.test(document.querySelector('.changes').innerText)", SHOWN)
        assert page.value(ALARMS) == ""

        victim.start()
        eventually(lambda: f"{victim.host} up" in server.log, "not noticed", 10.0)
        page.eventually(f"/up for .*status 200/s.test({row(victim.host)})", SHOWN)

        zone.write_text(good + "www CNAME ns1\nns1 A 192.0.2.300\n")
        eventually(lambda: "not reloaded" in server.log, "not noticed", 10.0)
        page.eventually("document.querySelectorAll('.alarm li').length >= 1", SHOWN)
        # The words of a file are for those who have the token, or the log.
        for told in ("Reload refused", "2 mistakes: see the log"):
            assert told in page.value(ALARMS)
        assert page.value("document.title").startswith("▲ 1 alarm")
        zone.write_text(good)
        page.eventually("document.querySelectorAll('.alarm').length === 0")

        for each in backends:
            each.kill()
        eventually(lambda: all(f"{each.host} down" in server.log for each in backends), "not noticed", 10.0)
        page.eventually(f"/Failing open.*www.example.test. A/s.test({ALARMS})", SHOWN)
        page.eventually(f"/NODATA.*strict.example.test. A/s.test({ALARMS})", SHOWN)
        assert len([url for url in page.requests() if url.endswith("/page.js")]) == 1  # never loaded again


def test_a_held_edit_is_shown_with_what_it_would_take_away(tmp_path: Path, chromium: Browser) -> None:
    port = free_port()
    zones = tmp_path / "zones"
    zones.mkdir()
    (zones / "example.test.zone").write_text("@ 30 SOA a b 1 1 1 1 1\n@ 30 NS a\na 30 A 192.0.2.1\na 30 A 192.0.2.2\n")
    (zones / "example.test.yaml").write_text("pools: {a: {}}\n")
    options = ("--listen", f"127.0.0.1:{free_port()}", "--workers", "1", "--admin", f"127.0.0.1:{port}")
    with started(tmp_path, *options), visiting(chromium, f"http://127.0.0.1:{port}/") as page:
        (zones / "example.test.yaml").unlink()
        page.eventually(f"/Edit held since .*: this may be half of an edit/.test({ALARMS})")
        told = page.value(ALARMS)
        assert "example.test. would lose its policy file, with 1 pool" in told
        assert re.search(r"It is taken at [0-9:]+ unless the files change; dnslb reload takes it now\.", told)


def test_settings_that_wait_for_a_start_are_named(tmp_path: Path, chromium: Browser) -> None:
    port = free_port()
    zones = tmp_path / "zones"
    zones.mkdir()
    (zones / "example.test.zone").write_text("@ 30 SOA a b 1 1 1 1 1\n@ 30 NS a\na 30 A 192.0.2.1\na 30 A 192.0.2.2\n")
    options = ("--listen", f"127.0.0.1:{free_port()}", "--workers", "1", "--admin", f"127.0.0.1:{port}")
    with started(tmp_path, *options), visiting(chromium, f"http://127.0.0.1:{port}/") as page:
        assert page.value(ALARMS) == ""
        (zones / "dnslb.yaml").write_text("log_format: json\nlog_level: error\n")
        page.eventually(f"/Restart needed for what the files say of: log_format, log_level/.test({ALARMS})")
        assert page.value("document.title").startswith("dnslb "), "it is no alarm"
        (zones / "dnslb.yaml").unlink()
        page.eventually(f"{ALARMS} === ''")


def test_a_pool_without_an_address_is_an_alarm(chromium: Browser) -> None:
    empty = replace(rrset(replace(backend("192.0.2.1", up=False), handed_out=False, share=0.0)), empty=True)
    status = replace(QUIET, pools=(PoolStatus("www.example.test.", (empty,)),))
    with showing(chromium, MadeUp(status)) as page:
        assert "No address left: answered with NODATA" in page.value(ALARMS)
        assert page.value("document.title").startswith("▲ 1 alarm")


def test_a_drain_and_its_reason_are_shown_as_given(tmp_path: Path, chromium: Browser) -> None:
    port = free_port()
    zones = tmp_path / "zones"
    zones.mkdir()
    (zones / "example.test.zone").write_text("@ 30 SOA a b 1 1 1 1 1\n@ 30 NS a\na 30 A 192.0.2.1\na 30 A 192.0.2.2\n")
    (zones / "example.test.yaml").write_text("pools: {a: {}}\n")
    options = ("--listen", f"127.0.0.1:{free_port()}", "--workers", "1", "--admin", f"127.0.0.1:{port}")
    reason = HOSTILE.removesuffix("\u202e")  # which the API refuses
    with started(tmp_path, *options), visiting(chromium, f"http://127.0.0.1:{port}/") as page:
        card = "a.example.test.-A"
        page.eventually(f"/not probed/.test({row('192.0.2.2', card)})")
        order(tmp_path / "control", {"mode": "drain", "addresses": ["192.0.2.2"], "for": "30m", "reason": reason})
        page.eventually(f"/drain until/.test({row('192.0.2.2', card)})", SHOWN)
        shown = page.value(row("192.0.2.2", card))
        assert f" by {pwd.getpwuid(os.getuid()).pw_name}" in shown
        assert re.search(r"last copy expires in \d+ s", shown)
        page.eventually(f"/by /.test({CHANGES})", 2 * SHOWN)
        assert reason in page.value(row("192.0.2.2", card))
        assert page.value("document.querySelector('details code').textContent") == "dnslb drain 192.0.2.1"
        assert "dnslb ready 192.0.2.2" in page.value("document.querySelector('details').textContent")


def order(control: Path, wanted: dict[str, object]) -> None:
    status, _ = client.ask(control, "POST", "/orders", wanted)
    assert status == 200


# Made-up servers.


def test_what_is_not_known_yet_is_a_dash(chromium: Browser) -> None:
    plain = replace(backend("192.0.2.1", up=None, reason="", share=1.0), led=0, achieved=None)
    status = replace(QUIET, pools=(PoolStatus("www.example.test.", (rrset(plain),)),))
    with showing(chromium, MadeUp(status)) as page:
        assert " ".join(page.value(row("192.0.2.1")).split()) == "192.0.2.1 not probed set 100 % led – weight 1 –"
        assert "Queries\n–" in page.text()
        assert "None since the server started." in page.text()


def test_queries_a_second_come_from_what_polls_differ_by(chromium: Browser) -> None:
    with showing(chromium, MadeUp(QUIET, rate=1200.0)) as page:
        page.eventually("/Queries\\s+1,[12]\\d\\d .s/.test(document.body.innerText)")


def test_foreign_text_is_text(chromium: Browser) -> None:
    drain = OrderStatus(None, HOSTILE, "drain", 1, None, None, HOSTILE)
    pool = PoolStatus("www.example.test.", (rrset(backend("192.0.2.1", reason=HOSTILE, order=drain), why=HOSTILE),))
    status = replace(QUIET, directory=HOSTILE, refused=refusal(HOSTILE), pools=(pool,))
    with showing(chromium, MadeUp(status, (Change(1.0, HOSTILE, HOSTILE, HOSTILE, HOSTILE),))) as page:
        page.eventually("document.querySelectorAll('.changes li').length === 1")
        assert page.text().count("<script>alert(1)</script>&amp;") >= 8
        assert page.value("document.querySelectorAll('body img, body script').length") == 0
        assert page.value("document.title").endswith("dnslb 127.0.0.1")


def test_the_policy_lets_nothing_foreign_in(chromium: Browser) -> None:
    with carried(MadeUp(QUIET)) as url:
        chromium.open(url)
        chromium.eventually(LIVE)
        chromium.value("document.body.append(Object.assign(document.createElement('style'), {textContent: '* {}'}))")
        markup = "try { document.body.innerHTML = '<b>'; return 'taken'; } catch { return 'refused'; }"
        assert chromium.value(f"(() => {{ {markup} }})()") == "refused"
        assert chromium.value("fetch('http://127.0.0.1:1/').then(() => 'sent', () => 'not sent')") == "not sent"
        told = "\n".join(chromium.complaints())
        assert all(word in told for word in ("style-src 'self'", "connect-src 'self'", "TrustedHTML")), told


@pytest.mark.parametrize("width", [320, 360, 768, 1280])
def test_nothing_scrolls_sideways(chromium: Browser, width: int) -> None:
    with showing(chromium, lively()) as page:
        page.window(width, 740)
        page.eventually(DRAWN)
        page.value("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
        assert page.value("document.documentElement.scrollWidth") <= width
        beyond = "(one) => one.getClientRects().length && one.getBoundingClientRect().right > innerWidth"
        found = f"Array.from(document.querySelectorAll('body *')).filter({beyond}).map((one) => one.outerHTML)"
        assert page.value(found) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_stands_out_from_its_ground(chromium: Browser, scheme: str) -> None:
    with showing(chromium, lively()) as page:
        page.prefer(scheme)
        page.eventually(DRAWN)
        faintest = page.value(CONTRAST)
        assert len(faintest) > 50
        assert faintest[0][0] >= 4.5, faintest[:5]  # WCAG 2.1 §1.4.3, level AA


@pytest.mark.parametrize("width", [360, 1280])
def test_a_screen_reader_finds_its_way(chromium: Browser, width: int) -> None:
    with showing(chromium, lively()) as page:
        page.window(width, 740)
        page.eventually(DRAWN)
        nodes = page.call("Accessibility.getFullAXTree")["nodes"]
        roles = [node["role"]["value"] for node in nodes if not node["ignored"]]
        for role, number in {"banner": 1, "main": 1, "contentinfo": 1, "search": 1, "searchbox": 1, "alert": 1}.items():
            assert roles.count(role) == number, role
        assert (roles.count("table"), roles.count("columnheader"), roles.count("rowheader")) == (3, 12, 6)
        names = {node["name"]["value"] for node in nodes if "name" in node}
        assert "the last 3 probes: 1 failed, slowest 1.5 s" in names


def test_many_pools_are_drawn_in_part_and_the_part_that_matters(chromium: Browser) -> None:
    one = rrset(backend("192.0.2.1", share=1.0))
    bad = rrset(backend("192.0.2.2", up=False), backend("192.0.2.3", share=1.0))
    pools = tuple(PoolStatus(f"n{number}.example.test.", (bad if number > 290 else one,)) for number in range(300))
    with showing(chromium, MadeUp(replace(QUIET, pools=pools))) as page:
        count = "document.querySelectorAll('article').length"
        assert page.value(count) == 200
        assert "200 of 300 RRsets shown" in page.text()
        assert "n291.example.test." in page.value("document.querySelector('article').innerText")
        page.value("document.getElementById('filter').focus()")
        page.call("Input.insertText", text="N29")
        page.eventually(f"{count} === 11")
        page.value("document.getElementById('filter').value = ''")
        page.value("document.getElementById('trouble').click()")
        page.eventually(f"{count} === 9")


def test_drawing_anew_disturbs_no_reader(chromium: Browser) -> None:
    pools = tuple(PoolStatus(f"{name}.example.test.", (rrset(backend("192.0.2.1", share=1.0)),)) for name in "abc")
    operations = MadeUp(replace(QUIET, pools=pools))
    with showing(chromium, operations) as page:
        page.value("document.querySelectorAll('summary')[1].click()")
        page.value("document.querySelectorAll('summary')[1].focus()")
        page.value("getSelection().selectAllChildren(document.querySelectorAll('.address')[1])")
        page.value("void (window.kept = document.querySelectorAll('article')[1])")
        operations.now = replace(operations.now, pools=pools[1:])  # and it is another's place now
        page.eventually("document.querySelectorAll('article').length === 2")
        assert page.value("document.querySelector('article') === window.kept")
        assert page.value("document.querySelector('details').open")
        assert page.value("document.activeElement === document.querySelector('summary')")
        assert page.value("getSelection().toString()") == "192.0.2.1"


def test_it_says_when_the_server_is_gone_and_goes_on_when_it_is_back(chromium: Browser) -> None:
    operations = lively()
    with carried(operations) as url:
        chromium.open(url)
        chromium.eventually(LIVE)
    chromium.eventually(f"/No connection since .*nobody answers/.test({ALARMS})")
    assert LONG in chromium.text()
    assert chromium.value(LINK) == "✕ no connection"
    with carried(operations, urlsplit(url).port or 0):
        chromium.eventually(LIVE)
        assert "No connection" not in chromium.text()


def test_its_files_say_what_they_are() -> None:
    with carried(MadeUp(QUIET)) as url:
        connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=10)
        for path, kind in {"/": "text/html", "/page.js": "text/javascript", "/page.css": "text/css"}.items():
            connection.request("GET", path)
            reply = connection.getresponse()
            assert (reply.status, str(reply.headers["content-type"]).partition(";")[0]) == (200, kind)
            assert reply.headers["x-content-type-options"] == "nosniff"
            assert str(reply.headers["content-security-policy"]).startswith("default-src 'none'; script-src 'self';")
            assert "access-control-allow-origin" not in reply.headers
            assert reply.read()
        connection.request("HEAD", "/")
        head = connection.getresponse()
        assert (head.status, head.read()) == (200, b"")
        connection.request("GET", "/status")
        assert json.loads(connection.getresponse().read())["server"]["workers"] == 2
        connection.close()
