"""Who may see the page and who may change things: users, sessions, tokens against forged requests. Pure.

Time comes in as an argument, randomness from `secrets`. On loopback without a users file everybody is allowed
everything; any other address needs a file (see `require_users`).
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
import secrets
from collections import OrderedDict
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from schemas.errors import SettingsError

SESSION_S: Final = 12 * 3600.0
MAX_SESSIONS: Final = 1_000
LOGIN_TRIES: Final = 5
LOGIN_WINDOW_S: Final = 60.0
MAX_ADDRESSES: Final = 10_000
_SCRYPT_N, _SCRYPT_R, _SCRYPT_P = 2**14, 8, 1
_SALT_BYTES = 16
_LINE = re.compile(
    r"(?P<name>[^:\s]+):(?P<role>look|change):(?P<hash>scrypt\$(?:[0-9a-f]{2}){16,64}\$(?:[0-9a-f]{2}){64})"
)


class UserRole(StrEnum):
    """What a user may do: `look` sees everything, `change` may also label frames and send dead letters again."""

    LOOK = "look"
    CHANGE = "change"


def hash_password(password: str) -> str:
    """A line's third part: `scrypt$SALT$HASH` in hexadecimal, different at each call."""
    salt = secrets.token_bytes(_SALT_BYTES)
    return f"scrypt${salt.hex()}${_scrypt(password, salt).hex()}"


def _scrypt(password: str, salt: bytes) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, n=_SCRYPT_N, r=_SCRYPT_R, p=_SCRYPT_P)


@dataclass(frozen=True, slots=True)
class User:
    """One line of the users file."""

    name: str
    role: UserRole
    password_hash: str

    def has_password(self, password: str) -> bool:
        """True for the user's password; takes as long for any other."""
        _, salt, wanted = self.password_hash.split("$")
        return hmac.compare_digest(_scrypt(password, bytes.fromhex(salt)), bytes.fromhex(wanted))


_NOBODY = User("", UserRole.LOOK, hash_password(secrets.token_hex()))


def read_users(path: Path) -> dict[str, User]:
    """The users of a file with lines `NAME:look|change:scrypt$SALT$HASH`; `#` begins a comment.

    `saccade page --hash-password` makes the last part.

    Raises:
        SettingsError: the file cannot be read or a line is not of that shape; names file and line.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise SettingsError(f"page.users_file {path}: {error.strerror}") from None
    users: dict[str, User] = {}
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        match = _LINE.fullmatch(text)
        if match is None or match["name"] in users:
            raise SettingsError(
                f"page.users_file {path}, line {number}: want NAME:look|change:scrypt$SALT$HASH, each name once"
            )
        users[match["name"]] = User(match["name"], UserRole(match["role"]), match["hash"])
    if not users:
        raise SettingsError(f"page.users_file {path}: holds no user")
    return users


def is_loopback(host: str) -> bool:
    """True for addresses that only this machine reaches."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def require_users(host: str, users: dict[str, User]) -> None:
    """Returns where the address needs no users, or has some.

    Raises:
        SettingsError: others than this machine could reach a page without a password.
    """
    if not users and not is_loopback(host):
        raise SettingsError(
            f"page.host = {host}: others can reach this address; set page.users_file, or use 127.0.0.1"
        )


@dataclass(frozen=True, slots=True)
class Login:
    """One signed-in browser. `csrf` must come back with every request that changes something."""

    user: str
    role: UserRole
    csrf: str
    ends_s: float


class Sessions:
    """The sessions of this process; the oldest goes when there are too many.

    State: `_by_token` (oldest first) and the failed tries of each address.
    """

    def __init__(self, users: dict[str, User]) -> None:
        self._users = users
        self._by_token: OrderedDict[str, Login] = OrderedDict()
        self._tries: OrderedDict[str, list[float]] = OrderedDict()
        self._open = Login("", UserRole.CHANGE, secrets.token_urlsafe(16), float("inf"))

    @property
    def need_login(self) -> bool:
        """False where everybody who reaches the page is allowed everything."""
        return bool(self._users)

    def wait_s(self, address: str, now_s: float) -> float:
        """How long an address must wait before it may try to sign in; 0 = now."""
        tries = [at for at in self._tries.get(address, ()) if now_s - at < LOGIN_WINDOW_S]
        return 0.0 if len(tries) < LOGIN_TRIES else tries[-LOGIN_TRIES] + LOGIN_WINDOW_S - now_s

    def note_try(self, address: str, now_s: float) -> None:
        """The try counts as a wrong one from here on, so that tries at the same time count, too."""
        tries = [at for at in self._tries.pop(address, []) if now_s - at < LOGIN_WINDOW_S]
        self._tries[address] = [*tries, now_s]
        while len(self._tries) > MAX_ADDRESSES:
            self._tries.popitem(last=False)

    def user_of(self, name: str, password: str) -> User | None:
        """The user, None for a wrong name or password. Takes 50 ms and changes nothing: call it in a thread."""
        user = self._users.get(name, _NOBODY)
        return user if user.has_password(password) and user is not _NOBODY else None

    def sign_in(self, user: User, address: str, tried_s: float, now_s: float) -> str:
        """A new session's token; the try that `note_try` counted at `tried_s` was a right one."""
        tries = self._tries.get(address, [])
        if tried_s in tries:
            tries.remove(tried_s)
        token = secrets.token_urlsafe(32)
        self._by_token[token] = Login(user.name, user.role, secrets.token_urlsafe(16), now_s + SESSION_S)
        while len(self._by_token) > MAX_SESSIONS:
            self._by_token.popitem(last=False)
        return token

    def sign_out(self, token: str) -> None:
        """The token is worth nothing any more."""
        self._by_token.pop(token, None)

    def of(self, token: str | None, now_s: float) -> Login | None:
        """The session of a token; the open one where no login is needed; None without one."""
        if not self._users:
            return self._open
        session = self._by_token.get(token or "")
        if session is not None and session.ends_s <= now_s:
            self.sign_out(token or "")
            return None
        return session


def may_change(session: Login, csrf: str | None) -> bool:
    """True where the role allows changes and the request comes from the page itself."""
    return session.role is UserRole.CHANGE and hmac.compare_digest(
        session.csrf.encode(), (csrf or "").encode()
    )
