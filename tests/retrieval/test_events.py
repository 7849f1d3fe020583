import pytest

from retrieval import Meaning, confidence, meaning


@pytest.mark.parametrize(
    ("event", "weight", "expected"),
    [
        ("rating", 5.0, 1.0),
        ("rating", 4.0, (4 - 2.5) / (5 - 2.5)),
        ("rating", 2.5, 0.0),
        ("rating", 0.5, 0.0),
        ("click", 2.0, 0.5 * 2),
        ("purchase", 1.0, 1.0),
        ("hide", 5.0, 0.0),
        ("view", -3.0, 0.0),
        ("somebody's own event", 1.0, 0.3),
    ],
)
def test_confidence(event: str, weight: float, expected: float) -> None:
    assert confidence(event, weight) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("event", "weight", "expected"),
    [
        ("rating", 3.5, Meaning.positive),
        ("rating", 3.0, Meaning.neutral),
        ("rating", 2.5, Meaning.negative),
        ("dislike", 1.0, Meaning.negative),
        ("view", 1.0, Meaning.positive),
    ],
)
def test_meaning(event: str, weight: float, expected: Meaning) -> None:
    assert meaning(event, weight) is expected
