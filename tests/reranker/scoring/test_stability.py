"""Models that answer with a position are detected and read by likelihood."""

import math

import numpy as np
import pytest

from prompts import EXAMPLE, PromptLibrary
from reranker import Engine, Memory, RankInputs, Reader, measure_stability, order_sensitivity
from retrieval import InputError
from tests.reranker.scoring.test_scorers import INPUTS, by_number, films, history, with_taste
from tests.standin import StandIn

LABELS, POINTWISE = PromptLibrary().get("rank-labels"), PromptLibrary().get("rank-pointwise")
MANY = films(*(f"Film {number}" for number in range(12)))


def samples(number: int = 5) -> list[RankInputs]:
    return [RankInputs(INPUTS, history(f"Seen {user}"), MANY) for user in range(number)]


def reads_positions(standin: StandIn) -> None:
    """The second label always wins, as with SmolLM2."""
    standin.next = lambda prompt, token: {65: -2.0, 66: -0.3}.get(ord(token), -3.0 - ord(token) / 10)


async def test_model_that_reads_candidates_is_accepted(engine: Engine, standin: StandIn) -> None:
    with_taste(standin, by_number)
    report = await measure_stability(engine, LABELS, samples(), np.random.default_rng(0))
    assert report.accepted
    assert report.order_stability == pytest.approx(1.0)
    assert report.label_mass == pytest.approx(1.0)
    assert (report.samples, report.template, report.scoring) == (5, "rank-labels@1", "listwise")


async def test_model_that_reads_positions_is_refused(engine: Engine, standin: StandIn) -> None:
    reads_positions(standin)
    report = await measure_stability(engine, LABELS, samples(), np.random.default_rng(0))
    assert not report.accepted
    assert report.label_mass is not None
    assert report.label_mass > 0.8, "much of the mass is on labels, which proves nothing"
    assert report.reason is not None
    assert "position" in report.reason


async def test_model_without_label_mass_is_refused(engine: Engine, standin: StandIn) -> None:
    standin.next, standin.logprob = (lambda prompt, token: -12.0), (lambda prefix, text: -12.0)
    report = await measure_stability(engine, POINTWISE, samples(), np.random.default_rng(0))
    assert report.reason is not None
    assert "0.00 of the probability" in report.reason
    assert report.order_stability is None


async def test_likelihoods_need_no_measurement(engine: Engine, standin: StandIn) -> None:
    report = await measure_stability(engine, PromptLibrary().get("rank"), [], np.random.default_rng(0))
    assert report.accepted
    assert (report.label_mass, report.order_stability) == (None, None)


async def test_samples_with_too_few_candidates_are_reported(engine: Engine) -> None:
    with pytest.raises(InputError, match="no sample has 5 candidates"):
        await measure_stability(engine, LABELS, [RankInputs.of(EXAMPLE)], np.random.default_rng(0))


async def test_refused_template_is_read_by_likelihood_with_notice(engine: Engine, standin: StandIn) -> None:
    reads_positions(standin)
    standin.logprob = lambda prefix, title: by_number(title) - 1
    read = await Reader(engine).read(LABELS, RankInputs(INPUTS, history("Up"), MANY), with_prior=True)
    assert read.scoring == "likelihood"
    assert read.scores.argmax() == 0
    assert read.label_mass is None
    assert read.corrected is not None
    [notice] = read.notices
    assert notice.code == "label_read_refused"
    assert f"{PromptLibrary().get('rank').reference} was read by likelihood instead of rank-labels@1:" in notice.message


async def test_measurement_is_stored_for_next_process(engine: Engine, standin: StandIn) -> None:
    reads_positions(standin)
    memory = Memory()
    first = Reader(engine, memory=memory)
    assert await first.report(LABELS) is None
    report = await first.prepare(LABELS, samples())
    label_reads = len([body for _, body in standin.requests if "logprob_token_ids" in body])
    second = Reader(engine, memory=memory)
    assert await second.report(LABELS) == report
    await second.read(LABELS, RankInputs(INPUTS, history("Up"), MANY))
    assert len([body for _, body in standin.requests if "logprob_token_ids" in body]) == label_reads


async def test_few_candidates_are_not_measured(engine: Engine, standin: StandIn) -> None:
    with_taste(standin, by_number)
    reader = Reader(engine)
    few = await reader.read(LABELS, RankInputs(INPUTS, history("Up"), MANY[:3]))
    assert few.scoring == "likelihood"
    assert "takes 5 candidates" in few.notices[0].message
    assert (await reader.read(LABELS, RankInputs(INPUTS, history("Up"), MANY))).scoring == "listwise"
    assert (await reader.read(LABELS, RankInputs(INPUTS, history("Up"), MANY[:3]))).scoring == "listwise"


def test_order_sensitivity() -> None:
    same = order_sensitivity([1.0, 2.0, 3.0], [1.0, 2.0, 3.0])
    assert (same.kendall_tau, same.top1_flip) == (1.0, False)
    turned = order_sensitivity([1.0, 2.0, 3.0], [3.0, 2.0, 1.0])
    assert (turned.kendall_tau, turned.top1_flip) == (-1.0, True)
    # Two of three pairs agree: (2 - 1) / 3.
    assert order_sensitivity([3.0, 2.0, 1.0], [3.0, 1.0, 2.0]).kendall_tau == pytest.approx(1 / 3)
    assert order_sensitivity([1.0], [2.0]).top1_flip is False
    assert math.isfinite(order_sensitivity([1.0, 1.0], [1.0, 2.0]).kendall_tau)
