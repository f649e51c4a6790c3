"""`callwarden users`: who may log in to the console."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from console.commands.options import ConfigOption, DataOption, operating_system_user, out, wire
from console.users import UserRole
from events.audit_entry import Action
from events.errors import CallwardenError

app = typer.Typer(help="People of the console.", no_args_is_help=True)


class PasswordRefused(CallwardenError):
    """No password came, or two different ones."""


@app.callback()
def users() -> None:
    """People of the console."""


@app.command("add")
def add(
    name: Annotated[str, typer.Argument(help="Log-in name.")],
    data: DataOption,
    role: Annotated[UserRole, typer.Option("--role", help="What the person may do.")],
    config: ConfigOption = None,
) -> None:
    """Add a person. The password is asked for, or read as one line from standard input."""
    wiring = wire(data, config)
    password = _password()
    wiring.audit_recorder("cli").record(
        operating_system_user(), "operator", Action.USER_ADDED, name, reason=f"role {role.value}"
    )
    wiring.users.add(name, role, password)
    out.print(f"{name} may log in as {role.value}.", markup=False)


def _password() -> str:
    if not sys.stdin.isatty():
        password = sys.stdin.readline().rstrip("\n")
    else:
        password = typer.prompt("Password", hide_input=True, confirmation_prompt=True)
    if not password:
        raise PasswordRefused("No password came on standard input.")
    return password
