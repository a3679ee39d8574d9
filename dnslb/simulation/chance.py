"""Random numbers that the standard library of Python 3.11 lacks."""

from __future__ import annotations

from math import exp, sqrt
from random import Random

_MANY = 30  # so many that the normal distribution will do


def poisson(rng: Random, mean: float) -> int:
    """Events, of so many on average."""
    if mean > _MANY:
        return max(0, round(rng.gauss(mean, sqrt(mean))))
    number, product, least = 0, rng.random(), exp(-mean)
    while product > least:
        number += 1
        product *= rng.random()
    return number


def binomial(rng: Random, n: int, p: float) -> int:
    """Of ``n``, those that happen with probability ``p`` each."""
    if n * min(p, 1 - p) > _MANY:
        return min(n, max(0, round(rng.gauss(n * p, sqrt(n * p * (1 - p))))))
    if n > 4 * _MANY:  # then one outcome is rare
        rare = min(n, poisson(rng, n * min(p, 1 - p)))
        return rare if p < 0.5 else n - rare
    return sum(rng.random() < p for _ in range(n))
