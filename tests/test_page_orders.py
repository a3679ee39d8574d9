"""Orders from the status page, the last hour on it, and who else's page may not give any."""

from __future__ import annotations

import getpass
import os
import re
import signal
import threading
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import pytest
from browser import Browser, browsing
from dnslb_server import eventually, started
from made_up import QUIET, MadeUp, backend, carried, rrset
from peers import free_port, running
from programs import program
from test_page import CHANGES, CONTRAST, LIVE, row, visiting

from dnslb.admin.guard import Role
from dnslb.balance.operator_order import Mode
from dnslb.control.change import Change
from dnslb.control.status import OrderStatus, Peer, PoolStatus, SecondaryStatus, ZoneStatus
from dnslb.control.timeline import Led, RRsetTimeline, Timeline

MANUAL = Path(__file__).parent.parent / "dnslb/manual/api.md"
TOKEN = "s3cret.token"
MISTAKE = "document.getElementById('token-mistake').innerText"
GIVE = "document.getElementById('order-give')"
EFFECT = "document.getElementById('effect').innerText"
GIVEN = "(document.querySelector('div.given')?.innerText ?? '')"
MAY_ORDER = "document.querySelector('[data-order]') !== null"
ORDER = '{"mode": "drain", "addresses": ["192.0.2.1"]}'


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browsing(tmp_path_factory.mktemp("chromium")) as browser:
        yield browser


def pool(*orders: OrderStatus | None) -> MadeUp:
    """One of three addresses."""
    three = (*orders, None, None, None)[:3]
    backends = [backend(f"192.0.2.{number + 1}", share=0.33, order=order) for number, order in enumerate(three)]
    return MadeUp(replace(QUIET, pools=(PoolStatus("www.example.test.", (rrset(*backends),)),)))


def press(page: Browser, key: str) -> None:
    text = {"Enter": "\r"}.get(key, "")
    code = {"Enter": 13, "Tab": 9, "Escape": 27, " ": 32}[key]
    for kind in ("keyDown", "keyUp"):
        more = {"text": text or key} if kind == "keyDown" and (text or key == " ") else {}
        page.call("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code, **more)


def type_(page: Browser, text: str) -> None:
    page.call("Input.insertText", text=text)


def give_token(page: Browser, token: str = TOKEN) -> None:
    """By keys alone."""
    page.value("document.getElementById('token-ask').focus()")
    press(page, "Enter")
    page.eventually("document.activeElement.id === 'token'")
    type_(page, token)
    press(page, "Enter")


def open_order(page: Browser, label: str) -> None:
    page.eventually(MAY_ORDER)
    page.value(f"document.querySelector('[aria-label=\"{label}\"]').focus()")
    press(page, "Enter")
    page.eventually(f"!{GIVE}.disabled")


@contextmanager
def elsewhere(body: str) -> Iterator[str]:
    """The URL of a page of somebody else's."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *args: object) -> None:
            pass

    with handled(Handler) as place:
        yield place


@contextmanager
def handled(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """The URL of a server that does so."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


# Orders.


def test_without_a_token_it_reads(chromium: Browser) -> None:
    with carried(pool(), token=TOKEN) as url, visiting(chromium, url) as page:
        page.eventually(f"/up for/.test({row('192.0.2.1')})")
        assert not page.value(MAY_ORDER)
        assert "Without a token this page only reads" in page.text()


def test_a_wrong_token_is_said_and_none_is_kept(chromium: Browser) -> None:
    with carried(pool(), token=TOKEN) as url:
        chromium.open(url)
        chromium.eventually(LIVE)
        give_token(chromium, "wrong")
        chromium.eventually(f"/the token is wrong/.test({MISTAKE})")
        assert not chromium.value(MAY_ORDER)
        press(chromium, "Escape")
        chromium.eventually("document.getElementById('token').value === ''")
    with carried(pool()) as url:
        chromium.open(url)
        chromium.eventually(LIVE)
        give_token(chromium)
        chromium.eventually(f"/for reading only.*admin_token_file/.test({MISTAKE})")


def test_a_token_for_reading_gives_no_orders(chromium: Browser) -> None:
    with carried(pool(), token=TOKEN, role=Role.READ) as url:
        chromium.open(url)
        chromium.eventually(LIVE)
        give_token(chromium)
        chromium.eventually(f"/the token alice is for reading only; use one with the role operate/.test({MISTAKE})")
        assert not chromium.value(MAY_ORDER)


def test_an_order_is_given_by_keys_alone_after_its_effect_is_told_and_is_undone(chromium: Browser) -> None:
    operations = pool()
    with carried(operations, token=TOKEN) as url, visiting(chromium, url) as page:
        give_token(page)
        open_order(page, "drain 192.0.2.1")
        assert "www.example.test. A: 1 of 3 left; last copy expires in 2" in page.value(EFFECT)
        assert operations.given == [], "the effect only is asked for"
        assert page.value("document.activeElement.id") == "order-reason"
        type_(page, "new kernel")
        page.eventually(f"{GIVE}.disabled")
        page.eventually(f"!{GIVE}.disabled")
        press(page, "Enter")
        page.eventually(f"/last copy expires in/.test({GIVEN})")
        [given] = operations.given
        assert (given.mode, given.addresses, given.names) == (Mode.DRAIN, ("192.0.2.1",), ("www.example.test.",))
        assert (given.reason, given.by, given.until) == ("new kernel", "token alice", None)
        left = page.value(f"/expires in (\\d+) s/.exec({GIVEN})[1]")
        page.eventually(f"Number(/expires in (\\d+) s/.exec({GIVEN})[1]) < {left}")

        page.value("document.querySelector('[data-undo]').focus()")
        press(page, "Enter")
        page.eventually(f"/undone/.test({GIVEN})")
        assert (operations.given[1].mode, operations.given[1].names) == (Mode.READY, ("www.example.test.",))
        assert len(operations.given) == 2


def test_undoing_gives_again_what_stood_before(chromium: Browser) -> None:
    operations = pool()
    until = time.time() + 5000
    operations.standing = (OrderStatus(None, "192.0.2.1", "drain", 1.0, None, until, "before", "bob"),)
    with carried(operations, token=TOKEN) as url, visiting(chromium, url) as page:
        give_token(page)
        open_order(page, "maint 192.0.2.1")
        page.value("document.querySelector('[name=scope][value=all]').click()")
        page.value("document.getElementById('order-for').value = '30m'")
        page.value("document.getElementById('order-for').dispatchEvent(new Event('input', {bubbles: true}))")
        page.eventually(f"!{GIVE}.disabled")
        page.value(f"{GIVE}.click()")
        page.eventually("document.querySelector('[data-undo]')")
        page.value("document.querySelector('[data-undo]').click()")
        page.eventually(f"/undone/.test({GIVEN})")
        first, undone, again = operations.given
        assert (first.mode, first.names) == (Mode.MAINT, ())
        assert 1700 < (first.until or 0) - time.time() <= 1800
        assert (undone.mode, undone.names) == (Mode.READY, ())
        assert (again.mode, again.names, again.until, again.reason) == (Mode.DRAIN, (), until, "before")


def test_all_of_a_pool_is_ordered_out_with_a_plan(chromium: Browser) -> None:
    operations = pool()
    with carried(operations, token=TOKEN) as url, visiting(chromium, url) as page:
        give_token(page)
        open_order(page, "drain all of www.example.test. A")
        page.value("document.getElementById('order-at').value = '2030-01-02T03:04'")
        page.value("document.getElementById('order-at').dispatchEvent(new Event('input', {bubbles: true}))")
        page.eventually(f"!{GIVE}.disabled")
        page.value(f"{GIVE}.click()")
        page.eventually("document.querySelector('[data-undo]')")
        [given] = operations.given
        assert given.addresses == ("192.0.2.1", "192.0.2.2", "192.0.2.3")
        assert given.at == page.value("new Date('2030-01-02T03:04').getTime() / 1000")


def test_what_is_typed_wrong_is_said_before_anything_is_done(chromium: Browser) -> None:
    operations = pool()
    with carried(operations, token=TOKEN) as url:
        chromium.open(url)
        chromium.eventually(LIVE)
        give_token(chromium)
        open_order(chromium, "drain 192.0.2.1")
        chromium.value("document.getElementById('order-for').focus()")
        type_(chromium, "soon")
        chromium.eventually("/no duration.*90s, 30m, 2h/.test(document.getElementById('order-mistake').innerText)")
        assert chromium.value(f"{GIVE}.disabled")
        press(chromium, "Enter")
        assert operations.given == []


def test_the_token_is_in_the_memory_of_the_tab_only(chromium: Browser) -> None:
    with carried(pool(), token=TOKEN) as url, visiting(chromium, url) as page:
        give_token(page)
        page.eventually(MAY_ORDER)
        kept = "JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie, location.href, history.state])"
        assert TOKEN not in page.value(kept)
        assert TOKEN not in page.value("document.documentElement.outerHTML")
        assert page.value("document.getElementById('token').value") == ""
        page.value("document.getElementById('token-ask').click()")
        page.eventually(f"!({MAY_ORDER})")
        give_token(page)
        page.eventually(MAY_ORDER)
        page.call("Page.reload")
        page.eventually(f"{LIVE} && !({MAY_ORDER})")


def test_everything_is_reached_by_tab_and_seen_there(chromium: Browser) -> None:
    with carried(pool(), token=TOKEN) as url, visiting(chromium, url) as page:
        give_token(page)
        page.eventually(f"{MAY_ORDER} && !document.getElementById('token-dialog').open")
        page.value("document.activeElement.blur()")
        reached = []
        for _ in range(30):
            press(page, "Tab")
            told = "[e.id || e.getAttribute('aria-label') || e.innerText, getComputedStyle(e).outlineStyle]"
            name, outline = page.value(f"((e) => {told})(document.activeElement)")
            reached.append(name)
            assert outline == "solid" or name.startswith("dnslb"), name  # the page itself, after its last control
        assert "token-ask" in reached
        wanted = ["filter", "trouble", "www.example.test.", "drain 192.0.2.1", "maint 192.0.2.3"]
        wanted += ["ready all of www.example.test. A", "Commands", "changes-filter"]
        places = [reached.index(each) for each in wanted]
        assert places == sorted(places), reached


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [375, 1280])
def test_dialogs_fit_and_stand_out(chromium: Browser, scheme: str, width: int) -> None:
    with carried(pool(), token=TOKEN) as url, visiting(chromium, url) as page:
        page.window(width, 740)
        page.prefer(scheme)
        give_token(page)
        open_order(page, "ready all of www.example.test. A")
        faintest = page.value(CONTRAST)
        assert faintest[0][0] >= 4.5, faintest[:5]
        assert page.value("document.documentElement.scrollWidth") <= width
        box = page.value("document.getElementById('order-dialog').getBoundingClientRect().toJSON()")
        assert box["left"] >= 0
        assert box["right"] <= width
        assert box["top"] >= 0
        beyond = f"(one) => one.getClientRects().length && one.getBoundingClientRect().right > {box['right']}"
        inside = "Array.from(document.querySelectorAll('#order-dialog *'))"
        assert page.value(f"{inside}.filter({beyond}).map((one) => one.outerHTML)") == []
        press(page, "Escape")
        assert not page.value("document.getElementById('order-dialog').open")


def test_a_drain_from_the_page_reaches_a_real_server_and_is_undone(tmp_path: Path, chromium: Browser) -> None:
    port = free_port()
    zones = tmp_path / "zones"
    zones.mkdir()
    (zones / "example.test.zone").write_text("@ 30 SOA a b 1 1 1 1 1\n@ 30 NS a\na 30 A 192.0.2.1\na 30 A 192.0.2.2\n")
    (zones / "example.test.yaml").write_text("pools: {a: {}}\n")
    secret = tmp_path / "token"
    secret.touch(mode=0o600)
    secret.write_text(f"alice: {TOKEN}\n")
    (zones / "dnslb.yaml").write_text(f"admin_token_file: {secret}\n")
    options = ("--listen", f"127.0.0.1:{free_port()}", "--workers", "1", "--admin", f"127.0.0.1:{port}")
    with started(tmp_path, *options) as server, visiting(chromium, f"http://127.0.0.1:{port}/") as page:
        give_token(page)
        open_order(page, "drain 192.0.2.2")
        assert "a.example.test. A: 1 of 2 left; last copy expires in 3" in page.value(EFFECT)
        page.value(f"{GIVE}.click()")
        page.eventually(f"/drain.*by token alice/s.test({row('192.0.2.2', 'a.example.test.-A')})")
        assert "192.0.2.2 drain by token alice" in server.log
        page.eventually(f"/drain.*192.0.2.2/s.test({CHANGES})")
        page.value("document.querySelector('[data-undo]').click()")
        page.eventually(f"/undone/.test({GIVEN})")
        page.eventually(f"!/not handed out/.test({row('192.0.2.2', 'a.example.test.-A')})")


def test_an_order_that_a_pool_forbids_is_given_only_by_saying_so(tmp_path: Path, chromium: Browser) -> None:
    port = free_port()
    zones = tmp_path / "zones"
    zones.mkdir()
    (zones / "example.test.zone").write_text("@ 30 SOA a b 1 1 1 1 1\n@ 30 NS a\na 30 A 192.0.2.1\na 30 A 192.0.2.2\n")
    (zones / "example.test.yaml").write_text("pools: {a: {min_ready: 2}}\n")
    secret = tmp_path / "token"
    secret.touch(mode=0o600)
    secret.write_text(TOKEN)
    (zones / "dnslb.yaml").write_text(f"admin_token_file: {secret}\n")
    options = ("--listen", f"127.0.0.1:{free_port()}", "--workers", "1", "--admin", f"127.0.0.1:{port}")
    with started(tmp_path, *options):
        chromium.open(f"http://127.0.0.1:{port}/")
        chromium.eventually(LIVE)
        give_token(chromium)
        force = "document.getElementById('order-force')"
        assert chromium.value(f"{force}.getClientRects().length") == 0
        chromium.eventually(MAY_ORDER)
        chromium.value("document.querySelector('[aria-label=\"drain 192.0.2.2\"]').click()")
        chromium.eventually("/its min_ready is 2/.test(document.getElementById('order-mistake').innerText)")
        assert chromium.value(f"{GIVE}.disabled")
        chromium.value(f"{force}.click()")
        chromium.eventually(f"!{GIVE}.disabled && document.getElementById('order-mistake').innerText === ''")
        chromium.value(f"{GIVE}.click()")
        chromium.eventually(f"/drain/.test({row('192.0.2.2', 'a.example.test.-A')})")
        chromium.eventually("document.querySelector('[data-undo]')")


@contextmanager
def proxy(url: str) -> Iterator[str]:
    """The URL of one that adds the token to what comes to it."""

    class Handler(BaseHTTPRequestHandler):
        def _pass(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {name: text for name, text in self.headers.items() if name != "Connection"}
            request = Request(f"{url.rstrip('/')}{self.path}", body or None, headers, method=self.command)
            request.add_unredirected_header("Authorization", f"Bearer {TOKEN}")
            try:
                reply = urlopen(request, timeout=5)
            except HTTPError as error:
                reply = error
            with reply:
                self.send_response(reply.status)
                for name, text in reply.headers.items():
                    self.send_header(name, text)
                self.end_headers()
                self.wfile.write(reply.read())

        do_GET = do_POST = _pass

        def log_message(self, *args: object) -> None:
            pass

    with handled(Handler) as place:
        yield place


def test_who_comes_through_a_proxy_that_has_a_token_needs_none(chromium: Browser) -> None:
    operations = pool()
    with carried(operations, token=TOKEN) as url, proxy(url) as place:
        chromium.open(place)
        chromium.eventually(LIVE)
        open_order(chromium, "drain 192.0.2.2")
        assert "Orders are given by token alice" in chromium.text()
        chromium.value(f"{GIVE}.click()")
        eventually(lambda: [one.mode for one in operations.given] == [Mode.DRAIN], "no order comes")


def test_the_proxy_of_the_manual_lets_its_users_give_orders_and_no_page_of_another(tmp_path: Path) -> None:
    (location,) = re.findall(r"^location / \{.*?^\}$", MANUAL.read_text(), re.MULTILINE | re.DOTALL)
    port = free_port()
    operators = tmp_path / "operators"
    operators.write_text("alice:{PLAIN}secret\n")
    with carried(pool(), token=TOKEN) as url:
        for written, meant in (("http://127.0.0.1:5380", url.rstrip("/")), ("THE_TOKEN_OF_THE_PROXY", TOKEN),
                               ("/etc/nginx/operators", str(operators))):  # fmt: skip
            assert written in location
            location = location.replace(written, meant)
        places = "".join(f"{kind}_temp_path {tmp_path}/{kind};\n" for kind in
                         ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))  # fmt: skip
        (tmp_path / "nginx.conf").write_text(
            f"user {getpass.getuser()}; daemon off; pid {tmp_path}/pid; error_log stderr; events {{}}\n"
            f"http {{ access_log off;\n{places}server {{ listen 127.0.0.1:{port};\n{location} }} }}\n"
        )
        command = [program("nginx", "nginx-light"), "-c", str(tmp_path / "nginx.conf")]
        with running(command, tmp_path / "log") as process:
            here = f"http://127.0.0.1:{port}"
            eventually(lambda: status_of(f"{here}/operator") == 401, "the proxy does not answer")
            assert process.popen.poll() is None
            known = {"Authorization": f"Basic {b64encode(b'alice:secret').decode()}"}
            for origin, expected in ((here, 200), ("http://elsewhere.example", 403)):
                assert status_of(f"{here}/orders", ORDER, {**known, "Origin": origin}) == expected


def status_of(url: str, body: str = "", headers: dict[str, str] | None = None) -> int:
    """0: nobody answers."""
    try:
        with urlopen(Request(url, body.encode() or None, headers or {}), timeout=5) as reply:
            return int(reply.status)
    except HTTPError as error:
        return error.code
    except URLError:
        return 0


def test_the_page_tells_of_query_records_and_leads_to_the_same_pool_at_other_nodes(chromium: Browser) -> None:
    operations = pool()
    peers = (Peer("ns2", "https://ns2.example.com:5380"),)
    operations.now = replace(operations.now, server=replace(QUIET.server, peers=peers, recorded=12345, unrecorded=4))
    with carried(operations) as url, visiting(chromium, f"{url}#pool/www.example.test.") as page:
        assert "12.3K, 4 dropped" in page.text()
        page.eventually("document.querySelector('#peers a')?.innerText === 'ns2'")
        link = page.value("document.querySelector('#peers a').href")
        assert link == "https://ns2.example.com:5380/#pool/www.example.test."


# Pages of others.


def test_no_page_of_another_can_give_an_order_or_read(chromium: Browser) -> None:
    operations = pool()
    with carried(operations, token=TOKEN) as url, elsewhere("<p>hello") as other:
        chromium.open(other)
        chromium.eventually("document.body !== null && document.body.innerText.includes('hello')")
        for kind in ("text/plain", "application/json"):
            for mode in ("cors", "no-cors"):
                # The worst case: it knows the token.
                headers = f"{{'Content-Type': '{kind}', Authorization: 'Bearer {TOKEN}'}}"
                options = f"{{method: 'POST', mode: '{mode}', body: '{ORDER}', headers: {headers}}}"
                sent = f"fetch('{url}orders', {options}).then((reply) => reply.text(), () => 'refused')"
                assert chromium.value(sent) in ("refused", "")
        assert chromium.value(f"fetch('{url}status').then(() => 'read', () => 'refused')") == "refused"
        what = f"{{method: 'post', enctype: 'text/plain', action: '{url}orders'}}"
        form = f"Object.assign(document.createElement('form'), {what})"
        chromium.value(f"(() => {{ const form = {form}; document.body.append(form); form.submit(); }})()")
        chromium.eventually("document.body !== null && /a page of/.test(document.body.innerText)")
        assert operations.given == []


def test_a_name_that_was_made_to_point_here_gets_nothing(chromium: Browser) -> None:
    """DNS rebinding: the browser takes it for the same origin."""
    with carried(pool(), token=TOKEN) as url:
        chromium.open(f"http://rebound.test:{urlsplit(url).port}/")
        chromium.eventually("document.body !== null && /is no name of this server/.test(document.body.innerText)")
        asked = f"fetch('/orders', {{method: 'POST', body: '{ORDER}', headers: {{Authorization: 'Bearer {TOKEN}'}}}})"
        assert chromium.value(f"{asked}.then((reply) => reply.status)") == 421


def test_nobody_can_lay_the_page_under_another(chromium: Browser) -> None:
    """Clickjacking."""
    with carried(pool(), token=TOKEN) as url, elsewhere(f"<iframe src='{url}'></iframe>") as other:
        chromium.open(other)
        chromium.eventually("document.querySelector('iframe') !== null")

        def told() -> str:
            chromium.value("1")  # events come with answers
            return "\n".join(chromium.complaints())

        eventually(lambda: "frame-ancestors" in told(), "the frame is not refused", 10.0)


# What the page shows.


def hour(**changes: object) -> Timeline:
    led = (Led("192.0.2.1", (3, 3)), Led("192.0.2.2", (1, 1)))
    one = RRsetTimeline("www.example.test.", "A", ((30, 3), (10, 2)), ((3, 4), (2, 1)), 3, 0.99967, led)
    return replace(Timeline(0.0, 10.0, 60.0, (0, 100, 5000), (one,), 0), **changes)  # type: ignore[arg-type]


def test_the_last_hour_is_drawn_and_told(chromium: Browser) -> None:
    operations = pool()
    operations.hour = hour()
    operations.now = replace(operations.now, server=replace(QUIET.server, name="ns1.example.test"))
    with carried(operations) as url, visiting(chromium, url) as page:
        page.eventually("document.querySelectorAll('svg.hour').length === 4")
        nodes = page.call("Accessibility.getFullAXTree")["nodes"]
        names = {node["name"]["value"] for node in nodes if "name" in node}
        assert "addresses up in the last hour: 2 to 3, now 2" in names
        assert "TTL in the last hour: 10 to 30 s, now 10 s" in names
        assert "leading answers in the last hour: 192.0.2.1 75 %, 192.0.2.2 25 %" in names
        assert "in the last hour: queries 500 /s, at most 500 /s" in names
        assert "available 99.967 % since the start" in page.text()
        assert page.value("document.querySelector('svg.hour.up .edge').getAttribute('d')") == "M355 2.0H359V14.3H360"
        assert page.value("document.querySelector('h1').innerText") == "dnslb ns1.example.test"
        assert page.value("document.title") == "dnslb ns1.example.test"


def test_a_pool_has_a_page_of_its_own(chromium: Browser) -> None:
    one = rrset(backend("192.0.2.1", share=1.0))
    pools = tuple(PoolStatus(f"{name}.example.test.", (one,)) for name in "abc")
    changes = tuple(Change(1.0, f"{name}.example.test.", "192.0.2.1", "up", f"reason {name}") for name in "abc")
    with carried(MadeUp(replace(QUIET, pools=pools), changes)) as url, visiting(chromium, url) as page:
        count = "document.querySelectorAll('article').length"
        page.eventually(f"{count} === 3")
        page.value("document.querySelectorAll('h3 a')[1].click()")
        page.eventually(f"{count} === 1")
        assert page.value("location.hash") == "#pool/b.example.test."
        assert page.value("document.title").startswith("b.example.test. · dnslb")
        assert "reason b" in page.value(CHANGES)
        assert "reason a" not in page.value(CHANGES)
        assert page.value("document.activeElement.id") == "pools-title"
        page.call("Page.reload")
        page.eventually(f"{LIVE} && {count} === 1")
        page.value("document.querySelector('#pools-title a').click()")
        page.eventually(f"{count} === 3")
        page.value("void (location.hash = '#pool/none.example.test.')")
        page.eventually("/There is no pool none.example.test. here/.test(document.body.innerText)")


def test_the_history_is_filtered(chromium: Browser) -> None:
    changes = tuple(
        Change(float(number), f"n{number}.example.test.", "192.0.2.1", "up" if number % 2 else "down", "x")
        for number in range(100)
    )
    with carried(MadeUp(QUIET, changes)) as url, visiting(chromium, url) as page:
        count = "document.querySelectorAll('.changes li').length"
        page.eventually(f"{count} === 20")
        page.value("document.getElementById('changes-filter').focus()")
        type_(page, "N1 Up")
        page.eventually(f"{count} === 6")  # n1, n11, n13, …, n19
        type_(page, " nothing")
        page.eventually(f"/None of those/.test({CHANGES})")
        page.value("document.getElementById('changes-filter').value = ''")
        choose = "e.selectedIndex = {}; e.dispatchEvent(new Event('change'))"
        page.value(f"((e) => {{ {choose.format(1)} }})(document.getElementById('changes-kind'))")
        page.eventually(f"{count} === 100")
        page.value(f"((e) => {{ {choose.format(2)} }})(document.getElementById('changes-kind'))")
        page.eventually(f"/None of those/.test({CHANGES})")


def test_zones_and_secondaries_are_beside_the_pools(chromium: Browser) -> None:
    zones = (ZoneStatus("a.test.", 1), ZoneStatus("b.test.", 8, time.time(), "serial 7 → 8, 2 records added, 1 gone"))
    now = time.time()
    secondaries = (
        SecondaryStatus("b.test.", "192.0.2.53:53", 8, 8, False, now - 5, ""),
        SecondaryStatus("a.test.", "192.0.2.54:53", None, 1, True, now - 300, "timed out"),
    )
    status = replace(QUIET, zones=zones, secondaries=secondaries)
    with carried(MadeUp(status)) as url, visiting(chromium, url) as page:
        page.eventually("document.querySelectorAll('#zones li').length === 2")
        first = page.value("document.querySelector('#zones li').innerText")
        assert "b.test." in first
        assert "serial 7 → 8, 2 records added, 1 gone" in first
        first = page.value("document.querySelector('#secondaries li').innerText")
        for told in ("lags", "a.test.", "192.0.2.54:53", "for 5 min", "timed out"):
            assert told in first
        left = page.value("document.querySelector('.aside').getBoundingClientRect().left")
        assert left > 700, "the right column is used"


def test_a_server_that_is_silent_is_said_to_be_within_three_seconds(tmp_path: Path, chromium: Browser) -> None:
    port = free_port()
    zones = tmp_path / "zones"
    zones.mkdir()
    (zones / "example.test.zone").write_text("@ 30 SOA a b 1 1 1 1 1\n@ 30 NS a\na 30 A 192.0.2.1\na 30 A 192.0.2.2\n")
    options = ("--listen", f"127.0.0.1:{free_port()}", "--workers", "1", "--admin", f"127.0.0.1:{port}")
    with started(tmp_path, *options) as server, visiting(chromium, f"http://127.0.0.1:{port}/") as page:
        pid = server.popen.pid
        os.kill(pid, signal.SIGSTOP)
        try:
            page.eventually("/No connection since .*: no answer/.test(document.body.innerText)", 3.0)
        finally:
            os.kill(pid, signal.SIGCONT)
        page.eventually(LIVE, 3.0)
        assert "No connection" not in page.text()
