"""What holds for all profiles, manifests and parameters, whichever hypothesis finds."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from longtail.config.params import Params, read_params
from longtail.data.manifests import draw_meta, draw_train, read_manifest, write_manifest
from longtail.data.pools import Pool, draw_pool, read_pool, write_pool
from longtail.data.profiles import exponential_profile, natural_profile
from longtail.data.sources import Source
from longtail.errors import InputError
from longtail.files import read_object
from longtail.planning.planner import plan_bundles

within = settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def answer(action: Callable[[], Any]) -> Any:
    """What `action` gives, or its refusal as text, which must be one line of readable length."""
    try:
        return action()
    except InputError as error:
        message = str(error)
    assert len(message.splitlines()) == 1
    assert 10 < len(message) < 1000
    return message


@within
@given(st.integers(-5, 10**7), st.floats(), st.integers(1, 300))
def test_a_profile_falls_from_n_max_to_at_least_one_image_or_is_refused(
    n_max: int, imbalance: float, classes: int
) -> None:
    counts = answer(lambda: exponential_profile(n_max, imbalance, classes))
    if isinstance(counts, str):
        assert n_max < 1 or not imbalance >= 1 or imbalance > n_max or imbalance == float("inf")
        return
    assert len(counts) == classes
    assert counts[0] == n_max
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] >= 1


@within
@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=40), st.floats())
def test_a_natural_profile_takes_no_more_than_there_is_and_keeps_the_order_or_is_refused(
    left: list[int], imbalance: float
) -> None:
    names = [f"class {number}" for number in range(len(left))]
    counts = answer(lambda: natural_profile(left, imbalance, names))
    if isinstance(counts, str):
        assert not imbalance >= 1 or 0 in left or imbalance > min(left)
        return
    assert all(1 <= count <= there for count, there in zip(counts, left, strict=True))
    if imbalance == 1:
        assert counts == left


def pool_of(contents: list[int], seed: int, keep: bool) -> Pool:
    """A pool of images of one value, in three classes, an official test part at the end."""
    images = np.array(contents, np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 1), np.uint8)
    test = np.arange(len(contents)) >= len(contents) - 6
    source = Source(images, np.arange(len(contents)) % 3, ("a", "b\n", "c"), test, in_file_order=True)
    return draw_pool(
        source, benchmark="x", data_seed=seed, test_per_class=None, duplicates="keep" if keep else "exclude"
    )


@within
@given(
    st.lists(st.integers(0, 255), min_size=30, max_size=60),
    st.integers(0, 2**63 - 1),
    st.booleans(),
    st.sampled_from(("image", "label", "hash")),
)
def test_a_manifest_comes_back_as_it_was_written_and_no_other_does(
    tmp_path: Path, contents: list[int], seed: int, keep: bool, changed: str
) -> None:
    pool = answer(lambda: pool_of(contents, seed, keep))
    sets = answer(lambda: (draw_train(pool, 2, [2, 1, 1], 1), draw_meta(pool, 2, 1)))
    if isinstance(sets, str):
        return
    path = tmp_path / "pool.parquet"
    if answer(lambda: write_pool(path, pool)) is None and isinstance(answer(lambda: read_pool(path)), Pool):
        assert read_pool(path).fingerprint == pool.fingerprint
    for manifest in sets:
        write_manifest(path, manifest)
        found = read_manifest(path, manifest.kind, pool, 2)
        assert found.fingerprint == manifest.fingerprint
        assert (found.image == manifest.image).all()
        # one value of one row is another
        column = getattr(manifest, changed).copy()
        column[0] = "0" * 64 if changed == "hash" else 2 - column[0]
        if column[0] != getattr(manifest, changed)[0]:
            write_manifest(path, replace(manifest, **{changed: column}))
            assert isinstance(answer(lambda kind=manifest.kind: read_manifest(path, kind, pool, 2)), str)
    train, meta = (set(part.hash.tolist()) for part in sets)
    assert not train & meta


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from((10**30, "download", "content", "digits-lt", [50], {"digits-lt": [50]})),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
known = sorted(
    {*(field.alias or name for name, field in Params.model_fields.items()), "paco", "las", "focal"}
)


@within
@given(st.dictionaries(st.sampled_from(known) | st.text(max_size=8), values, max_size=5))
def test_whatever_a_person_writes_gives_parameters_or_one_line(
    tmp_path: Path, written: dict[str, Any]
) -> None:
    sound = {"lambda": 0.3, "seeds": [1], "imbalances": {"digits-lt": [50]}}
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump({**sound, **written}, allow_unicode=True), encoding="utf-8")
    params = answer(lambda: read_params(path))
    if isinstance(params, Params) and "digits-lt" in params.imbalances:
        answer(lambda: plan_bundles(params.benchmark("digits-lt"), params))


@within
@given(st.binary(max_size=200))
def test_whatever_bytes_stand_in_a_file_it_is_an_object_or_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "params.yaml"
    path.write_bytes(content)
    assert isinstance(answer(lambda: read_params(path)), Params | str)
    assert isinstance(answer(lambda: read_object(path)), dict | str)


@pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity"])
def test_numbers_that_are_none_are_no_json_of_ours(tmp_path: Path, constant: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(f'{{"ece": {constant}}}')
    assert f"{constant} is in it" in answer(lambda: read_object(path))


def test_a_file_too_large_to_be_ours_is_not_read(tmp_path: Path) -> None:
    for name, read in (("a.json", lambda path: read_object(path)), ("p.yaml", read_params)):
        path = tmp_path / name
        path.touch()
        os.truncate(path, 2**40)  # a hole: it takes no space
        assert "1,099,511,627,776 bytes" in answer(lambda path=path, read=read: read(path))
