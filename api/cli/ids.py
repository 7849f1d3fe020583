"""Ids as arguments: some begin with a dash, like options."""

import re
from typing import Any

from typer import Context
from typer.core import TyperCommand

_NEGATIVE = re.compile(r"-\d")


class IdCommand(TyperCommand):
    """A command whose arguments may be negative numbers: ``recommend -5 -k 3``."""

    def parse_args(self, ctx: Context, args: list[str]) -> list[str]:  # type: ignore[override]  # typer has its own Context
        """Move negative numbers after ``--``, unless they are the value of an option."""
        try:
            return super().parse_args(ctx, self._ordered(args))
        except Exception as error:
            if getattr(error, "option_name", None) and not getattr(error, "possibilities", None):
                usage_error: Any = error  # typer does not export its class
                usage_error.message += f" Put an id that begins with '-' after '--': {ctx.command_path} -- ID"
            raise

    def _ordered(self, args: list[str]) -> list[str]:
        takes_value = {
            name
            for parameter in self.params
            if not getattr(parameter, "is_flag", True)
            for name in getattr(parameter, "opts", ())
        }
        before, ids = list[str](), list[str]()
        end = args.index("--") if "--" in args else len(args)
        for place, argument in enumerate(args[:end]):
            is_value = place > 0 and args[place - 1] in takes_value
            (ids if _NEGATIVE.match(argument) and not is_value else before).append(argument)
        after = [*ids, *args[end + 1 :]]
        return [*before, "--", *after] if after else before
