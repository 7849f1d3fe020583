"""Explain mistakes in a template file in plain words: the problem, its place, and the remedy."""

import difflib
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import yaml

_TAGS = ("for", "endfor", "if", "elif", "else", "endif", "set", "with", "endwith")
_BLOCK = re.compile(r"\{%[-+]?[ \t\n]{0,20}(?P<tag>[a-z]{1,12})\b")
_CUT_SHORT = re.compile(r"unexpected '[}\])]'|expected token '[^']*', got '}'|end of (?:template|print|statement)")
_QUOTED = re.compile(r"'([^']{1,80})'")


class Mistake(NamedTuple):
    """A mistake in a template.

    Args:
        problem: description in words.
        line: line of the text, from 1; None if it concerns no line.
        column: column in that line, from 1; None if unknown.
        remedy: how to fix it.
    """

    problem: str
    line: int | None = None
    column: int | None = None
    remedy: str | None = None


def near(word: str, known: Iterable[str], *, count: int = 1) -> str | None:
    """Return ``did you mean 'title'?``, or None if no name is similar."""
    found = difflib.get_close_matches(word[:80], list(known), n=count)
    meant = " or ".join(f"'{one}'" for one in found)
    return f"Did you mean {meant}?" if found else None


def yaml_mistake(error: yaml.YAMLError, text: str) -> Mistake:
    """Explain why a front matter is not valid YAML."""
    lines = text.split("\n")
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        position = getattr(error, "position", None)
        line = text.count("\n", 0, position) + 1 if isinstance(position, int) else 1
        return Mistake("it holds a character that YAML does not take", line, remedy="Delete it")
    mark, context, problem = error.problem_mark, error.context_mark, str(error.problem)
    here = Mistake(problem, mark.line + 1, mark.column + 1)
    if mark.line >= len(lines):  # YAML ends lines at more characters than we do
        return here
    start = here if context is None else Mistake(problem, context.line + 1, context.column + 1)
    if (quote := _unclosed_quote(lines[: mark.line + 1])) is not None or "quoted scalar" in str(error.context):
        line, column = quote or (start.line or 1, start.column or 1)
        return Mistake("a quotation mark is not closed (unclosed quote)", line, column, "Close it in the same line")
    if "mapping values are not allowed" in problem:
        before = lines[mark.line][: mark.column]
        if ":" not in before and mark.line:
            return _no_colon(mark.line, lines)
        told = lines[mark.line].partition(":")
        value = told[2].strip().replace('"', "'")[:60]
        way = f'Put the value in quotation marks: {told[0].strip()[:40]}: "{value}"'
        return here._replace(problem="a value has a colon in it", remedy=way)
    if "could not find expected ':'" in problem:
        return _no_colon(start.line or 1, lines)
    if "expected ',' or" in problem:
        end = problem[problem.index("or ") + 3 :].split(",")[0].strip("' ")
        return start._replace(problem="a list or table is not closed", remedy=f"Write '{end}' at its end")
    if "'\\t'" in problem:
        return here._replace(problem="a tab stands where YAML takes spaces only", remedy="Write spaces")
    if "cannot start any token" in problem:
        char = lines[mark.line][mark.column : mark.column + 1]
        return here._replace(problem=f"a value cannot begin with '{char}'", remedy="Put the value in quotation marks")
    if "expected <block end>" in problem:
        return here._replace(
            problem="this line does not belong to what stands above it",
            remedy="Begin every key at the left margin, and put a value with quotation marks in it in quotation marks",
        )
    return here


def _unclosed_quote(lines: Sequence[str]) -> tuple[int, int] | None:
    """Find the first value that opens a quotation mark and does not close it on its line."""
    for number, line in enumerate(lines, 1):
        key, colon, value = line.partition(":")
        value = value.strip()
        if colon and value[:1] in ("'", '"') and value.count(value[0], 1) == 0:
            return number, line.index(value[0], len(key)) + 1
    return None


def _no_colon(line: int, lines: Sequence[str]) -> Mistake:
    """Find a line without a colon between key and value."""
    text = lines[line - 1]
    word = text.split()[0][:40] if text.split() else text[:40]
    column = len(text) - len(text.lstrip()) + len(word) + 1
    return Mistake(f"a colon is missing after '{word}'", line, column, f"Write '{word}: …'")


def jinja_mistake(message: str, line: int | None, source: str) -> Mistake:
    """Explain why a section is not valid Jinja.

    Args:
        message: Jinja's error message.
        line: Jinja's line number.
        source: source of the section, preceded by as many lines as in the file.
    """
    lines = source.split("\n")
    if found := re.search(r"unexpected char '(.{1,4})' at (\d+)", message):
        char, position = found[1].removeprefix("\\"), int(found[2])
        row, column = source.count("\n", 0, position) + 1, position - (source.rfind("\n", 0, position) + 1) + 1
        if char in ("'", '"'):
            return Mistake("a quotation mark is not closed (unclosed quote)", row, column, f"Write {char} at its end")
        return Mistake(f"the character {char} means nothing in '{{{{ }}}}' and '{{% %}}'", row, column)
    if found := re.search(r"The innermost block that needs to be closed is '(\w+)'", message):
        tag = found[1] if "unknown tag" not in message else None
        if tag is not None:
            row, column = _opened(source, tag) or (line or 1, 1)
            return Mistake(f"'{{% {tag} %}}' is not closed", row, column, f"Write '{{% end{tag} %}}' at its end")
    if found := re.search(r"[Uu]nknown tag '(\w+)'", message):
        tag = found[1]
        if tag in _TAGS:
            way = f"Write '{{% {tag.removeprefix('end')} … %}}' before it, or delete it"
            return Mistake(f"'{{% {tag} %}}' belongs to nothing here", line, _column(lines, line, tag), way)
        return Mistake(f"there is no tag '{tag}'", line, _column(lines, line, tag), near(tag, _TAGS))
    if re.search(
        r"unexpected '[}\])]'|expected token '[^']*', got '}'|end of (?:template|print|statement)", message
    ) and (unclosed := _unclosed(source)):
        return unclosed
    if found := re.search(r"got '([^']+)'", message):
        compare = "Write '==' to compare" if found[1] == "=" else None
        if found[1].startswith("end of"):
            return Mistake("something is missing before the end of this", line)
        return Mistake(f"'{found[1]}' is not expected here", line, _column(lines, line, found[1]), compare)
    return Mistake(message[:300], line, named_column(lines, line, message))


def named_column(lines: Sequence[str], line: int | None, message: str) -> int | None:
    """Return the column of the first name that a message quotes."""
    for word in _QUOTED.findall(message[:1000]):
        if (column := _column(lines, line, word)) is not None:
            return column
    return None


def _column(lines: Sequence[str], line: int | None, word: str) -> int | None:
    if line is None or not 1 <= line <= len(lines):
        return None
    place = lines[line - 1].find(word)
    return place + 1 if place >= 0 else None


def _position(source: str, place: int) -> tuple[int, int]:
    return source.count("\n", 0, place) + 1, place - (source.rfind("\n", 0, place) + 1) + 1


def _opened(source: str, tag: str) -> tuple[int, int] | None:
    """Return the place of the innermost open block of a kind."""
    stack: list[tuple[str, int]] = []
    for found in _BLOCK.finditer(source):
        word = found["tag"]
        if word in ("for", "if", "with"):
            stack.append((word, found.start()))
        elif word.startswith("end") and stack and stack[-1][0] == word.removeprefix("end"):
            stack.pop()
    place = next((at for word, at in reversed(stack) if word == tag), None)
    return None if place is None else _position(source, place)


def _unclosed(source: str) -> Mistake | None:
    """Find the first ``{{`` or ``{%`` that is not closed before the next one or the end of its line."""
    place = 0
    while (place := source.find("{", place)) >= 0:
        opening = source[place : place + 2]
        if opening not in ("{{", "{%"):
            place += 1
            continue
        closing = {"{{": "}}", "{%": "%}"}[opening]
        end = source.find(closing, place + 2)
        others = [at for other in ("{{", "{%") if (at := source.find(other, place + 2)) >= 0]
        if end < 0 or (others and min(others) < end):
            row, column = _position(source, place)
            return Mistake(f"'{opening}' is not closed", row, column, f"Write '{closing}' at its end")
        place = end + 2
    return None


def section_meant(line: str, roles: Iterable[str]) -> str | None:
    """Return the section that a misspelled line seems to mean: ``user``, ``users:``, ``User:``."""
    word = line.strip(" \t")
    bare = word.rstrip(":").rstrip()
    if not (bare.isascii() and bare.isalpha() and len(bare) <= 20) or line[:1] in (" ", "\t"):
        return None
    known = list(roles)
    if word in (f"{role}:" for role in known):
        return None
    if bare.lower() in known:
        return bare.lower()
    if not word.endswith(":"):
        return None
    found = difflib.get_close_matches(bare.lower(), known, n=1, cutoff=0.8)
    return found[0] if found else None
