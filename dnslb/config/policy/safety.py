"""What is wrong with the rules of a pool that keep operators and failures from taking too much out of it.

Pure: no I/O.
"""

from __future__ import annotations

from collections.abc import Collection

from dnslb.balance.pool import AllDown, OnReturn, Pool, Probe
from dnslb.config.policy.setting import PolicySettings
from dnslb.text.document import Document
from dnslb.text.problem import Level


def check_safety(document: Document, pool: Pool, settings: PolicySettings, own: Collection[str]) -> None:
    """``settings``: the pool's own over the defaults; ``own``: the keys that the pool itself has."""
    if pool.fail_open_below and pool.when_all_down is AllDown.NONE:
        node = settings["fail_open_below" if "fail_open_below" in own else "when_all_down"].node
        fact = f"{pool.owner} fails open when few are up (fail_open_below), and is empty when none is (when_all_down)"
        document.report(node, fact, "remove one of the two")
    # As a default it is meant for the pools that it is of use to.
    if pool.probe is None:
        for key in sorted({"fail_open_below", "on_return"}.intersection(own)):
            if key != "on_return" or pool.on_return is OnReturn.MANUAL:
                fact, remedy = f"{key} is of no use without a probe", "add probe:, or remove it"
                document.report(settings[key].node, fact, remedy, Level.WARNING)
    if "min_ready" in own:
        numbers = {version: _number(pool, version) for version in pool.zone_ttls}
        for version, number in numbers.items():
            if pool.min_ready.backends > number:
                fact = f"min_ready: {pool.min_ready} is more than the {number} IPv{version} backends of {pool.owner}"
                remedy = "every order would need --force; write a smaller number"
                document.report(settings["min_ready"].node, fact, remedy, Level.WARNING)


def check_unsteady(document: Document, probe: Probe, settings: PolicySettings) -> None:
    """Whether one outage is taken for many."""
    unsteady = probe.unsteady
    if unsteady is None or unsteady.most > probe.fall:
        return
    least = -(-100 * (probe.fall + 1) // unsteady.of)
    number = f"{unsteady.most} failure{'' if unsteady.most == 1 else 's'}"
    fact = f"unsteady: {unsteady.percent}% of {unsteady.of} is {number}, which an outage reaches by fall: {probe.fall}"
    remedy = f"write at least {least}% of {unsteady.of}" if least <= 100 else "write a share of more probes"
    document.report(settings["unsteady"].node, fact, remedy, Level.WARNING)


def _number(pool: Pool, version: int) -> int:
    return sum(backend.address.version == version for backend in pool.backends)
