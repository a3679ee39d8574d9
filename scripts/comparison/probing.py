"""The one set of probe settings, for dnslb, HAProxy and Envoy alike: short, so that experiments are."""

from __future__ import annotations

from dnslb.balance.pool import HttpCheck, Probe

PATH = "/healthz"
INTERVAL = 1.0      # seconds
TIMEOUT = 0.5       # seconds
FALL = 3
RISE = 2


def probe(port: int) -> Probe:
    """As dnslb's formulas take it."""
    return Probe(HttpCheck(port, PATH), interval=INTERVAL, timeout=TIMEOUT, fall=FALL, rise=RISE)


def describe() -> str:
    return (f"GET {PATH} every {INTERVAL:g} s, timeout {TIMEOUT:g} s, down after {FALL} failures, "
            f"up after {RISE} successes")
