"""For all tests: a busy machine must not fail a property that holds."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import settings

from dnslb.text import yaml_tree

settings.register_profile("dnslb", deadline=None)
settings.load_profile("dnslb")


@pytest.fixture(scope="module", params=["libyaml", "python"])
def yaml_parser(request: pytest.FixtureRequest) -> Iterator[None]:
    """PyYAML with libyaml, and as it is where that was missing when it was built."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "python":
            patch.setattr(yaml_tree, "_LIBYAML", None)
        elif yaml_tree._LIBYAML is None:
            pytest.skip("PyYAML has no libyaml")
        yield
