import os

from vit import threads


def test_threads_follow_the_containers_quota(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(8)), raising=False)
    quota = tmp_path / "cpu.max"
    monkeypatch.setattr(threads, "_QUOTA_V2", quota)
    for text, expected in (
        ("250000 100000\n", 2),
        ("max 100000\n", 8),
        ("50000 100000\n", 1),
        ("1600000 100000", 8),
    ):
        quota.write_text(text)
        assert threads.available_threads() == expected


def test_threads_without_any_quota_are_the_cores(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 3}, raising=False)
    for name in ("_QUOTA_V1", "_QUOTA_V2", "_PERIOD_V1"):
        monkeypatch.setattr(threads, name, tmp_path / "absent")
    assert threads.available_threads() == 2
