from pathlib import Path

import numpy as np

from lab.evaluation.chunk_store import ChunkStore


def test_arrays_come_back_under_their_key_only(tmp_path: Path) -> None:
    store = ChunkStore(tmp_path)
    assert store.load({"a": 1}) is None
    store.save({"a": 1, "b": [1.5]}, {"x": np.arange(3), "y": np.ones((2, 2), np.float32)})
    found = store.load({"b": [1.5], "a": 1})
    assert found is not None
    assert found["x"].tolist() == [0, 1, 2]
    assert found["y"].dtype == np.float32
    assert store.has({"a": 1, "b": [1.5]})
    assert store.load({"a": 2, "b": [1.5]}) is None


def test_a_damaged_or_unfinished_file_counts_as_missing(tmp_path: Path) -> None:
    store = ChunkStore(tmp_path)
    store.save({"a": 1}, {"x": np.arange(1000)})
    (path,) = tmp_path.rglob("*.npz")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert store.load({"a": 1}) is None
    path.write_bytes(b"")
    assert store.load({"a": 1}) is None
    path.unlink()
    path.with_suffix(".partial").write_bytes(whole)
    assert not store.has({"a": 1})
