"""The short form of `readers.py`: some hundred damaged images and some damaged containers, always the same."""

from __future__ import annotations

import importlib.util
import sys
import warnings
from pathlib import Path
from types import ModuleType

import pytest

pytest.importorskip("av")


@pytest.fixture(scope="module")
def readers() -> ModuleType:
    """The program beside this test."""
    spec = importlib.util.spec_from_file_location("fuzz_readers", Path(__file__).parent / "readers.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["fuzz_readers"] = module
    spec.loader.exec_module(module)
    return module


def test_no_damaged_image_ends_a_folder(readers: ModuleType) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's words about damaged files
        found = readers.try_images(seed=7, count=800)
    assert found.failures == []
    assert 0 < found.readable < found.tried == 800


def test_no_damaged_container_ends_a_producer(readers: ModuleType) -> None:
    found = readers.try_containers(seed=7, count=70)
    assert found.failures == []
    assert 0 < found.readable < found.tried == 70
