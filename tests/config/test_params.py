"""params.yaml: what is right is read, what is wrong gets one line with a remedy."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from longtail.config.params import Params, ScheduleParams, read_params
from longtail.errors import InputError

GOOD = "lambda: 0.3\nimbalances: {digits-lt: [50, 10]}\nseeds: [1, 2]\n"
SHIPPED = Path(__file__).parents[2] / "params.yaml"


def read(folder: Path, text: str | bytes) -> Params:
    path = folder / "params.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_params(path)


def refusal(folder: Path, text: str | bytes) -> str:
    with pytest.raises(InputError) as caught:
        read(folder, text)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert message.startswith(f"{folder / 'params.yaml'}: ")
    return message.removeprefix(f"{folder / 'params.yaml'}: ")


def test_the_shipped_file_is_valid_and_says_what_the_defaults_say() -> None:
    params = read_params(SHIPPED)
    assert params.lambda_ == 0.3
    assert params.imbalances_of("digits-lt") == [50, 10]
    assert params.seeds == [1, 2, 3, 4, 5]
    assert params.schedule == ScheduleParams()
    assert set(params.methods) == {"difficulty_net"}


def test_what_is_left_out_has_its_default(tmp_path: Path) -> None:
    params = read(tmp_path, GOOD)
    assert (params.data_seed, params.shot_groups, params.schedule.fraction, params.methods) == (
        0,
        "kang",
        1,
        {},
    )
    assert (params.images, params.duplicates, params.split, params.meta_per_class) == (
        {},
        "exclude",
        "content",
        None,
    )


def test_paths_of_images_start_at_the_folder_of_the_file(tmp_path: Path) -> None:
    text = "images: {cifar100-lt: ../cifar, cifar10-lt: download, digits-lt: /somewhere}\n"
    assert read(tmp_path, GOOD + text).images == {
        "cifar100-lt": str(tmp_path / "../cifar"),
        "cifar10-lt": "download",
        "digits-lt": "/somewhere",
    }


def test_an_empty_section_changes_nothing(tmp_path: Path) -> None:
    assert read(tmp_path, GOOD + "difficulty_net:\n").methods == {"difficulty_net": {}}


@pytest.mark.parametrize(
    ("text", "value"),
    [("1e-05", 1e-5), ("1e-5", 1e-5), ("2E+1", 20), ("1.5e-3", 1.5e-3), (".5", 0.5), ("1", 1), ("0", 0)],
)
def test_numbers_as_dvc_writes_them_are_numbers(tmp_path: Path, text: str, value: float) -> None:
    assert read(tmp_path, GOOD.replace("0.3", text)).lambda_ == value
    if value > 0:
        section = f"difficulty_net: {{learning_rate: {text}}}\n"
        assert read(tmp_path, GOOD + section).methods["difficulty_net"]["learning_rate"] == value


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (GOOD + "lamda: 1\n", "unknown key 'lamda'; did you mean 'lambda'?"),
        (GOOD + "seed: 1\n", "unknown key 'seed'; did you mean 'seeds'?"),
        (GOOD + "dificulty_net: {}\n", "unknown key 'dificulty_net'; did you mean 'difficulty_net'?"),
        (GOOD + "methods: {}\n", "unknown key 'methods'; "),
        (GOOD + "7: {}\n", "unknown key '7'; valid: lambda, "),
        (GOOD + '"a\\nb": 1\n', "unknown key 'a\\nb'; valid: "),
        (GOOD + "schedule: {fractoin: 0.5}\n", "schedule: unknown key 'fractoin'; did you mean 'fraction'?"),
        (
            GOOD + "difficulty_net: {meta_gradeint: exact}\n",
            "difficulty_net: unknown key 'meta_gradeint'; did you mean 'meta_gradient'?",
        ),
        (GOOD + "cross_entropy: {x: 1}\n", "cross_entropy: unknown key 'x'; it has no settings"),
        (
            GOOD + "difficulty_net: {lambda: 1}\n",
            "difficulty_net.lambda: lambda belongs at the top level; move it",
        ),
        (GOOD + "lambda: 0.6\n", "key 'lambda' appears twice (line 4); keep one"),
        (GOOD + "las: {start: last, start: last}\n", "key 'start' appears twice (line 4); keep one"),
        (GOOD + "difficulty_net: [1]\n", "difficulty_net: expected settings with values, found [1]"),
        (GOOD + "difficulty_net: []\n", "difficulty_net: expected settings with values, found []"),
        (GOOD + "difficulty_net: false\n", "difficulty_net: expected settings with values, found False"),
        (GOOD + "schedule: 3\n", "schedule: found 3; "),
        (GOOD + "difficulty_net: {meta_gradient: exakt}\n", "difficulty_net.meta_gradient: found 'exakt'; "),
        (GOOD + "difficulty_net: {hidden: 0}\n", "difficulty_net.hidden: found 0; "),
        (GOOD + "difficulty_net: {hidden: 8.5}\n", "difficulty_net.hidden: found 8.5; "),
        (GOOD + "difficulty_net: {hidden: true}\n", "difficulty_net.hidden: found True; "),
        (GOOD + "difficulty_net: {bias: 1}\n", "difficulty_net.bias: found 1; "),
        (GOOD + "difficulty_net: {learning_rate: .inf}\n", "difficulty_net.learning_rate: found inf; "),
        (GOOD + "las: {smoothing_head: 1}\n", "las.smoothing_head: found 1; "),
        (GOOD + "shot_groups: kong\n", "shot_groups: found 'kong'; "),
        (GOOD + "data_seed: -1\n", "data_seed: found -1; "),
        (GOOD + "duplicates: drop\n", "duplicates: found 'drop'; "),
        (GOOD + "split: files\n", "split: found 'files'; "),
        (GOOD + "meta_per_class: 0\n", "meta_per_class: found 0; "),
        (GOOD + "meta_per_class: 2.5\n", "meta_per_class: found 2.5; "),
        (GOOD + "images: download\n", "images: found 'download'; "),
        (GOOD + "images: {cifar100-lt: 3}\n", "images.cifar100-lt: found 3; "),
        (GOOD + "images: {cifar100-lt: }\n", "images.cifar100-lt: found None; "),
        (GOOD + "images: {cifar100-lt: ''}\n", "cifar100-lt: write download, or a path"),
        (GOOD + 'images: {cifar100-lt: "a\\nb"}\n', "cifar100-lt: write download, or a path"),
        (GOOD + "images: {cifar100: x}\n", "no benchmark 'cifar100'; did you mean 'cifar100-lt'?"),
        (GOOD + "schedule: {fraction: 0}\n", "schedule.fraction: found 0; "),
        (GOOD + "schedule: {fraction: 2}\n", "schedule.fraction: found 2; "),
        (GOOD + "schedule: {fraction: .nan}\n", "schedule.fraction: found nan; "),
        (GOOD + "schedule: {length: 0}\n", "schedule.length: found 0; "),
        (GOOD + "schedule: {length: 180.5}\n", "schedule.length: found 180.5; "),
        (GOOD + "schedule: {length: 100000001}\n", "schedule.length: found 100000001; "),
        (GOOD + "schedule: {unit: epoch}\n", "schedule.unit: found 'epoch'; "),
        (GOOD + "schedule: {unit: }\n", "schedule.unit: found None; "),
        (GOOD + "schedule: {batch_size: 0}\n", "schedule.batch_size: found 0; "),
        (GOOD + "schedule: {batch_size: true}\n", "schedule.batch_size: found True; "),
        (GOOD + "schedule: {batch_size: 1000001}\n", "schedule.batch_size: found 1000001; "),
        ("imbalances: {digits-lt: [50]}\nseeds: [1]\n", "lambda: missing; add it"),
        (GOOD.replace("0.3", "-0.1"), "lambda: found -0.1; "),
        (GOOD.replace("0.3", "much"), "lambda: found 'much'; "),
        (GOOD.replace("0.3", "'0.3'"), "lambda: found '0.3'; "),
        (GOOD.replace("0.3", ".nan"), "lambda: found nan; "),
        (GOOD.replace("0.3", ".inf"), "lambda: found inf; "),
        (GOOD.replace("0.3", "1e999"), "lambda: found inf; "),
        (GOOD.replace("0.3", "true"), "lambda: found True; "),
        (GOOD.replace("0.3", "[0.3]"), "lambda: found [0.3]; "),
        (GOOD.replace("0.3", ""), "lambda: found None; "),
        (GOOD.replace("[50, 10]", "[50, 0.5]"), "an imbalance is n_max / n_min, from 1 to 1e6; found 0.5"),
        (GOOD.replace("[50, 10]", "[.nan]"), "an imbalance is n_max / n_min, from 1 to 1e6; found nan"),
        (GOOD.replace("[50, 10]", "[50.0, 10]"), "imbalances.digits-lt: found 50.0; write 50"),
        (GOOD.replace("[50, 10]", "[fifty]"), "imbalances.digits-lt.0: found 'fifty'; "),
        (GOOD.replace("[50, 10]", "[]"), "imbalances.digits-lt: found []; "),
        (GOOD.replace("[50, 10]", "50"), "imbalances.digits-lt: found 50; "),
        (GOOD.replace("digits-lt", "digit-lt"), "did you mean 'digits-lt'?"),
        (GOOD.replace("{digits-lt: [50, 10]}", "{}"), "imbalances: found {}; "),
        (GOOD.replace("[50, 10]", "[50, 50]"), "the same imbalance twice"),
        (GOOD.replace("[1, 2]", "[1, 1]"), "the same seed twice"),
        (GOOD.replace("[1, 2]", "[1, -1]"), "a seed is 0 or more"),
        (GOOD.replace("[1, 2]", "[1.5]"), "seeds.0: found 1.5; "),
        (GOOD.replace("[1, 2]", "[true]"), "seeds.0: found True; "),
        (GOOD + "variants: []\n", "variants: found []; "),
        (
            GOOD + "variants: [focall]\n",
            "variants: found ['focall']; no variant 'focall'; did you mean 'focal'?",
        ),
        (GOOD + "variants: [las]\n", "variants: found ['las']; no variant 'las'; "),  # a head
        (GOOD.replace("[1, 2]", "[]"), "seeds: found []; "),
        ("", "expected keys with values, found NoneType"),
        ("- lambda\n", "expected keys with values, found list"),
        ("lambda\n", "expected keys with values, found str"),
        ("lambda: [0.3\nseeds: 1\n", "not YAML: "),
        ("lambda: \x00\n", "not YAML: "),
        (b"lambda: \xff\xfe\n", "not YAML: "),
        (GOOD + "data_seed: 2001-99-99\n", "not YAML: "),
        (GOOD + "data_seed: 0x_\n", "not YAML: "),
        (GOOD + f"data_seed: {'9' * 5000}\n", "not YAML: "),
        (GOOD + "? [1]\n: 2\n", "unknown key '(1,)'"),
        (GOOD + "data_seed: !!int\n", "not YAML: "),
        (GOOD + "data_seed: !!bool x\n", "not YAML: "),
        (GOOD + "data_seed: !!timestamp x\n", "not YAML: "),
        ("[" * 400, "not YAML: "),
        ("!!python/object/apply:os.getcwd []\n", "not YAML: "),
    ],
    ids=lambda value: str(value)[:24],
)
def test_what_is_wrong_is_named_in_one_line(tmp_path: Path, text: str | bytes, expected: str) -> None:
    assert expected in refusal(tmp_path, text)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.yaml: no such file; run from the folder"):
        read_params(tmp_path / "nowhere.yaml")


WORDS = (
    "lambda seeds imbalances schedule difficulty_net fraction hidden [ ] { } 1 -1 1e-5 yes ~ ' << 2001-13-01"
)
words = st.sampled_from([*WORDS.split(), ": ", ", ", "- ", "? ", "&a ", "*a ", "!!int ", "\n", "\n  "])


@contextmanager
def suppress_one_line_errors() -> Iterator[None]:
    try:
        yield
    except InputError as error:
        if len(str(error).splitlines()) != 1:
            raise


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150)
@given(st.lists(words, max_size=16).map("".join))
def test_no_text_gets_anything_but_parameters_or_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(GOOD + text)
    with suppress_one_line_errors():
        assert isinstance(read_params(path), Params)
