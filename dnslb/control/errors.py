"""Why what was asked of the server is not done; the fact and the remedy are for whoever has asked."""

from __future__ import annotations


class Rejected(Exception):
    """What was asked cannot be done, and nothing has changed."""

    def __init__(self, fact: str, remedy: str) -> None:
        super().__init__(f"{fact}; {remedy}")
        self.fact = fact
        self.remedy = remedy


class Unknown(Rejected):
    """No pool has that name, or no backend that address."""


class NotReloaded(Rejected):
    """The files cannot be served; the old data go on being served."""

    def __init__(self, fact: str, remedy: str, problems: tuple[str, ...]) -> None:
        super().__init__(fact, remedy)
        self.problems = problems


class Delayed(Exception):
    """The order is given, but a worker has not acknowledged it in time."""
