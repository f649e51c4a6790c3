"""Headless Chromium for journeys; a test that asks for it is skipped where there is none."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from console.users import UserRole
from tests.builders.made_console import NAMES, PASSWORD

_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--autoplay-policy=no-user-gesture-required",
)


@contextmanager
def chromium() -> Iterator[Browser]:
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.skip("Chromium is not installed: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, headless=True, args=list(_FLAGS))
        try:
            yield browser
        finally:
            browser.close()


class Errors(list[str]):
    """What a page's console complained about, scripts that failed and breaches of its policy included."""

    def watch(self, page: Page) -> Page:
        page.on(
            "console", lambda message: self.append(message.text) if message.type in ("error", "warning") else None
        )
        page.on("pageerror", lambda error: self.append(str(error)))
        return page


def open_console(browser: Browser, url: str, role: UserRole, **options: object) -> tuple[Page, Errors]:
    """Log in as the made user of a role, in a browser context of its own."""
    errors = Errors()
    page = errors.watch(browser.new_context(**options).new_page())  # type: ignore[arg-type]
    page.goto(f"{url}/login")
    page.fill("[name=name]", NAMES[role])
    page.fill("[name=password]", PASSWORD)
    page.click("main button")
    page.wait_for_load_state()
    assert page.get_by_text(NAMES[role], exact=True).first.is_visible()
    return page, errors


def until(page: Page, expression: str, within_s: float = 20.0) -> None:
    """Wait until a script's expression is true. (Playwright's own waiting needs eval, which our pages forbid.)"""
    deadline = time.monotonic() + within_s
    while not page.evaluate(expression):
        assert time.monotonic() < deadline, f"not within {within_s:g} s: {expression}"
        page.wait_for_timeout(50)
