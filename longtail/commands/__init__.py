"""The console command `longtail` and its subcommands, one file each.

The function `main` of a file is the subcommand of its name, imported when it is called or listed.
"""

import sys
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

import typer
from typer.core import TyperGroup

from longtail.errors import InputError
from longtail.pipeline import console


class Commands(TyperGroup):
    """The files of this package as commands."""

    def list_commands(self, ctx: Any) -> list[str]:
        """All names."""
        return [module.name for module in iter_modules(__path__)]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command `cmd_name`. Raises InputError if there is none."""
        if cmd_name not in self.list_commands(ctx):
            from longtail.config.presets.preset import did_you_mean

            names = self.list_commands(ctx)
            raise InputError(f"longtail {cmd_name}", "no such command", did_you_mean(cmd_name, names))
        command = typer.Typer(add_completion=False, rich_markup_mode=None)
        command.command(name=cmd_name, epilog=console.EPILOG)(import_module(f"{__name__}.{cmd_name}").main)
        return typer.main.get_command(command)


def main() -> None:
    """Run the console command; without arguments it prints its help."""
    sys.argv[1:] = sys.argv[1:] or ["--help"]
    app = typer.Typer(
        cls=Commands, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None
    )
    app.callback(epilog=console.EPILOG)(described)
    console.execute(app, "longtail")


def described() -> None:
    """Train without DVC, use trained cells, see the runs. Stages: python -m stages.<stage>."""
