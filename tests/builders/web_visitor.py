"""A browser without scripts: logs in, follows forms, keeps cookies."""

from __future__ import annotations

import html
import re

import httpx
from starlette.applications import Starlette
from starlette.testclient import TestClient

from console.users import UserRole
from tests.builders.made_console import NAMES, PASSWORD

_HIDDEN = re.compile(r'name="csrf" value="([^"]*)"')


class Visitor:
    """One person's browser. Errors of the application are answers, not exceptions."""

    def __init__(self, app: Starlette, role: UserRole | None = None) -> None:
        self.client = TestClient(app, raise_server_exceptions=False, follow_redirects=False)
        self.client.headers["accept"] = "text/html,*/*"
        if role is not None:
            answer = self.log_in(NAMES[role])
            assert answer.status_code == 303, answer.text

    def log_in(self, name: str, password: str = PASSWORD, **fields: str) -> httpx.Response:
        token = self.token(self.get("/login"))
        return self.client.post("/login", data={"csrf": token, "name": name, "password": password, **fields})

    def get(self, path: str, **headers: str) -> httpx.Response:
        return self.client.get(path, headers=headers)

    def post(self, path: str, fields: dict[str, str] | None = None, *, token: str | None = None) -> httpx.Response:
        """Post a form with this session's token, taken from a page that every role may open."""
        csrf = self.token(self.get("/account")) if token is None else token
        return self.client.post(path, data={"csrf": csrf, **(fields or {})})

    @staticmethod
    def token(answer: httpx.Response) -> str:
        found = _HIDDEN.findall(answer.text)
        assert found, f"no form on the page ({answer.status_code})"
        return str(found[-1])


def text_of(answer: httpx.Response) -> str:
    """The page's words without markup."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", answer.text)).split())
