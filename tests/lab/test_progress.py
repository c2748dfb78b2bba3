import pytest

from lab.progress import LINE_S, TerminalProgress


def lines(told: str) -> list[str]:
    return told.splitlines()


def test_a_log_gets_lines_as_the_work_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    now_s = [0.0]
    with TerminalProgress(clock=lambda: now_s[0]) as progress:
        progress.start("reading images", 300)
        for _ in range(3):
            now_s[0] += 0.4 * LINE_S
            progress.advance(50)
        progress.say("one image cannot be read")
        now_s[0] += 0.5 * LINE_S
        progress.advance(150)
        progress.start("edge model", 2)
        progress.advance()
    told = capsys.readouterr()
    assert told.out == ""
    assert lines(told.err) == [
        "reading images: 0 of 300",
        "reading images: 150 of 300",
        "one image cannot be read",
        "reading images: 300 of 300",
        "edge model: 0 of 2",
    ]


def test_a_terminal_gets_a_bar(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("TTY_INTERACTIVE", "1")
    with TerminalProgress() as progress:
        progress.start("reading images", 4)
        progress.advance(4)
    told = capsys.readouterr().err
    assert "4/4" in told
    assert "4 of 4" not in told


def test_steps_before_any_stage_count_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with TerminalProgress() as progress:
        progress.advance()
    assert capsys.readouterr().err == ""
