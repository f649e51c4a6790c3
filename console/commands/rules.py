"""`callwarden rules`: check rulebooks before the engine uses them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from compliance.rules.rulebook import check_rulebook, load_rulebooks
from console.commands.options import ConfigOption, err, out
from console.settings import load_settings

app = typer.Typer(help="Rulebooks.", no_args_is_help=True)


@app.command("check")
def check(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Rulebooks (YAML).")],
) -> None:
    """Check rulebooks: one sentence per problem, with file, line and field; exit status 1 if there is any."""
    bad = False
    for file in files:
        problems = check_rulebook(file)
        for problem in problems:
            err.print(str(problem), style="red", markup=False, highlight=False, soft_wrap=True)
        if problems:
            bad = True
        else:
            out.print(f"{file}: good.", markup=False, highlight=False)
    if bad:
        raise typer.Exit(1)


@app.command("list")
def list_rules(config: ConfigOption = None) -> None:
    """List the rules that the engine judges by."""
    settings = load_settings(config)
    table = Table("rule", "rulebook", "version", "severity", "alert", "title")
    for book in load_rulebooks(settings.rules.rulebooks):
        for rule in book.rules:
            table.add_row(
                rule.id, book.name, book.version, rule.severity.value, "yes" if rule.alert else "", rule.title
            )
    out.print(table)
