"""Nobody sees anything of a page that others can reach without a password; changes need the role and the token."""

from __future__ import annotations

from pathlib import Path

import pytest

from page.access import (
    LOGIN_TRIES,
    LOGIN_WINDOW_S,
    SESSION_S,
    Sessions,
    User,
    UserRole,
    hash_password,
    is_loopback,
    may_change,
    read_users,
    require_users,
)
from schemas.errors import SettingsError

ADA = User("ada", UserRole.CHANGE, hash_password("lovelace"))
BOB = User("bob", UserRole.LOOK, hash_password("builder"))
USERS = {"ada": ADA, "bob": BOB}


def test_a_hash_is_salted_and_knows_its_password() -> None:
    assert hash_password("lovelace") != ADA.password_hash
    assert ADA.has_password("lovelace")
    assert not ADA.has_password("Lovelace")


def test_the_users_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "users"
    path.write_text(f"\ufeff# who\n\nada:change:{ADA.password_hash}\r\nbob:look:{BOB.password_hash}\n")
    assert read_users(path) == USERS


@pytest.mark.parametrize(
    "line", ["ada", "ada:admin:scrypt$00$00", "ada:look:plain", ":look:" + ADA.password_hash]
)
def test_a_wrong_line_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "users"
    path.write_text(f"bob:look:{BOB.password_hash}\n{line}\n")
    with pytest.raises(SettingsError, match="line 2") as caught:
        read_users(path)
    assert "plain" not in str(caught.value)


def test_a_file_without_users_is_refused(tmp_path: Path) -> None:
    (tmp_path / "users").write_text("# nobody\n")
    with pytest.raises(SettingsError, match="no user"):
        read_users(tmp_path / "users")
    with pytest.raises(SettingsError, match="users_file"):
        read_users(tmp_path / "absent")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_this_machine_needs_no_password(host: str) -> None:
    assert is_loopback(host)
    require_users(host, {})


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.7", "camera-box"])
def test_any_other_address_needs_one(host: str) -> None:
    with pytest.raises(SettingsError, match="users_file"):
        require_users(host, {})
    require_users(host, USERS)


def sign_in(sessions: Sessions, name: str, password: str, address: str, now_s: float) -> str | None:
    sessions.note_try(address, now_s)
    user = sessions.user_of(name, password)
    return None if user is None else sessions.sign_in(user, address, now_s, now_s)


def test_a_session_ends_by_itself_and_by_signing_out() -> None:
    sessions = Sessions(USERS)
    assert sessions.of(None, 0.0) is None
    token = sign_in(sessions, "ada", "lovelace", "10.0.0.1", 0.0)
    assert token is not None
    session = sessions.of(token, SESSION_S - 1)
    assert session is not None
    assert (session.user, session.role) == ("ada", UserRole.CHANGE)
    assert sessions.of(token, SESSION_S) is None
    again = sign_in(sessions, "ada", "lovelace", "10.0.0.1", 0.0)
    assert again is not None
    sessions.sign_out(again)
    assert sessions.of(again, 1.0) is None


@pytest.mark.parametrize(("name", "password"), [("ada", "builder"), ("eve", "lovelace"), ("", "")])
def test_a_wrong_name_or_password_signs_nobody_in(name: str, password: str) -> None:
    assert sign_in(Sessions(USERS), name, password, "10.0.0.1", 0.0) is None


def test_wrong_tries_make_an_address_wait_and_no_other() -> None:
    sessions = Sessions(USERS)
    for second in range(LOGIN_TRIES):
        assert sessions.wait_s("10.0.0.1", float(second)) == 0.0
        sign_in(sessions, "ada", "guess", "10.0.0.1", float(second))
    assert sessions.wait_s("10.0.0.1", 10.0) == LOGIN_WINDOW_S - 10.0
    assert sessions.wait_s("10.0.0.2", 10.0) == 0.0
    assert sessions.wait_s("10.0.0.1", LOGIN_WINDOW_S) == 0.0


def test_changes_need_the_role_and_the_pages_own_token() -> None:
    sessions = Sessions(USERS)
    ada = sessions.of(sign_in(sessions, "ada", "lovelace", "a", 0.0), 1.0)
    bob = sessions.of(sign_in(sessions, "bob", "builder", "a", 0.0), 1.0)
    assert ada is not None
    assert bob is not None
    assert may_change(ada, ada.csrf)
    assert not may_change(ada, None)
    assert not may_change(ada, bob.csrf)
    assert not may_change(bob, bob.csrf)
    assert not may_change(ada, "ü")


def test_without_users_everybody_who_reaches_the_page_may_change() -> None:
    sessions = Sessions({})
    session = sessions.of(None, 0.0)
    assert session is not None
    assert may_change(session, session.csrf)
    assert not may_change(session, None)


def test_tries_that_are_being_checked_count_and_right_ones_do_not() -> None:
    sessions = Sessions(USERS)
    for _ in range(LOGIN_TRIES):
        assert sign_in(sessions, "ada", "lovelace", "10.0.0.1", 0.0) is not None
    assert sessions.wait_s("10.0.0.1", 0.0) == 0.0
    for _ in range(LOGIN_TRIES):
        sessions.note_try("10.0.0.1", 0.0)
    assert sessions.wait_s("10.0.0.1", 0.0) > 0.0
