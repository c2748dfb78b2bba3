from __future__ import annotations

import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.sequence import Sequence, SequenceFile, producer_id
from schemas.errors import LeaseError, SettingsError

RESERVE_THEN_DIE = """
import os, signal, sys
from pathlib import Path
from producers.sequence import Sequence, SequenceFile, producer_id
file = SequenceFile(Path(sys.argv[1]), "site/cam")
sequence = Sequence(file.bound() or 0, block=1000)
used = []
while len(used) < int(sys.argv[2]):
    if (bound := sequence.wanted_bound) is not None:
        file.reserve(bound)
        sequence.reserved(bound)
        if len(used) + 1 > int(sys.argv[2]):
            break
    used.append(sequence.next())
print(*used, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def run_and_kill(folder: Path, num_frames: int) -> list[int]:
    result = subprocess.run(
        [sys.executable, "-c", RESERVE_THEN_DIE, str(folder), str(num_frames)],
        capture_output=True,
        check=False,
        text=True,
    )
    assert result.returncode == -signal.SIGKILL, result.stderr
    return [int(word) for word in result.stdout.split()]


def test_numbers_are_never_reused_when_the_process_is_killed_between_reserving_and_using(
    tmp_path: Path,
) -> None:
    used: list[int] = []
    for num_frames in (3, 1000, 1001):
        numbers = run_and_kill(tmp_path, num_frames)
        assert len(numbers) == num_frames
        assert not used or numbers[0] > used[-1]
        used += numbers
    assert used == sorted(set(used))


def test_a_killed_holder_lets_go_of_its_camera(tmp_path: Path) -> None:
    run_and_kill(tmp_path, 1)
    SequenceFile(tmp_path, "site/cam").close()


def test_a_second_process_on_the_machine_is_refused_and_the_camera_named(tmp_path: Path) -> None:
    first = SequenceFile(tmp_path, "cam")
    with pytest.raises(LeaseError, match="camera cam: another producer"):
        SequenceFile(tmp_path, "cam")
    SequenceFile(tmp_path, "other").close()
    first.close()
    SequenceFile(tmp_path, "cam").close()


def test_without_a_file_there_is_no_bound_and_a_reserved_one_is_read_back(tmp_path: Path) -> None:
    file = SequenceFile(tmp_path / "new" / "folder", "site/cam")
    assert file.bound() is None
    file.reserve(1024)
    file.reserve(2048)
    assert file.bound() == 2048
    file.close()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"format":1,"camera":"other","reserved_below":5}',
        '{"format":1,"camera":"cam"}',
        '{"format":1,"camera":"cam","reserved_below":-1}',
        '{"format":1,"camera":"cam","reserved_below":"5"}',
    ],
)
def test_a_damaged_file_is_an_error_that_says_the_way_out_and_never_a_start_from_zero(
    tmp_path: Path, text: str
) -> None:
    file = SequenceFile(tmp_path, "cam")
    (tmp_path / "cam.json").write_text(text)
    with pytest.raises(SettingsError, match="delete it"):
        file.bound()
    file.close()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match=r"producer\.state_dir"):
        SequenceFile(tmp_path / "file" / "state", "cam")


def test_a_leftover_of_an_interrupted_reservation_changes_nothing(tmp_path: Path) -> None:
    file = SequenceFile(tmp_path, "cam")
    file.reserve(1024)
    (tmp_path / "cam.new").write_text("{half")
    assert file.bound() == 1024
    file.reserve(2048)
    assert file.bound() == 2048
    file.close()


def test_an_unreserved_number_is_never_given() -> None:
    with pytest.raises(ValueError, match="5 is not reserved"):
        Sequence(5, block=9).next()


@given(first=st.integers(0, 10**12), num_frames=st.integers(0, 300), block=st.integers(1, 100))
def test_numbers_are_dense_and_below_what_was_reserved(first: int, num_frames: int, block: int) -> None:
    sequence, bound, given_numbers = Sequence(first, block=block), first, []
    for _ in range(num_frames):
        if (wanted := sequence.wanted_bound) is not None:
            bound = wanted
            sequence.reserved(bound)
        given_numbers.append(sequence.next())
    assert given_numbers == list(range(first, first + num_frames))
    assert first + num_frames <= bound <= first + num_frames + block


def test_all_producers_of_a_state_folder_have_one_name_and_others_another(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
    with ThreadPoolExecutor(8) as pool:
        names = set(pool.map(lambda _: producer_id(tmp_path / "a"), range(50)))
    assert len(names) == 1
    assert producer_id(tmp_path / "b") not in names
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["producer-id"]
