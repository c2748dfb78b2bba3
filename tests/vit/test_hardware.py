import os

import torch

from vit import hardware


def test_threads_follow_the_containers_quota(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(8)), raising=False)
    quota = tmp_path / "cpu.max"
    monkeypatch.setattr(hardware, "_QUOTA_V2", quota)
    for text, threads in (
        ("250000 100000\n", 2),
        ("max 100000\n", 8),
        ("50000 100000\n", 1),
        ("1600000 100000", 8),
    ):
        quota.write_text(text)
        assert hardware.available_threads() == threads


def test_threads_without_any_quota_are_the_cores(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 3}, raising=False)
    for name in ("_QUOTA_V1", "_QUOTA_V2", "_PERIOD_V1"):
        monkeypatch.setattr(hardware, name, tmp_path / "absent")
    assert hardware.available_threads() == 2


def test_bfloat16_is_chosen_only_where_the_processor_multiplies_it(monkeypatch):
    for avx512, amx, dtype in (
        (True, False, torch.bfloat16),
        (False, True, torch.bfloat16),
        (False, False, torch.float32),
    ):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda flag=avx512: flag)
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda flag=amx: flag)
        assert hardware.best_dtype() == dtype


def test_the_device_is_the_gpu_where_there_is_one(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert hardware.best_device() == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert hardware.best_device() == torch.device("cuda", 0)
