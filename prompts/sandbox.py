"""Run template source, which is untrusted code, in a restricted Jinja.

There are three defences, and each alone stops most attacks. The syntax tree is checked against a list of allowed nodes
before anything runs. Jinja's immutable sandbox guards every attribute. Time, the size of every string and the size of
the output are limited at run time.

This module imports only Jinja and the standard library, so it starts quickly as a separate process for unsaved drafts:
``python -I prompts/sandbox.py``, see :mod:`prompts.isolation`.
"""

import difflib
import json
import re
import resource
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import jinja2.debug  # noqa: F401  # Jinja would open it at the first error, when the draft's process may open no file
from jinja2 import (
    StrictUndefined,
    Template,
    TemplateError,
    Undefined,
    filters,
    meta,
    nodes,
    pass_context,
    pass_environment,
)
from jinja2.compiler import CodeGenerator, Frame
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

MAX_SOURCE = 20_000
"""Maximum number of characters of a template file."""
MAX_DEPTH = 60
"""Maximum nesting depth of expressions and blocks. Python's own compiler fails on deeper ones."""
MAX_RANGE = 1000
MAX_STRING = 100_000
"""Maximum length of any string or list that a template builds."""
MAX_OUTPUT = 1_000_000
"""Maximum number of characters of a rendered section; more than any model reads."""
MAX_SECONDS = 2.0
"""Time limit of one section. A normal one takes a millisecond."""
MAX_MEMORY = 512 * 2**20
"""Limit of the address space of the process that renders drafts, in bytes."""

FILTERS = frozenset(
    """
    abs capitalize count default first float int items join last length list lower map max min reject rejectattr
    replace reverse round select selectattr sort title trim truncate unique upper
    """.split()  # noqa: SIM905  # a list of words is read as such
)
TESTS = frozenset(
    """
    boolean defined divisibleby eq equalto even false float ge gt in integer iterable le lower lt mapping ne
    none number odd sequence string true undefined upper
    """.split()  # noqa: SIM905  # a list of words is read as such
)
METHODS = frozenset({"items", "keys", "values", "get", "cycle", "changed"})
"""Methods that may be called, such as ``attributes.items()`` and ``loop.cycle("a", "b")``; ``range(10)`` is allowed
too.
"""

_ALLOWED = (
    nodes.Template,
    nodes.Output,
    nodes.TemplateData,
    nodes.For,
    nodes.If,
    nodes.CondExpr,
    nodes.Assign,
    nodes.With,
    nodes.Name,
    nodes.Const,
    nodes.List,
    nodes.Tuple,
    nodes.Getattr,
    nodes.Getitem,
    nodes.Slice,
    nodes.Filter,
    nodes.Test,
    nodes.Call,
    nodes.Keyword,
    nodes.Compare,
    nodes.Operand,
    nodes.And,
    nodes.Or,
    nodes.Not,
    nodes.Neg,
    nodes.Pos,
    nodes.Add,
    nodes.Sub,
    nodes.Div,
    nodes.Concat,
)
_INSTEAD: dict[type[nodes.Node], str] = {
    nodes.Mul: "multiplication is not allowed",
    nodes.Pow: "powers are not allowed",
    nodes.Mod: "'%' is not allowed; for every second entry write 'loop.index is even', for numbers '| round(1)'",
    nodes.AssignBlock: "'{% set %}' as a block is not allowed; write '{% set name = value %}'",
}
_SURROGATE = re.compile(r"[\ud800-\udfff]")
"""Surrogates, as from ``"\\ud800"`` in a template. They cannot be encoded."""
_Value = Any


class ReadableObject:
    """Base of objects whose public attributes a template may read."""

    __slots__ = ()


class SandboxError(TemplateError):
    """The source uses something that is not allowed, or exceeded a limit. ``lineno`` is its line, if known."""

    def __init__(self, message: str, lineno: int | None = None) -> None:
        super().__init__(message)
        self.lineno = lineno


class _CodeGenerator(CodeGenerator):
    """Code generator that sends ``~`` through the sandbox, which limits the result."""

    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:  # noqa: N802  # Jinja's name
        self.write("environment.joined((")
        for one in node.nodes:
            self.visit(one, frame)
            self.write(", ")
        self.write("))")


class Sandbox(ImmutableSandboxedEnvironment):
    """The environment that compiles and runs all template source."""

    code_generator_class = _CodeGenerator
    intercepted_binops = frozenset({"+"})

    def __init__(self) -> None:
        # No autoescape: prompts are text for a model, not HTML, and what comes from data was sanitised before.
        # Not optimised: Jinja's optimiser would run constant expressions while it compiles, outside every limit.
        super().__init__(
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            autoescape=False,
            optimized=False,
            finalize=_printed,
        )
        own = {"join": _join, "replace": _replace, "round": _round, "_timed": _timed}
        self.filters = {name: self.filters[name] for name in FILTERS} | own
        self.tests = {name: self.tests[name] for name in TESTS}
        self.globals = {"range": _range}

    def compiled(self, source: str) -> tuple[Template, set[str]]:
        """Check and compile a section; return it with the names of its inputs.

        Raises:
            jinja2.TemplateError: If it is not valid Jinja, or uses something that is not allowed.
        """
        try:
            tree = self.parse(source)
            _check(tree)
            names = meta.find_undeclared_variables(tree)
            for loop in list(tree.find_all(nodes.For)):
                loop.iter = nodes.Filter(loop.iter, "_timed", [], [], None, None, lineno=loop.lineno)
            tree.set_environment(self)
            return self.from_string(tree), names
        except (RecursionError, SyntaxError, MemoryError, ValueError, OverflowError) as error:
            raise SandboxError(
                f"it is nested too deeply, or holds a number too large ({type(error).__name__})"
            ) from error

    def getattr(self, obj: Any, attribute: str) -> Any:
        """Like the sandbox's, but faster for our own records: compiling has refused names that begin with '_'."""
        if not isinstance(obj, ReadableObject):
            return super().getattr(obj, attribute)
        try:
            return getattr(obj, attribute)
        except AttributeError:
            known = [name for name in dir(obj) if not name.startswith("_")]
            near = difflib.get_close_matches(attribute, known, n=1)
            hint = f"; did you mean '{near[0]}'?" if near else ""
            return self.undefined(f"an entry has no '{attribute}'{hint}")

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Evaluate an operator; limit ``+``, the only one whose result can be longer than both operands."""
        if hasattr(left, "__len__") and hasattr(right, "__len__"):
            _bounded(len(left) + len(right))
        return left + right

    def joined(self, parts: Iterable[_Value]) -> str:
        """Evaluate ``a ~ b``."""
        text = "".join([one if one.__class__ is str else str(_printed(one)) for one in parts])
        if len(text) > MAX_STRING:
            _bounded(len(text))
        return text


def fill(template: Template, given: Mapping[str, object]) -> str:
    """Render one compiled section.

    Raises:
        jinja2.TemplateError: If it fails, or exceeds a limit.
    """
    pieces = template.generate({**given, "_deadline": time.monotonic() + MAX_SECONDS})
    parts: list[str] = []
    size = 0
    # In batches: joining is quick, and no more than a batch is ever held beyond the limit.
    while batch := list(islice(pieces, 256)):
        parts.append("".join(batch))
        size += len(parts[-1])
        if size > MAX_OUTPUT:
            raise SandboxError(f"it writes more than {MAX_OUTPUT:,} characters")
    return "".join(parts)


def line_of(error: BaseException) -> int | None:
    """Return the line of the template that raised an error."""
    if isinstance(line := getattr(error, "lineno", None), int):
        return line
    found, trace = None, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "<template>":
            found = trace.tb_lineno
        trace = trace.tb_next
    return found


def _check(tree: nodes.Template) -> None:
    pending: list[tuple[nodes.Node, int]] = [(tree, 0)]
    while pending:
        node, depth = pending.pop()
        problem = _problem(node)
        if depth > MAX_DEPTH:
            problem = f"expressions and blocks may stand at most {MAX_DEPTH} deep in each other"
        if problem:
            raise SandboxError(problem, node.lineno)
        pending += [(child, depth + 1) for child in node.iter_child_nodes()]


def _problem(node: nodes.Node) -> str | None:
    """Describe what is not allowed about a node, apart from its children."""
    if type(node) not in _ALLOWED:
        return _INSTEAD.get(type(node), f"'{type(node).__name__.lower()}' is not allowed in a template")
    match node:
        case nodes.Const(value=str(text)) if _SURROGATE.search(text):
            return "a text holds half of a character"
        case nodes.For(recursive=True):
            return "a loop may not call itself"
        case nodes.Name(name=name) if name.startswith("_") or name in ("self", "super", "caller"):
            return f"the name '{name}' is not allowed"
        case nodes.Getattr(attr=name) if name.startswith("_"):
            return f"the attribute '{name}' is not allowed"
        case nodes.Getitem(arg=nodes.Const(value=str(name))) if name.startswith("_"):
            return f"the attribute '{name}' is not allowed"
        case nodes.Filter(name=name) if name not in FILTERS:
            return _unknown("filter", name, FILTERS)
        case nodes.Test(name=name) if name not in TESTS:
            return _unknown("test", name, TESTS)
        case nodes.List(items=items) | nodes.Tuple(items=items, ctx="load"):
            # Lists in lists double with every line: forty lines of them would print a billion entries.
            if not all(isinstance(item, nodes.Const) for item in items):
                return "a list in a template may hold only fixed words and numbers"
        case nodes.Call(node=nodes.Name(name="range"), dyn_args=None, dyn_kwargs=None):
            return None
        case nodes.Call(node=nodes.Getattr(attr=name), dyn_args=None, dyn_kwargs=None) if name in METHODS:
            return None
        case nodes.Call(node=nodes.Getattr(attr=name)) if name in FILTERS:
            return f"'{name}' cannot be called with brackets; write '| {name}'"
        case nodes.Call():
            return f"only range() and these can be called: {', '.join(sorted(METHODS))}"
    return None


def _unknown(kind: str, name: str | None, known: Iterable[str]) -> str:
    near = difflib.get_close_matches((name or "")[:80], sorted(known), n=3)
    meant = " or ".join(f"'{one}'" for one in near)
    return f"there is no {kind} '{name}' here; " + (
        f"did you mean {meant}?" if near else f"there are: {', '.join(sorted(known))}"
    )


def _bounded(size: int) -> None:
    if size > MAX_STRING:
        raise SandboxError(f"it builds a text or list of {size:,}; {MAX_STRING:,} is the most")


def _printed(value: _Value) -> _Value:
    """Return the text of ``{{ value }}``."""
    if value.__class__ is str or isinstance(value, int | Undefined):
        return value
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:g}"  # four stars are "4", not "4.0"
    if isinstance(value, str):
        return str(value)
    kind = "a whole entry" if isinstance(value, ReadableObject) else "a list or table"
    raise SandboxError(f"it prints {kind}; print a part of it ('.title'), or its parts ('| join(\", \")')")


@pass_context
def _timed(context: Context, values: Iterable[_Value]) -> Iterator[_Value]:
    """Limit the time of a loop."""
    deadline, now = context.parent["_deadline"], time.monotonic
    for value in values:
        if now() > deadline:
            raise SandboxError(f"it runs for more than {MAX_SECONDS:g} seconds")
        yield value


@pass_environment
def _join(environment: Sandbox, value: Iterable[_Value], d: str = "", attribute: str | None = None) -> str:
    if attribute is not None:
        value = map(filters.make_attrgetter(environment, attribute), value)
    parts = [str(_printed(one)) for one in islice(value, MAX_STRING)]
    _bounded(sum(map(len, parts)) + len(d) * len(parts))
    return d.join(parts)


def _replace(value: str, old: str, new: str) -> str:
    text = str(_printed(value))
    _bounded(len(text) + text.count(old) * max(len(new) - len(old), 0))
    return text.replace(old, new)


def _round(value: float, precision: int = 0) -> float:
    if not 0 <= precision <= 6:
        raise SandboxError("'round' takes 0 to 6 digits")
    return round(float(value), precision)


def _range(*bounds: int) -> range:
    values = range(*bounds)
    if len(values[: MAX_RANGE + 1]) > MAX_RANGE:
        raise SandboxError(f"range() gives at most {MAX_RANGE} numbers")
    return values


class _Loaded(ReadableObject):
    """An entry received through the pipe."""

    def __init__(self, fields: Mapping[str, object]) -> None:
        self.__dict__.update(fields)


def _limit_process(seconds: int, memory: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))


def _answer(request: Mapping[str, Any]) -> dict[str, object]:
    """Render the request of :mod:`prompts.isolation`."""
    given: dict[str, object] = dict(request["plain"])
    given |= {name: _Loaded(fields) for name, fields in request["records"].items()}
    given |= {name: [_Loaded(fields) for fields in entries] for name, entries in request["lists"].items()}
    sandbox, parts, continuations = Sandbox(), [], []
    role = ""
    try:
        sections: Sequence[tuple[str, str]] = request["sections"]
        for role, source in sections:
            template, _ = sandbox.compiled(source)
            if role != "candidate":
                parts.append((role, fill(template, given)))
                continue
            for fields in request["continuations"]:
                continuations.append(fill(template, {**given, "candidate": _Loaded(fields)}))  # noqa: PERF401
    except Exception as error:  # whatever it is, the one who edits the draft must read it
        return {"role": role, "error": str(error) or type(error).__name__, "line": line_of(error)}
    return {"parts": parts, "continuations": continuations}


if __name__ == "__main__":
    Sandbox().compiled("{{ 'warm' }}")  # reads what Python reads at first use, while it may still open files
    _limit_process(int(sys.argv[1]), int(sys.argv[2]))
    print(json.dumps(_answer(json.load(sys.stdin))))  # noqa: T201  # the pipe back
