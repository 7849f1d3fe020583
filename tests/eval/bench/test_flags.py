from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pytest

from eval import bench_flags
from eval.bench import flags
from reranker import LlmSettings, LLMStartError
from retrieval import InputError, Retriever
from tests.standin import StandIn


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch, standin: StandIn) -> list[tuple[tuple[str, ...], dict[str, str]]]:
    """Servers that were started: their flags and variables. The stand-in answers in their place."""
    asked: list[tuple[tuple[str, ...], dict[str, str]]] = []

    @contextmanager
    def server(settings: LlmSettings, *, variables: Mapping[str, str], report: object) -> Iterator[StandIn]:
        asked.append((settings.vllm_args, dict(variables)))
        if "--nonsense" in settings.vllm_args:
            raise LLMStartError("vLLM ended while starting. The end of the log:\nerror: no such option: --nonsense")
        yield standin

    monkeypatch.setattr(flags, "LocalServer", server)
    return asked


async def test_the_default_flags_stand_first_and_last(
    started: list[tuple[tuple[str, ...], dict[str, str]]], retriever: Retriever
) -> None:
    settings = LlmSettings(model="stand-in", vllm_args=("--seed", "1"))
    variants = ["--block-size 16", "OMP_NUM_THREADS=1 --max-num-seqs 32"]
    result = await bench_flags(retriever, settings, variants, rounds=1, at_once=2, report=lambda _: None)
    assert started == [
        (("--seed", "1"), {}),
        (("--seed", "1", "--block-size", "16"), {}),
        (("--seed", "1", "--max-num-seqs", "32"), {"OMP_NUM_THREADS": "1"}),
        (("--seed", "1"), {}),
    ]
    assert [one.flags for one in result] == ["default flags", *variants, "default flags"]
    first, *_, last = result
    assert first.alone_ratio is not None
    assert last.alone_ratio is not None
    assert first.alone_ratio + last.alone_ratio == pytest.approx(2, abs=0.02)


async def test_flags_that_do_not_start_are_told_and_the_others_measured(
    started: list[tuple[tuple[str, ...], dict[str, str]]], retriever: Retriever
) -> None:
    result = await bench_flags(
        retriever,
        LlmSettings(model="stand-in"),
        ["--nonsense", "--block-size 16"],
        rounds=1,
        at_once=2,
        report=lambda _: None,
    )
    assert [one.failed for one in result] == [None, "error: no such option: --nonsense", None, None]
    assert result[1].alone_s is None


@pytest.mark.parametrize("variant", ["block-size 16", "'--block-size 16"])
async def test_what_is_neither_flags_nor_variables_is_refused_before_anything_starts(
    started: list[tuple[tuple[str, ...], dict[str, str]]], retriever: Retriever, variant: str
) -> None:
    with pytest.raises(InputError, match="neither flags nor variables"):
        await bench_flags(retriever, LlmSettings(model="stand-in"), [variant], report=lambda _: None)
    assert not started
