"""A library that an installation lacks is named in one line, whichever extra brings it."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

from saccade.parts import LIBRARIES, missing

ROOT = Path(__file__).resolve().parents[2]


def distributions_of_extras() -> set[str]:
    with (ROOT / "pyproject.toml").open("rb") as file:
        extras = tomllib.load(file)["project"]["optional-dependencies"]
    names = (re.split(r"[\[>=;< ]", line)[0].lower() for lines in extras.values() for line in lines)
    return set(names) - {"saccade"}


def test_every_library_that_an_extra_brings_is_known_as_one_that_may_be_missing() -> None:
    modules: dict[str, set[str]] = {}
    for module, distributions in packages_distributions().items():
        for distribution in distributions:
            modules.setdefault(distribution.lower(), set()).add(module)
    installed = distributions_of_extras() & set(modules)
    assert len(installed) >= 12
    assert {name for name in installed if not modules[name] & LIBRARIES} == set()


def test_a_missing_module_of_an_extra_is_an_error_of_one_line_and_an_unknown_one_is_a_bug() -> None:
    found = missing(ModuleNotFoundError("no", name="constriction.stream"))
    assert "lacks the library 'constriction'" in str(found)
    assert missing(ModuleNotFoundError("no", name="schemas.nothing")) is None
