"""Which addresses of a pool are handed out, and with which weight.

Pure: no clock, no I/O.  Health and orders come in; ``rotation`` makes arrangements of what comes out.

**Which.**  A backend is up unless a probe says otherwise: without a probe, and before its first outcome, it is up.  It
is available when it is up and no order takes it out.  Of the available ones the best rank is handed out, alone:

1. those of weight above 0 that are no backups;
2. backups of weight above 0;
3. those of weight 0 that are no backups;
4. backups of weight 0.

When none is available, the answer is empty (NODATA) if the pool says ``when_all_down: none``; else it is, whatever
the rank, the first of these that is not empty:

- all that no order takes out: they are down, and the pool fails open.  The operator's word beats health: what is
  drained stays out although it may be up;
- all that are up: everything is drained, which health had no part in, so that the pool does not fail open;
- all: everything is drained, and down.  The pool fails open.

With ``fail_open_below`` few can be as bad as none: they would break under the load of all.  So the pool fails open
also when what would be handed out has less than that share of the weight that no order takes out, backups and who is
not judged yet aside.

**Load** (see ``load``): who is drained by its agent's word counts as one of weight 0.  Of those that would be handed
out the overloaded are not, unless all of them are: then nobody's load counts, as when the pool fails open.

**Weights** are those of the policy, 0 counting as 1, times what load leaves of them.  After a recovery (not after the
start of the program), and after it has joined, a backend begins with 10 % of its weight and gains 10 % more in each
ninth of ``slowstart``.  While every address handed out is ramping, none could take what the others are spared: so all
are weighted as they will be when the first of them is done.  Equally old recoveries change nothing then, and one that
comes later than another gets less, but never a moment of full load before its ramp.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import gcd, inf, lcm
from types import MappingProxyType

from dnslb.balance.health import NOT_YET, Health
from dnslb.balance.load import NOBODY, STEPS, Burden, Standing
from dnslb.balance.operator_order import Mode, Order, Scope, mode_for, next_change_for
from dnslb.balance.pool import Address, AllDown, Backend, Pool

# The sum of weights is the number of arrangements in a table of ready replies.
MOST_TURNS = 256
_NO_BURDENS: Mapping[Address, Burden] = MappingProxyType({})
_STEPS = 9  # of a ramp, from one tenth of the weight to ten


@dataclass(frozen=True, slots=True)
class Share:
    """One address, and how often it leads: ``weight`` times out of the sum of all."""

    address: Address
    weight: int  # 1 or more


@dataclass(frozen=True, slots=True)
class Selection:
    """What is handed out."""

    shares: tuple[Share, ...]  # in the zone file's order; empty: NODATA
    fails_open: bool           # some of these are down, for want of enough that are up
    up: int = 0                # while it fails open: those of them that are up


def select(  # noqa: PLR0913, PLR0917 - each is a fact of its own, and none belongs to another
    pool: Pool,
    version: int,
    healths: Mapping[Address, Health],
    orders: Mapping[Scope, Order],
    now: float,
    burdens: Mapping[Address, Burden] = _NO_BURDENS,
) -> Selection:
    """What the pool's A (``version`` 4) or AAAA (6) RRset consists of, by the rules above.

    ``healths`` are those of the pool's probe, by the probed address, and so are ``burdens``.  The addresses of the
    other version have no say.
    """
    chosen, fails_open = _choose(pool, version, healths, orders, now, burdens)
    up = sum(_is_up(pool, backend, healths) for backend in chosen) if fails_open else 0
    weights = _weights(pool, chosen, healths, now)
    if burdens and not fails_open:
        weights = _left(weights, chosen, burdens)
    places = zip(chosen, quantise(weights), strict=True)
    shares = (Share(backend.address, weight) for backend, weight in places)
    return Selection(tuple(shares), fails_open, up)


def next_change(
    pool: Pool,
    healths: Mapping[Address, Health],
    orders: Mapping[Scope, Order],
    now: float,
    burdens: Mapping[Address, Burden] = _NO_BURDENS,
) -> float | None:
    """The time up to which ``select`` gives, for both versions, what it gives now, as long as nothing else changes.

    None: for ever.  A step that rounding hides, or an order on a backend that is down anyway, counts as a change.
    """
    addresses = (backend.address for backend in pool.backends)
    times = [next_change_for(orders, pool.owner, address, now) for address in addresses]
    for version in (4, 6) if pool.slowstart > 0 else ():
        chosen, _ = _choose(pool, version, healths, orders, now, burdens)
        times += _steps_ahead(pool, chosen, healths, now)
    return min((time for time in times if time is not None), default=None)


def quantise(weights: Sequence[Fraction | float]) -> tuple[int, ...]:
    """The weights, all above 0, as small whole numbers: each 1 or more, their sum at most 256, no common divisor.

    Exact if that is possible.  Else 256 leading places are dealt out by largest remainder (Hamilton's method), one at
    least to each: a share is then off by less than 1/256 if every one's due is a place or more; if *p* members got
    their place for less, by less than (1 + *p*)/256.  A larger weight never gets fewer places than a smaller one; equal
    ones may differ by one place.  More than 256 members cannot differ: each gets 1.
    """
    if len(weights) > MOST_TURNS or len(set(weights)) == 1:
        return (1,) * len(weights)
    whole = _reduced(_whole(weights))
    return whole if sum(whole) <= MOST_TURNS else _reduced(_deal(whole, MOST_TURNS))


def _choose(  # noqa: PLR0913, PLR0917 - as ``select``
    pool: Pool,
    version: int,
    healths: Mapping[Address, Health],
    orders: Mapping[Scope, Order],
    now: float,
    burdens: Mapping[Address, Burden],
) -> tuple[list[Backend], bool]:
    """The backends that are handed out, and whether that is failing open."""
    backends = [backend for backend in pool.backends if backend.address.version == version]
    ready = [backend for backend in backends if mode_for(orders, pool.owner, backend.address, now) is Mode.READY]
    available = [backend for backend in ready if _is_up(pool, backend, healths)]
    if available:
        best = min(_rank(backend, burdens) for backend in available)
        chosen = [backend for backend in available if _rank(backend, burdens) == best]
        if _are_too_few(pool, chosen, ready, healths):
            return ready, True
        return [backend for backend in chosen if not _burden(backend, burdens).is_over] or chosen, False
    if pool.when_all_down is AllDown.NONE:
        return [], False
    if ready:
        return ready, True
    up = [backend for backend in backends if _is_up(pool, backend, healths)]
    return (up, False) if up else (backends, bool(backends))


def _are_too_few(
    pool: Pool, chosen: list[Backend], ready: list[Backend], healths: Mapping[Address, Health]
) -> bool:
    if not pool.fail_open_below or pool.probe is None:
        return False
    regular = [backend for backend in ready if not backend.backup and healths.get(backend.target) is not NOT_YET]
    weight, of_weight = (sum(backend.weight for backend in each) for each in (chosen, regular))
    return 100 * weight < pool.fail_open_below * of_weight


def _rank(backend: Backend, burdens: Mapping[Address, Burden]) -> tuple[bool, bool]:
    return backend.weight == 0 or _burden(backend, burdens).standing is Standing.DRAIN, backend.backup


def _burden(backend: Backend, burdens: Mapping[Address, Burden]) -> Burden:
    return burdens.get(backend.target, NOBODY) if burdens else NOBODY


def _is_up(pool: Pool, backend: Backend, healths: Mapping[Address, Health]) -> bool:
    health = _health(pool, backend, healths)
    return health is None or health.up


def _health(pool: Pool, backend: Backend, healths: Mapping[Address, Health]) -> Health | None:
    # A pool whose probe was taken out of the policy does not go by its last verdict.
    return None if pool.probe is None else healths.get(backend.target)


def _weights(pool: Pool, chosen: list[Backend], healths: Mapping[Address, Health], now: float) -> list[Fraction]:
    if pool.slowstart <= 0:
        return [Fraction(max(1, backend.weight)) for backend in chosen]
    ramps = [_ramp(pool, backend, healths) for backend in chosen]
    moment = _moment(ramps, now)
    return [
        Fraction(max(1, backend.weight) * (1 + sum(step <= moment for step in ramp)), 1 + len(ramp))
        for backend, ramp in zip(chosen, ramps, strict=True)
    ]


def _left(weights: list[Fraction], chosen: list[Backend], burdens: Mapping[Address, Burden]) -> list[Fraction]:
    """What load leaves of these weights."""
    found = [_burden(backend, burdens) for backend in chosen]
    if all(burden.is_over for burden in found):
        return weights
    return [weight * Fraction(burden.steps, STEPS) for weight, burden in zip(weights, found, strict=True)]


def _steps_ahead(
    pool: Pool, chosen: list[Backend], healths: Mapping[Address, Health], now: float
) -> list[float | None]:
    ramps = [_ramp(pool, backend, healths) for backend in chosen]
    moment = _moment(ramps, now)
    return [step for ramp in ramps for step in ramp if moment < step]


def _ramp(pool: Pool, backend: Backend, healths: Mapping[Address, Health]) -> tuple[float, ...]:
    """The times at which the backend gains a tenth of its weight; none when it has had all of it from the start."""
    health = _health(pool, backend, healths)
    begun = (backend.joined, health.since if health is not None and health.recovered else None)
    since = max((at for at in begun if at is not None), default=None)
    if since is None or pool.slowstart <= 0:
        return ()
    return tuple(since + pool.slowstart * (step / _STEPS) for step in range(1, _STEPS + 1))


def _moment(ramps: list[tuple[float, ...]], now: float) -> float:
    """When to read the ramps: now, or, while all are ramping, when the first is done."""
    return max(now, min((ramp[-1] if ramp else -inf for ramp in ramps), default=now))


def _whole(weights: Sequence[Fraction | float]) -> list[int]:
    """The same in proportion."""
    if all(isinstance(weight, int) for weight in weights):
        return [int(weight) for weight in weights]
    exact = [Fraction(weight) for weight in weights]
    scale = lcm(*(weight.denominator for weight in exact))
    return [int(weight * scale) for weight in exact]


def _reduced(weights: Sequence[int]) -> tuple[int, ...]:
    divisor = gcd(*weights) or 1
    return tuple(weight // divisor for weight in weights)


def _deal(weights: Sequence[int], places: int) -> tuple[int, ...]:
    """So many places, in proportion to the weights, one at least to each; no more weights than places."""
    dealt = [1] * len(weights)
    rest = list(range(len(weights)))
    while True:
        left, total = places - (len(weights) - len(rest)), sum(weights[position] for position in rest)
        larger = [position for position in rest if weights[position] * left >= total]
        if len(larger) == len(rest):
            break
        rest = larger
    for position in rest:
        dealt[position] = weights[position] * left // total
    spare = places - sum(dealt)
    rest.sort(key=lambda position: weights[position] * left % total, reverse=True)
    for position in rest[:spare]:
        dealt[position] += 1
    return tuple(dealt)
