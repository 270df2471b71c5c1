"""Images of one content under several labels are found and named."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from longtail.data.conflicts import conflicting, conflicts_text


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 3)), max_size=25))
def test_an_image_conflicts_where_another_of_its_content_has_another_label(rows: list) -> None:
    hashes = np.array([content for content, _ in rows], dtype="<U1")
    label = np.array([number for _, number in rows], dtype=np.int64)
    expected = [any(a == b and x != y for b, y in rows) for a, x in rows]
    assert conflicting(hashes, label).tolist() == expected


def test_the_first_are_named_with_all_their_copies() -> None:
    hashes, label = np.array(list("zdzaabbccd")), np.array([0, 0, 0, 0, 1, 0, 1, 1, 0, 2])
    text = conflicts_text(hashes, label, ["cat", "dog", "e\nmu"], "f{}".format)
    assert text == (
        "4 images are under several labels (8 copies): f1 (cat) = f9 ('e\\nmu'); f3 (cat) = f4 (dog); "
        "f5 (cat) = f6 (dog); ..."
    )
