"""What people type beside the stages: `longtail predict`, `longtail reproduce` and others; one file each.

The function `main` of a file is the command of its name, imported when it is called or listed.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules
from typing import Any

import typer
from typer.core import TyperGroup

from longtail.pipeline import console


class Commands(TyperGroup):
    """The commands of this package."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Their names."""
        return [module.name for module in iter_modules(__path__)]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of that name; None where there is none."""
        if cmd_name not in self.list_commands(ctx):
            return None
        command = typer.Typer(add_completion=False, rich_markup_mode=None)
        command.command(name=cmd_name, epilog=console.EPILOG)(import_module(f"{__name__}.{cmd_name}").main)
        return typer.main.get_command(command)


def main() -> None:
    """The console command `longtail`."""
    app = typer.Typer(
        cls=Commands, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None
    )
    app.callback(epilog=console.EPILOG)(described)
    console.execute(app, "longtail")


def described() -> None:
    """Use trained cells, and run whole programmes of trainings. The stages: python -m stages.<stage>."""
