"""Parse weights and ratings, and detect the scale of ratings."""

from collections.abc import Sequence

import polars as pl

from retrieval.data.events import RATING_BEST
from retrieval.data.findings import Finding, note, quoted
from retrieval.data.text import BLANKS, is_null_word
from retrieval.errors import DataError

_BESTS = (5.0, 7.0, 10.0, 20.0, 100.0)
"""Highest values of the recognised scales that start at 0."""
_SYMMETRIC = (1.0, 2.0, 3.0, 5.0, 10.0, 100.0)
"""Highest values of the recognised scales that are symmetric around 0."""
_FEW = 100
"""Number of ratings from which the highest observed value is taken as the top of the scale."""
_STRAY = 0.02
"""Maximum share of ratings above 5 on a scale of 5. A larger share indicates another scale."""
_MANY_ZEROS = 0.1
"""Share of zeros from which they are reported."""
_THUMBS = {
    **dict.fromkeys(("like", "liked", "up", "thumbs up", "thumbs_up", "👍", "positive", "recommended"), 1.0),
    **dict.fromkeys(("dislike", "disliked", "down", "thumbs down", "thumbs_down", "👎", "negative"), -1.0),
    **dict.fromkeys(("not recommended", "not_recommended"), -1.0),
}
_TRUTHS = {"true": 1.0, "yes": 1.0, "false": -1.0, "no": -1.0}
_SETTING = "data.rating_scale"


def to_numbers(column: pl.Series, file: str) -> tuple[pl.Series, pl.Series, list[Finding]]:
    """Parse numbers: return them (null if not a number), a mask of the cells with a value, and the decisions."""
    if column.dtype == pl.Boolean:
        column = column.cast(pl.String)
    if column.dtype.is_numeric():
        return column.cast(pl.Float64), column.is_not_null(), []
    text = column.cast(pl.String)
    number = text.cast(pl.Float64, strict=False)
    if not number.null_count():
        return number, text.is_not_null(), []
    text = text.str.strip_chars(BLANKS)
    number = text.cast(pl.Float64, strict=False)
    has_value = text.is_not_null() & (text != "").fill_null(value=False) & ~is_null_word(text)
    number = number.set(~has_value, None)  # polars reads "nan" as a number
    left = has_value & number.is_null()
    notes = []
    if left.any():
        rest = text.filter(left)
        words = rest.str.to_lowercase()
        known = {**_THUMBS, **_TRUTHS}
        if rest.str.contains(r"^[+-]?\d+,\d+$").all():
            number = number.scatter(left.arg_true(), rest.str.replace(",", ".").cast(pl.Float64))
            notes.append(
                note("decimal_comma", file, column.name, f"numbers such as {quoted(rest[0])} use a decimal comma")
            )
        elif words.is_in(list(known)).all():
            number = number.scatter(left.arg_true(), words.replace_strict(known, return_dtype=pl.Float64))
            notes.append(note("thumbs", file, column.name, f"{quoted(rest[0])} and similar words are read as 1 or -1"))
    return number.rename(column.name), has_value, notes


def rating_scale(
    ratings: pl.Series, file: str, column: str, stated: Sequence[float] | None = None
) -> tuple[tuple[float, float], list[Finding]]:
    """Detect the lowest and highest value of the rating scale, and report the decision.

    Args:
        ratings: Finite values without nulls.
        file: File name for messages.
        column: Column name for messages.
        stated: The scale from the settings, which is used as it is.

    Raises:
        DataError: If no scale is recognised.
    """
    if stated is not None:
        return (float(stated[0]), float(stated[1])), []
    low, high = ratings.min(), ratings.max()
    if not isinstance(low, float) or not isinstance(high, float):
        return (0.0, RATING_BEST), []
    how = f"Set {_SETTING} = [lowest, highest] if this is wrong"
    if low < 0:
        if int((ratings < 0).sum()) < _STRAY / 2 * len(ratings):
            return (0.0, RATING_BEST), []  # a few negative values are faults
        best = next((best for best in _SYMMETRIC if max(-low, high) <= best), None)
        if best is None or high > 2 * -low or -low > 2 * high:
            raise DataError(
                f"{file}, column '{column}': ratings from {low:g} to {high:g} are not on a recognised scale",
                field=column,
                remedy=f"Set {_SETTING} = [lowest, highest]; leave cells without a rating empty",
                code="bad_rating",
            )
        return _rescaled((-best, best), ratings, file, column, how)
    if high <= 1:
        if ratings.n_unique() == 1 and high == 1:
            same = note("one_rating", file, column, "every rating is 1, which counts as liked", how)
            return (0.0, 1.0), [same]
        return _rescaled((0.0, 1.0), ratings, file, column, how)
    stray = (ratings > RATING_BEST).mean()
    if high > RATING_BEST and isinstance(stray, float) and stray <= _STRAY:
        return (0.0, RATING_BEST), []
    if high > _BESTS[-1]:
        raise DataError(
            f"{file}, column '{column}': ratings from {low:g} to {high:g} are not on a recognised scale",
            field=column,
            remedy=f"Set {_SETTING} = [lowest, highest], or name the kind of event if these are not ratings",
            code="bad_rating",
        )
    # A small file may lack a rating of 10 by chance. A large file whose highest rating is 7 is on a scale of 7.
    bests = [best for best in _BESTS if best != 7 or (high in (6.0, 7.0) and len(ratings) >= _FEW)]
    best = next(best for best in bests if high <= best)
    if best == RATING_BEST:
        notes = []
        if high < RATING_BEST - 0.5 and len(ratings) >= _FEW:
            notes.append(note("rating_scale", file, column, f"the best rating is {high:g}, read as stars of 5", how))
        return (0.0, RATING_BEST), [*notes, *_zeros(ratings, file, column)]
    return _rescaled((0.0, best), ratings, file, column, how)


def to_stars(ratings: pl.Expr, scale: tuple[float, float]) -> pl.Expr:
    """Rescale ratings to 5 stars: 7 of 10 becomes 3.5. The middle of a scale with negative values becomes 3."""
    low, high = scale
    if low < 0:
        return 1.0 + (ratings - low) * ((RATING_BEST - 1.0) / (high - low))
    return ratings * (RATING_BEST / high)


def _rescaled(
    scale: tuple[float, float], ratings: pl.Series, file: str, column: str, how: str
) -> tuple[tuple[float, float], list[Finding]]:
    found = note(
        "rating_scale",
        file,
        column,
        f"ratings are on a scale from {scale[0]:g} to {scale[1]:g}, rescaled to 5 stars",
        how,
    )
    return scale, [found, *(_zeros(ratings, file, column) if scale[0] == 0 and 1 < scale[1] <= 10 else [])]


def _zeros(ratings: pl.Series, file: str, column: str) -> list[Finding]:
    """Report many zeros: on a scale that starts at 1, a zero usually means that there is no rating."""
    zeros = int((ratings == 0).sum())
    if zeros < _MANY_ZEROS * len(ratings) or ((ratings > 0) & (ratings < 1)).any():
        return []
    remedy = "Leave the cells empty if 0 means that there is no rating"
    return [note("zero_ratings", file, column, f"{zeros:,} ratings are 0 and count as the lowest", remedy)]
