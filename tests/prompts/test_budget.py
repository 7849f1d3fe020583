from hypothesis import given
from hypothesis import strategies as st

from prompts import newest


@given(st.integers(0, 500), st.integers(10, 100))
def test_newest_keeps_the_end_in_blocks(length: int, most: int) -> None:
    kept = newest(range(length), most)
    assert len(kept) <= most
    assert list(kept) == list(range(length - len(kept), length))
    assert (length - len(kept)) % 10 == 0
    assert len(kept) > most - 10 or len(kept) == length
