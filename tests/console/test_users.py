"""Users: roles, argon2 and its upkeep, the brake on guessing, sessions."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from argon2 import PasswordHasher

from console.users import LoginRefused, UserRefused, UserRole, UserSettings, UserStore
from console.web.sessions import SessionSettings, SessionStore
from events.clock import ManualClock
from events.metrics import LOGINS_REFUSED, counted

CHEAP = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)
PASSWORD = "correct horse battery"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def store(tmp_path: Path, clock: ManualClock) -> UserStore:
    store = UserStore(tmp_path, clock, hasher=CHEAP)
    store.add("olga", UserRole.OFFICER, PASSWORD)
    store.add("adam", UserRole.ADMINISTRATOR, PASSWORD)
    return store


def test_a_user_logs_in_with_the_right_password_only(store: UserStore, clock: ManualClock) -> None:
    clock.advance(5)
    assert store.log_in("olga", PASSWORD, "10.0.0.1").role is UserRole.OFFICER
    assert store.get("olga").seen_ms == clock.now_ms()  # type: ignore[union-attr]
    for name, password in (("olga", PASSWORD + "x"), ("nobody", PASSWORD), ("olga", ""), ("olga", "x" * 100_000)):
        with pytest.raises(LoginRefused, match=r"The name or the password is wrong\."):
            store.log_in(name, password, "10.0.0.1")


def test_passwords_are_hashed_on_disk(store: UserStore, tmp_path: Path) -> None:
    stored = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert PASSWORD.encode() not in stored
    assert b"$argon2id$" in stored


@pytest.mark.parametrize("name", ["", "Olga", "a b", "x" * 65, "../etc", "o'brien", "-dash"])
def test_strange_names_are_refused(store: UserStore, name: str) -> None:
    with pytest.raises(UserRefused, match="A user name is"):
        store.add(name, UserRole.OFFICER, PASSWORD)


def test_a_name_is_taken_once_and_short_passwords_are_refused(store: UserStore) -> None:
    with pytest.raises(UserRefused, match="exists already"):
        store.add("olga", UserRole.AUDITOR, PASSWORD)
    with pytest.raises(UserRefused, match="10 to 512"):
        store.add("otto", UserRole.AUDITOR, "short")
    assert [user.name for user in store.all()] == ["adam", "olga"]


def test_disabled_users_cannot_log_in_and_are_not_told_why(store: UserStore) -> None:
    store.change("olga", disabled=True)
    with pytest.raises(LoginRefused, match="wrong"):
        store.log_in("olga", PASSWORD, "10.0.0.1")
    store.change("olga", disabled=False)
    assert store.log_in("olga", PASSWORD, "10.0.0.1").name == "olga"


def test_the_last_administrator_stays(store: UserStore) -> None:
    with pytest.raises(UserRefused, match="last administrator"):
        store.change("adam", disabled=True)
    with pytest.raises(UserRefused, match="last administrator"):
        store.change("adam", role=UserRole.AUDITOR)
    store.add("anna", UserRole.ADMINISTRATOR, PASSWORD)
    assert store.change("adam", role=UserRole.AUDITOR).role is UserRole.AUDITOR
    with pytest.raises(UserRefused, match="no user of this name"):
        store.change("nobody", disabled=True)


def test_guessing_is_braked_per_user_and_address(store: UserStore, clock: ManualClock) -> None:
    before = counted(LOGINS_REFUSED, cause="too_many")
    for _ in range(5):
        with pytest.raises(LoginRefused, match="wrong"):
            store.log_in("olga", "not this one", "10.0.0.1")
        clock.advance(1_000)
    with pytest.raises(LoginRefused, match="try again in 5 minutes"):
        store.log_in("olga", PASSWORD, "10.0.0.1")
    assert counted(LOGINS_REFUSED, cause="too_many") == before + 1
    assert store.log_in("olga", PASSWORD, "10.0.0.2").name == "olga", "others are not locked out"
    clock.advance(300_000)
    assert store.log_in("olga", PASSWORD, "10.0.0.1").name == "olga"


def test_spraying_over_names_is_braked_per_address(tmp_path: Path, clock: ManualClock) -> None:
    store = UserStore(tmp_path, clock, UserSettings(2, 6, 60.0), CHEAP)
    for number in range(6):
        with pytest.raises(LoginRefused, match="wrong"):
            store.log_in(f"user{number}", "not this one", "10.0.0.1")
    with pytest.raises(LoginRefused, match="Too many"):
        store.log_in("another", "not this one", "10.0.0.1")


def test_weaker_hashes_are_renewed_at_log_in(store: UserStore, tmp_path: Path, clock: ManualClock) -> None:
    def stored() -> str:
        with sqlite3.connect(tmp_path / "users.sqlite") as database:
            return str(database.execute("SELECT hash FROM user WHERE name = 'olga'").fetchone()[0])

    before = stored()
    stronger = UserStore(tmp_path, clock, hasher=PasswordHasher(time_cost=2, memory_cost=128, parallelism=1))
    stronger.log_in("olga", PASSWORD, "10.0.0.1")
    assert "t=1" in before
    assert "t=2" in stored()
    stronger.log_in("olga", PASSWORD, "10.0.0.1")


def test_a_list_of_users_that_is_away_is_told_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "users.sqlite").write_bytes(b"this is no database, whatever its name says" * 100)
    with pytest.raises(UserRefused, match="cannot be used now"):
        UserStore(tmp_path, hasher=CHEAP)


class TestSessions:
    @pytest.fixture
    def sessions(self, tmp_path: Path, store: UserStore, clock: ManualClock) -> SessionStore:
        return SessionStore(tmp_path, store, clock, SessionSettings(idle_minutes=30, longest_hours=10))

    def begin(self, sessions: SessionStore, store: UserStore) -> str:
        return sessions.begin(store.log_in("olga", PASSWORD, "10.0.0.1"))

    def test_the_token_is_not_on_disk(self, sessions: SessionStore, store: UserStore, tmp_path: Path) -> None:
        token = self.begin(sessions, store)
        assert sessions.find(token).user.name == "olga"  # type: ignore[union-attr]
        assert sessions.find(token + "x") is None
        assert token.encode() not in b"".join(path.read_bytes() for path in tmp_path.iterdir())

    def test_idle_sessions_end(self, sessions: SessionStore, store: UserStore, clock: ManualClock) -> None:
        token = self.begin(sessions, store)
        for _ in range(3):
            clock.advance(29 * 60_000)
            assert sessions.find(token) is not None
        clock.advance(31 * 60_000)
        assert sessions.find(token) is None

    def test_busy_sessions_end_too(self, sessions: SessionStore, store: UserStore, clock: ManualClock) -> None:
        token = self.begin(sessions, store)
        alive = 0
        while sessions.find(token) is not None:
            clock.advance(20 * 60_000)
            alive += 1
            assert alive < 40
        assert alive == 31

    def test_log_out_and_every_change_of_the_user_end_them(self, sessions: SessionStore, store: UserStore) -> None:
        token = self.begin(sessions, store)
        sessions.end(token)
        assert sessions.find(token) is None

    @pytest.mark.parametrize(
        "change", [{"disabled": True}, {"role": UserRole.AUDITOR}, {"password": PASSWORD + "!"}]
    )
    def test_a_changed_user_is_logged_out(
        self, sessions: SessionStore, store: UserStore, clock: ManualClock, change: dict[str, object]
    ) -> None:
        token = self.begin(sessions, store)
        clock.advance(1)
        store.change("olga", **change)  # type: ignore[arg-type]
        assert sessions.find(token) is None

    def test_csrf_tokens_belong_to_their_session(self, sessions: SessionStore, store: UserStore) -> None:
        one, two = (sessions.find(self.begin(sessions, store)) for _ in range(2))
        assert one is not None
        assert two is not None
        assert one.has_csrf(one.csrf)
        assert not one.has_csrf(two.csrf)
        assert not one.has_csrf("")
        assert not one.has_csrf("\udcff")
