"""The `everforge` command: registers the subcommands, turns expected errors into a message and an exit code.

Called by the console script (`everforge = everforge.cli.app:main`). A subcommand lives in a file of its own
name, but for those in MODULES, as a function or a group of that name; it raises the errors of `everforge.errors` and
never prints a traceback.
"""

import importlib
import importlib.util
import sys
from collections.abc import Sequence

import typer

from everforge import __version__
from everforge.errors import DeviceFault, EverforgeError, UsageError
from everforge.model.verdict import ExitCode

COMMANDS = ("run", "trials", "evaluate", "check", "suite", "compare", "profile", "knowledge", "doctor")
# A module named like one of the standard library's would shadow it.
MODULES = {"profile": "profiles"}

app = typer.Typer(
    name="everforge",
    help="Searches for faster kernels for a PyTorch reference, proves them, and keeps every trial.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback(invoke_without_command=True)
def everforge(version: bool = typer.Option(False, "--version", help="Print the version and exit.")) -> None:
    """Searches for faster kernels for a PyTorch reference, proves them, and keeps every trial."""
    if version:
        typer.echo(__version__)
        raise typer.Exit


def register_commands() -> None:
    """Add every subcommand whose file is installed; one that is not is absent from `--help`."""
    registered = {command.name for command in app.registered_commands}
    registered |= {group.name for group in app.registered_groups}
    for name in COMMANDS:
        module_name = f"everforge.cli.{MODULES.get(name, name)}"
        if name in registered or importlib.util.find_spec(module_name) is None:
            continue
        command = getattr(importlib.import_module(module_name), name)
        if isinstance(command, typer.Typer):  # a group of subcommands
            app.add_typer(command, name=name)
        else:
            app.command(name)(command)


def exit_code_of_error(error: EverforgeError) -> ExitCode:
    """The exit code that says whose fault an error is: the user's, the device's, or the harness's."""
    if isinstance(error, UsageError):
        return ExitCode.USAGE
    return ExitCode.DEVICE_FAULT if isinstance(error, DeviceFault) else ExitCode.HARNESS_FAULT


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; ends the process with the subcommand's exit code."""
    register_commands()
    try:
        app(args=arguments)
    except EverforgeError as error:
        typer.echo(f"everforge: {error}", err=True)
        sys.exit(exit_code_of_error(error))
