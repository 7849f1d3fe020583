from dataclasses import replace
from pathlib import Path

import pytest

from eval.arms.inputs import Cases, Regime, make_cases
from eval.arms.llm import Reads
from eval.errors import LeakError
from eval.guard import Training
from eval.protocol import HoldoutProtocol, Part, Relevance, make_fold
from prompts import PromptLibrary
from reranker import EngineSettings
from retrieval import AlsParameters, Dataset, HistoryEntry, Interaction
from tests.eval.conftest import histories
from tests.standin import StandIn

PARAMETERS = AlsParameters(factors=4)


def cases(folder: Path, dataset: Dataset, regime: Regime = Regime.realistic) -> Cases:
    part = make_fold(dataset, HoldoutProtocol.per_user_temporal, Part.test)
    return make_cases(part, folder, parameters=PARAMETERS, regime=regime, candidates=6, depth=6, users=None, seed=0)


def truth(dataset: Dataset) -> dict[str, frozenset[str]]:
    return make_fold(dataset, HoldoutProtocol.per_user_temporal, Part.test).truth(Relevance.any)


def test_an_honest_case_passes(tmp_path: Path, dataset: Dataset) -> None:
    made = cases(tmp_path, dataset)
    for user in made.of:
        made.guard.check(user, made.read_by_llm(user))


def test_a_held_out_item_in_a_history_is_refused(tmp_path: Path, dataset: Dataset) -> None:
    made = cases(tmp_path, dataset)
    user = next(iter(made.of))
    held_out = next(iter(truth(dataset)[user]))
    entry = HistoryEntry(made.retriever.item(held_out), Interaction(held_out))
    leaking = replace(made.of[user], history=[*made.of[user].history, entry])
    with pytest.raises(LeakError, match=f"'{held_out}', which is not in the user's training history"):
        made.guard.check(user, leaking)


def test_a_candidate_that_retrieval_did_not_propose_is_refused(tmp_path: Path, dataset: Dataset) -> None:
    made = cases(tmp_path, dataset)
    user = next(iter(made.of))
    seen = made.of[user].history[0].item
    assert seen
    slipped_in = replace(made.of[user].candidates[0], item=seen)
    with pytest.raises(LeakError, match="retrieval did not propose"):
        made.guard.check(user, replace(made.of[user], candidates=[slipped_in, *made.of[user].candidates]))


def test_another_users_history_is_refused(tmp_path: Path, dataset: Dataset) -> None:
    made = cases(tmp_path, dataset)
    one, other = (next(user for user in made.of if int(user[1:]) % 2 == parity) for parity in (0, 1))
    with pytest.raises(LeakError, match="training history"):
        made.guard.check(one, replace(made.of[one], history=made.of[other].history))


def test_what_was_fitted_on_more_than_the_training_part_is_refused(tmp_path: Path, dataset: Dataset) -> None:
    made = cases(tmp_path, dataset)
    made.guard.fitted("an adapter", made.train.hash)
    with pytest.raises(LeakError, match="an adapter was fitted on other data"):
        made.guard.fitted("an adapter", dataset.hash)


def test_a_model_that_was_trained_on_what_is_held_out_is_refused(tmp_path: Path, dataset: Dataset) -> None:
    made = cases(tmp_path, dataset)
    inner = make_fold(dataset, HoldoutProtocol.per_user_temporal, Part.validation).train
    made.guard.tuned("an adapter", made.train)
    made.guard.tuned("an adapter", inner)
    planted = inner.interactions.vstack(make_fold(dataset, HoldoutProtocol.per_user_temporal, Part.test).held_out[:1])
    with pytest.raises(LeakError, match="has seen 1 interactions that the fold 'test' holds out"):
        made.guard.tuned("an adapter", inner.with_interactions(planted))
    with pytest.raises(LeakError, match="whyrank tune --for-eval"):
        made.guard.tuned("an adapter", dataset)
    with pytest.raises(LeakError, match="other data than this"):
        made.guard.tuned("an adapter", None)


async def test_an_adapter_is_not_read_where_it_knows_too_much(
    tmp_path: Path, dataset: Dataset, standin: StandIn
) -> None:
    made = cases(tmp_path, dataset)
    user = next(iter(made.of))
    inner = make_fold(dataset, HoldoutProtocol.per_user_temporal, Part.validation).train
    tuned = {"knows": Training(made.train, dataset), "learned": Training(inner, made.train)}
    async with Reads(EngineSettings(url=standin.url), None, tuned=tuned) as reads:
        with pytest.raises(LeakError, match="'knows'"):
            async for _ in reads.each(made, [user], PromptLibrary().get("rank"), model="knows"):
                pass
        with pytest.raises(LeakError, match="other data than this"):
            async for _ in reads.each(made, [user], PromptLibrary().get("rank"), model="some-tuned-01234567"):
                pass
        assert not [path for path, _ in standin.requests if path == "/v1/completions"]
        async for outcome in reads.each(made, [user], PromptLibrary().get("rank"), model="learned"):
            assert outcome.error is not None, "the stand-in serves no such model"
        async for outcome in reads.each(made, [user], PromptLibrary().get("rank"), model="knows", judged=False):
            assert outcome.error is not None, "weights may be fitted on what decided when its training ended"


async def test_a_leaking_prompt_is_never_sent(tmp_path: Path, dataset: Dataset, reads: Reads, standin: StandIn) -> None:
    made = cases(tmp_path, dataset)
    user = next(iter(made.of))
    foreign = replace(made.of[user], candidates=[replace(made.of[user].candidates[0], item=made.retriever.item("i0"))])
    made.guard.propose(user, ["i2"])
    with pytest.raises(LeakError):
        async for _ in reads.each(replace(made, of={user: foreign}), [user], PromptLibrary().get("rank")):
            pass
    assert "Story" not in standin.prompts()


def test_a_planted_last_interaction_changes_nothing_that_an_arm_sees(tmp_path: Path) -> None:
    plain = cases(tmp_path / "plain", histories())
    planted = cases(tmp_path / "planted", histories(extra=("u0", "i1")))
    for user in plain.of:
        if user == "u0":
            continue  # its own twelve became thirteen: the same part of them is held out, and one more
        assert plain.of[user].history == planted.of[user].history
    shown = {entry.item.item_id for entry in planted.of["u0"].history if entry.item}
    assert "i1" not in shown
    assert "i1" in truth(histories(extra=("u0", "i1")))["u0"]


def test_one_held_out_item_is_injected_whatever_retrieval_found(tmp_path: Path, dataset: Dataset) -> None:
    made = cases(tmp_path, dataset, Regime.injected)
    found = truth(dataset)
    for user, case in made.of.items():
        shown = [candidate.item.item_id for candidate in case.candidates]
        assert len(shown) == len(set(shown)) == 6
        assert found[user] & set(shown)
        scores = [candidate.score for candidate in case.candidates]
        assert scores == sorted(scores, reverse=True), "it stands where its own score puts it"
