import pytest

from lab.evaluation.models import forward_macs, server_macs, transformer_macs


def test_deit_base_on_all_patches_matches_the_papers_table() -> None:
    assert forward_macs(196, 768, 12) / 1e9 == pytest.approx(17.58, abs=0.02)


def test_deit_tiny_on_all_patches_matches_the_papers_table() -> None:
    assert forward_macs(196, 192, 12) / 1e9 == pytest.approx(1.26, abs=0.02)


def test_blocks_follow_equation_9() -> None:
    assert transformer_macs(2, 8, 3) == 3 * (12 * 2 * 64 + 2 * 4 * 8)


def test_server_macs_sum_passes_and_skip_frames_without_one() -> None:
    assert server_macs([0, 5, 7], 8, 3) == forward_macs(5, 8, 3) + forward_macs(7, 8, 3)


def test_a_pass_without_patches_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1 patch"):
        forward_macs(0, 8, 3)
