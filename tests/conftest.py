"""For all tests: a busy machine must not fail a property that holds."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("dnslb", deadline=None)
settings.load_profile("dnslb")
