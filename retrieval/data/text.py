"""Normalize text from files: Unicode form, blanks, null words, HTML."""

import html
import re
import unicodedata

import polars as pl

NULL_WORDS = (
    *("nan", "NaN", "NAN", "null", "NULL", "Null", "none", "None", "NONE", "nil", "NaT", "<NA>", "#N/A", "N/A", "n/a"),
    *("\\N", "-", "–", "—"),
)
"""Words for a missing value. ``NA`` is not one of them, because it may mean North America."""
BLANKS = (
    " \t\r\n\v\f\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000\u200b\u200c\u200d\u2060\ufeff"
)
"""Blank and zero-width characters that are stripped from the ends of text."""
CONTROL = r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]"
"""Characters that ids and titles must not contain."""
_TAG = re.compile(
    r"</?(?:a|b|big|br|center|cite|code|div|em|font|h[1-6]|hr|i|img|li|ol|p|s|small|span|strike|strong|sub|sup|tt|u|ul)"
    r"(?:\s[^<>]*)?/?>",
    re.IGNORECASE,
)
_ENTITY = r"&(?:[A-Za-z][A-Za-z0-9]{1,30}|#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6});"
_MARKUP = rf"{_ENTITY}|</?[A-Za-z][^<>]*>"
_UNFOLDED = r"^\s|\s$|\s\s|[\t\r\n\u00a0]"


def nfc(text: str) -> str:
    """Normalize to NFC, the Unicode form in which ids, attributes and filters are compared."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def plain_id(text: str) -> str:
    """Normalize an id as it is stored and looked up: NFC, without blanks at its ends."""
    return nfc(text).strip(BLANKS)


def without_markup(text: str) -> str:
    """Strip HTML: decode entities, even if escaped twice, and remove tags.

    >>> without_markup("Tom &amp;amp; <b>Jerry</b>")
    'Tom & Jerry'
    """
    for _ in range(3):
        decoded = html.unescape(text)
        if decoded == text:
            break
        text = decoded
    return _TAG.sub(lambda tag: " " if tag[0][1:3].lower() in ("br", "p>", "p ", "li", "di", "/p", "hr") else "", text)


def clean_text(values: pl.Series) -> tuple[pl.Series, pl.Series]:
    """Normalize to NFC, strip HTML and collapse blanks; also return a mask of the values with HTML. Nulls stay null."""
    marked = values.str.contains(_MARKUP).fill_null(value=False)
    if marked.any():
        plain = values.filter(marked).map_elements(without_markup, return_dtype=pl.String, skip_nulls=True)
        before = values.filter(marked)
        values = values.scatter(marked.arg_true(), plain)
        marked = marked.scatter(marked.arg_true(), before != plain)
    composed = values.str.normalize("NFC") if not is_ascii(values) else values
    if composed.str.contains(_UNFOLDED).any():
        composed = composed.str.replace_all(r"\s+", " ").str.strip_chars(BLANKS)
    return composed.rename(values.name), marked


def is_ascii(values: pl.Series) -> bool:
    """Whether all values are ASCII."""
    return bool((values.str.len_bytes() == values.str.len_chars()).all())


def is_null_word(values: pl.Series) -> pl.Series:
    """Return a mask, without nulls, of values that are words for a missing value."""
    return values.str.strip_chars(BLANKS).is_in(NULL_WORDS).fill_null(value=False)
