"""The console script `callwarden`: gathers the sub-commands, turns our errors into one sentence and an exit code."""

from __future__ import annotations

import os
import sys

import typer

# Processes share the cores: linear algebra with a thread pool in each would fight over them. Set before numpy is.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from console.commands import (
    align,
    auditing,
    calls,
    demo,
    engine,
    index,
    models,
    people,
    rules,
    speakers,
    vocabulary,
)
from console.commands.options import err
from events.errors import CallwardenError

app = typer.Typer(
    name="callwarden",
    help="Contact-centre compliance engine: captures calls, recognises, redacts, judges, indexes and audits them.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("up")(engine.up)
app.command("demo")(demo.demo)
app.command("import")(calls.import_calls)
app.command("search")(calls.search)
app.command("show")(calls.show)
app.command("align")(align.align)
app.command("speakers")(speakers.speakers)
app.add_typer(models.app, name="models")
app.add_typer(vocabulary.app, name="vocabulary")
app.add_typer(rules.app, name="rules")
app.add_typer(people.app, name="users")
app.add_typer(auditing.app, name="audit")
app.add_typer(index.app, name="index")
app.command("settings")(engine.settings)
app.command("run")(engine.run)
app.command("health")(engine.health)
app.command("version")(engine.version)


def main() -> None:
    """Run the command line. Exit status: 0 done, 1 could not, 2 wrong usage."""
    try:
        app()
    except CallwardenError as error:
        err.print(f"callwarden: {error}", style="bold red", highlight=False, markup=False, soft_wrap=True)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
