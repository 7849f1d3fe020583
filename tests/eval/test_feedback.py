"""Click-through by version and position, on simulated users whose behaviour is known."""

import numpy as np
import polars as pl
import pytest

from eval.feedback import ANSWERS, RESPONSES, feedback_text, report_feedback

EXAMINED = 1.0 / np.arange(1, 9) ** 0.7


def simulated(
    answers: int, attract: dict[str, float], *, seed: int = 0, impressions: bool = False
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Lists of 8 of 60 items. Prompts differ in how much their reasons attract."""
    rng = np.random.default_rng(seed)
    quality = rng.uniform(0.05, 0.5, 60)
    given, done = [], []
    for number in range(answers):
        prompt = list(attract)[number % len(attract)]
        items = rng.permutation(60)[:8]
        given.append(
            {
                "recommendation_id": f"r{number}",
                "user": number // 4,
                "items": [f"i{item}" for item in items],
                "ranker": "fused",
                "rank_prompt": "rank@1",
                "reason_prompt": prompt,
                "experiments": [f"reasons: {prompt}"],
            }
        )
        for place, item in enumerate(items):
            if impressions and place < 4:
                done.append((f"r{number}", f"i{item}", "impression"))
            if rng.random() < EXAMINED[place] and rng.random() < quality[item] * attract[prompt]:
                done.append((f"r{number}", f"i{item}", "click"))
                if rng.random() < 0.2:
                    done.append((f"r{number}", f"i{item}", "purchase"))
    return pl.DataFrame(given, schema=ANSWERS), pl.DataFrame(done, schema=RESPONSES, orient="row")


def test_positions_are_examined_as_they_were() -> None:
    report = report_feedback(*simulated(6000, {"reason@1": 1.0}))
    found = [one.examined or 0.0 for one in report.rows if one.by == "position"]
    assert found == pytest.approx(list(EXAMINED), abs=0.08)
    clicks = [one.clicks.rate for one in report.rows if one.by == "position"]
    assert clicks[0] > clicks[2] > clicks[7]


def test_a_better_version_is_told_apart_and_an_equal_one_is_not() -> None:
    report = report_feedback(*simulated(4000, {"reason@1": 0.7, "reason@2": 1.0}))
    old, new = (next(one for one in report.rows if one.value == f"reasons: reason@{which}") for which in (1, 2))
    assert old.clicks.high < new.clicks.low
    assert old.users == new.users == 1000
    rates = {one.value: one for one in report.rows if one.by == "reason prompt"}
    assert rates["reason@1"].corrected is not None
    assert rates["reason@1"].corrected.rate > rates["reason@1"].clicks.rate
    equal = report_feedback(*simulated(4000, {"reason@1": 0.8, "reason@2": 0.8}, seed=3))
    one, other = (found for found in equal.rows if found.by == "reason prompt")
    assert one.clicks.low < other.clicks.rate < one.clicks.high


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    covered = 0
    truth = report_feedback(*simulated(8_000, {"reason@1": 0.8}, seed=99)).rows[0].clicks.rate
    for seed in range(40):
        # The items' quality is drawn with the seed, so the same seed draws the same items and other clicks.
        answers, responses = simulated(8_000, {"reason@1": 0.8}, seed=99)
        some = answers.filter(pl.col("user").is_in(np.random.default_rng(seed).permutation(2000)[:150].tolist()))
        found = report_feedback(some, responses).rows[0].clicks
        covered += found.low <= truth <= found.high
    assert covered >= 35


def test_reported_impressions_decide_what_was_shown() -> None:
    answers, responses = simulated(300, {"reason@1": 1.0}, impressions=True)
    report = report_feedback(answers, responses)
    assert report.impressions == 300
    assert report.rows[0].shown < 300 * 6


def test_responses_to_other_items_are_counted_and_left_out() -> None:
    answers, responses = simulated(50, {"reason@1": 1.0})
    strange = pl.DataFrame([("r1", "elsewhere", "click"), ("gone", "i1", "click")], schema=RESPONSES, orient="row")
    report = report_feedback(answers, pl.concat([responses, strange]))
    assert report.unlinked == 2
    assert report.rows == report_feedback(answers, responses).rows
    assert "2 events name an answer" in feedback_text(report)


def test_no_clicks_and_no_answers() -> None:
    answers, responses = simulated(50, {"reason@1": 1.0})
    silent = report_feedback(answers, responses.clear())
    assert (silent.rows[0].clicks.rate, silent.rows[0].clicks.low) == (0.0, 0.0)
    assert 0.1 < silent.rows[0].clicks.high < 0.3, "13 users"
    empty = report_feedback(answers.clear(), responses.clear())
    assert (empty.answers, empty.rows) == (0, [])
    assert feedback_text(empty).startswith("0 answers")
