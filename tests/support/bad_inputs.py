"""What can be wrong with the files and words that a stage is given: damages, and where they are tried."""

import shutil

import numpy as np

from tests.support.damages import (
    ANY_FILE,
    IMAGES,
    PHOTO,
    Damage,
    array,
    bomb,
    boundless_array,
    column,
    copied,
    image_list,
    keys,
    leading_out,
    made,
    more,
    nothing,
    rows,
    text,
    weights,
)

DATA = "data/digits-lt"
POOL = f"{DATA}/pool.parquet"
TRAIN, META = f"{DATA}/imb50/train.parquet", f"{DATA}/imb50/meta.parquet"
PLAN, FOCAL, HEADS, EVALUATION = (
    f"{DATA}/plan/imb50/{name}.json"
    for name in ("represent/cross_entropy", "represent/focal", "retrain/cross_entropy-heads", "evaluation")
)
TABLES = f"{DATA}/plan/tables.json"
MODEL = "models/digits-lt/imb50/cross_entropy/seed1"
CELL, HISTORY, TIMING = f"{MODEL}/cell.json", f"{MODEL}/history.parquet", f"{MODEL}/timing.json"
LAST, SELECTED = f"{MODEL}/weights.safetensors", f"{MODEL}/selected.safetensors"
PREDICTIONS = f"{MODEL}/predictions.parquet"
FIGURE = "reports/digits-lt/figure3.svg"
REPORT, OURS = (
    f"reports/digits-lt/cells/imb50/{name}/seed1.json" for name in ("cross_entropy", "difficulty_net")
)
DATABASE = "mlruns/mlflow.db"

PREDICT, EXPORT = f"predict {PHOTO} --model {MODEL}", f"export --model {MODEL} --onnx x.onnx"
REPRESENT, RETRAIN, EVALUATE = (
    "represent 50 cross_entropy",
    "retrain 50 cross_entropy",
    "evaluate 50 cross_entropy",
)
OWN = "prepare --benchmark own"


READ: list[tuple[str, tuple[str, ...]]] = [
    ("prepare", ("params.yaml",)),
    (OWN, ("params.yaml", PHOTO)),
    ("subsample 50", ("params.yaml", POOL)),
    ("extract_meta 50", ("params.yaml", POOL, TRAIN)),
    ("plan", ("params.yaml",)),
    (REPRESENT, (PLAN, POOL, IMAGES, TRAIN, META)),
    (RETRAIN, (HEADS, POOL, IMAGES, TRAIN, META, CELL, SELECTED)),
    (EVALUATE, (EVALUATION, CELL, PREDICTIONS)),
    ("tabulate", (TABLES, REPORT)),
    ("plot", (TABLES, REPORT, HISTORY)),
    ("page", (FIGURE,)),
    ("track", (TABLES, REPORT, CELL, TIMING, HISTORY)),
    (PREDICT, (CELL, LAST, PHOTO)),
    (EXPORT, (CELL, LAST)),
    ("pipelines --check", ("dvc.yaml",)),
]
"""The files that each stage reads, and that must be there and whole."""

SAME_LOADER = {HEADS: PLAN, META: TRAIN, SELECTED: LAST}
"""Files that are read as others are."""

HARMLESS = {(OWN, PHOTO, "gone"), (OWN, PHOTO, "a folder")}
"""An image less in its class."""


def tried() -> list[tuple[str, str, str]]:
    """(command, file, damage): every damage once for each way to read a file, and one wherever it is read."""
    seen: set[str] = set()
    found = []
    for command, files in READ:
        for file in files:
            # as an image of a class, and as one to predict: two ways to read it
            loader = f"{command} {file}" if file == PHOTO else SAME_LOADER.get(file, file)
            kinds = ["truncated"] if loader in seen else list(ANY_FILE)
            seen.add(loader)
            found += [(command, file, kind) for kind in kinds if (command, file, kind) not in HARMLESS]
    return found


GOOD = "lambda: 0.3\nimbalances: {digits-lt: [50]}\nseeds: [1]\n"
NAN = float("nan")

CASES: list[tuple[str, Damage, tuple[str, ...]]] = [
    # a person's parameters
    ("plan", more("seeds: [2]\n"), ("params.yaml", "'seeds' appears twice", "line 7")),
    ("plan", more("sedes: [2]\n"), ("params.yaml", "unknown key 'sedes'")),
    ("plan", text(GOOD.replace("[1]", str(list(range(2000))))), ("params.yaml: seeds", "at most 1000")),
    ("plan", text(GOOD.replace("[1]", str(list(range(300_000))))), ("params.yaml", "bytes")),
    ("plan", text(GOOD.replace("[1]", f"[{10**300}]")), ("params.yaml: seeds", "2^32")),
    ("plan", text(GOOD.replace("[1]", "1")), ("params.yaml: seeds: found 1",)),
    ("plan", text(GOOD.replace("0.3", "1.0e+308")), ("params.yaml: lambda: found 1e+308",)),
    ("plan", text(GOOD.replace("[50]", "[1.0e+30]")), ("params.yaml: imbalances", "from 1 to 1e6")),
    ("plan", text(GOOD.replace("digits-lt", "own")), ("params.yaml: imbalances: none of digits-lt",)),
    ("plan", text(GOOD + f"data_seed: {10**30}\n"), ("params.yaml: data_seed",)),
    ("plan", text(GOOD + "paco: {dim: 1000000000}\n"), ("params.yaml: paco.dim: found 1000000000",)),
    ("plan", text(GOOD + "own: {iterations: 1000000000000}\n"), ("params.yaml: own.iterations",)),
    ("plan", text(GOOD + "own: {image_size: 1000000}\n"), ("params.yaml: own.image_size",)),
    ("plan", text(GOOD + "meta_per_class: 1000000000\n"), ("params.yaml: meta_per_class",)),
    ("plan", text(GOOD + 'images: {"a\\nb": 3}\n'), ("params.yaml: images.'a\\nb': found 3",)),
    ("plan", text(GOOD + 'images: {"a\\nb": x}\n'), ("params.yaml: images: found {'a\\nb': 'x'}",)),
    ("plan", text("a: &a [1, 1]\nb: [*a, *a]\n"), ("params.yaml: an alias (line 2)",)),
    ("plan", text("x: &x {a: 1}\ny: {<<: [*x, *x]}\n"), ("params.yaml: an alias (line 2)",)),
    ("plan", text("{a: " * 5000), ("params.yaml: not YAML",)),
    ("plan", text("- " * 5000), ("params.yaml",)),
    ("plan", text(f'? "{"k" * 100_000}"\n: 1\n'), ("params.yaml: unknown key",)),
    ("plan --benchmark ../x", nothing, ("benchmark '../x'",)),
    # words on the command line
    ("subsample 1e300", nothing, ("imbalance 1e+300", "largest imbalance that works")),
    ("subsample inf", nothing, ("imbalance inf",)),
    ("subsample -- -5", nothing, ("imbalance -5",)),
    ("subsample abc", nothing, ("'imbalance'", "--help")),
    ("subsample", nothing, ("Missing argument 'imbalance'",)),
    ("subsample 50 --nope", nothing, ("--nope",)),
    ("represent nan focal", nothing, ("imbnan/represent/focal.json: no such plan",)),
    ("represent 50 ../../x", nothing, ("x.json: no such plan",)),
    ("represent 50 focal --jobs -3", nothing, ("--jobs",)),
    ("evaluate 7", nothing, ("imb7/evaluation.json: no such plan",)),
    ("evaluate 50 ../x", nothing, ("bundle '../x': not planned",)),
    (f"{PREDICT} --top 0", nothing, ("--top",)),
    (f"{PREDICT} --device gpu", nothing, ("'gpu' is not one of",)),
    (f"{PREDICT} --csv /proc/x.csv", nothing, ("--csv /proc/x.csv",)),
    (f"predict /dev/zero --model {MODEL}", nothing, ("/dev/zero: not a file",)),
    (f"predict {PHOTO} --model nothing", nothing, ("nothing/cell.json: no such cell",)),
    (f"export --model {MODEL}", nothing, ("--onnx FILE, --mlflow",)),
    ("ui --port 0", nothing, ("--port",)),
    ("ui --port 99999", nothing, ("--port",)),
    # a person's images
    (OWN, bomb, ("000.png", "more than 80,000,000 pixels")),
    (PREDICT, bomb, ("000.png", "more than 80,000,000 pixels")),
    (OWN, leading_out, ("link.png", "symbolic links lead out")),
    (
        OWN,
        image_list("path,label\n" + "".join(f"x/{n}.png,{n % 3}\n" for n in range(10_000))),
        ("list.csv: 10000 of 10000 paths", "x/0.png (no such file)", "and 9995 more"),
    ),
    (
        OWN,
        image_list("path,label\n/etc/passwd,a\n../params.yaml,b\n"),
        ("list.csv", "(absolute)", "(climbs)"),
    ),
    (OWN, image_list(""), ("list.csv: needs one column path and one label; found",)),
    (OWN, image_list("file,class\na,b\n"), ("list.csv: needs one column path and one label; found",)),
    (OWN, image_list("path,label\ncommon/000.png,\n"), ("list.csv", "first: row 1")),
    (OWN, lambda folder: shutil.rmtree(folder / "photos"), ("photos: no such file or folder",)),
    ("prepare --benchmark cifar100-lt", nothing, ("cifar: no such file or folder",)),
    (
        "prepare --benchmark cifar100-lt",
        made("cifar/train-0.parquet", b""),
        ("cifar/train-0.parquet: not parquet",),
    ),
    ("prepare --benchmark cifar100-lt", made("cifar/cifar-100-python.tar.gz", b""), ("tar.gz: MD5 ",)),
    # tables of images
    ("subsample 50", rows(POOL, 60_000_000), (POOL, "60,000,000 rows")),
    ("subsample 50", column(POOL, "label", 99), (POOL, "label 99, expected 0 to 9")),
    ("subsample 50", column(POOL, "hash", "0"), (POOL, "images are in source and test")),
    ("subsample 50", rows(POOL, 3), (POOL, "columns image int64, expected")),
    ("subsample 50", copied(TRAIN, POOL), (POOL, "a train table, expected a pool")),
    ("extract_meta 50", copied(META, TRAIN), (TRAIN, "a meta table, expected a train")),
    (REPRESENT, copied(TRAIN, META), (META, "a train table, expected a meta")),
    (REPRESENT, column(META, "label", -1), (META, "label -1, expected 0 to 9")),
    (REPRESENT, boundless_array, (IMAGES,)),
    (REPRESENT, array(lambda images: images / 255), (IMAGES, "float64")),
    (REPRESENT, array(lambda images: np.full(images.shape, NAN)), (IMAGES, "float64")),
    (REPRESENT, array(lambda images: images[:100]), (IMAGES, "expected uint8")),
    (
        REPRESENT,
        array(lambda images: 255 - images),
        (IMAGES, "1797 of 1797 images are not those of the pool"),
    ),
    # plans
    (REPRESENT, copied(FOCAL, PLAN), (PLAN, "the plan of focal")),
    (REPRESENT, keys(PLAN, method="nothing"), (PLAN, "method 'nothing' is not known")),
    (REPRESENT, keys(PLAN, settings={"x": 1}), (PLAN, "x: found 1")),
    (REPRESENT, keys(PLAN, code={"../x.py": "1"}), (PLAN, "../x.py")),
    (REPRESENT, keys(PLAN, mean=[1, 2, 3, 4]), (PLAN, "mean: found [1, 2, 3, 4]")),
    (REPRESENT, keys(PLAN, std=[0.0]), (PLAN, "std.0: found 0.0")),
    (REPRESENT, keys(PLAN, network="nothing"), (PLAN, "network 'nothing' is not known", "digits_resnet")),
    (RETRAIN, keys(HEADS, network="nothing"), (HEADS, "network 'nothing' is not known")),
    (REPRESENT, keys(PLAN, training={"batch_size": 0}), (PLAN, "training.batch_size: found 0")),
    (REPRESENT, keys(PLAN, training={"batch_size": 10**9}), (PLAN, "training.batch_size: found 1000000000")),
    (
        REPRESENT,
        keys(PLAN, training={"meta_batch_size": 10**9}),
        (PLAN, "training.meta_batch_size: found 10"),
    ),
    (REPRESENT, keys(PLAN, training={"iterations": -1}), (PLAN, "training.iterations: found -1")),
    (EVALUATE, copied(TABLES, EVALUATION), (EVALUATION, "imbalance: missing")),
    ("tabulate", keys(TABLES, bundles=[]), (TABLES, "bundles: found []")),
    ("plot", keys(TABLES, imbalances=[]), (TABLES, "imbalances: found []")),
    # trained cells
    (RETRAIN, weights(SELECTED, NAN), (SELECTED, "is not finite")),
    (PREDICT, weights(LAST, NAN), (LAST, "is not finite")),
    (f"{PREDICT} --weights selected", weights(SELECTED, float("inf")), (SELECTED, "is not finite")),
    (EXPORT, weights(LAST, NAN), (LAST, "is not finite")),
    (f"export --model {MODEL} --mlflow", weights(LAST, NAN), (LAST, "is not finite")),
    (PREDICT, keys(CELL, std=[0.0]), (CELL, "std.0: found 0.0")),
    (PREDICT, keys(CELL, mean=[1, 2]), (CELL, "one number for each channel")),
    (PREDICT, keys(CELL, image_shape=[10**9, 10**9, 1]), (CELL, "image_shape.0: found 1000000000")),
    (PREDICT, keys(CELL, image_shape=[8, 8, 2]), (CELL, "image_shape.2: found 2")),
    (PREDICT, keys(CELL, counts=[]), (CELL, "counts: found []")),
    (PREDICT, keys(CELL, counts=[0] * 10), (CELL, "counts.0: found 0")),
    (PREDICT, keys(CELL, class_names=["a"]), (CELL, "1 class_names for 10 counts")),
    (PREDICT, keys(CELL, network="nothing"), (CELL, "network 'nothing' is not known")),
    # predictions, histories, reports
    (EVALUATE, column(PREDICTIONS, "label", 99), (PREDICTIONS, "label 99 in row 0")),
    (EVALUATE, column(PREDICTIONS, "label", None), (PREDICTIONS,)),
    (EVALUATE, column(PREDICTIONS, "logits", [NAN] * 10), (PREDICTIONS, "row 0 are not finite")),
    (EVALUATE, column(PREDICTIONS, "logits", [0.0]), (PREDICTIONS, "1 logits for an image")),
    (EVALUATE, column(PREDICTIONS, "image", 1), (PREDICTIONS, "changed since its training wrote it")),
    (EVALUATE, keys(CELL, files=None), (CELL, "files: found None")),
    (EVALUATE, column(PREDICTIONS, "hash", "0" * 64), (PREDICTIONS, "the training never saw the test set")),
    (EVALUATE, column(PREDICTIONS, "hash", None), (PREDICTIONS, "rows without a value for hash")),
    (
        EVALUATE,
        keys(CELL, disjoint={"test": {"images": 1, "sha256": "0" * 64}}),
        (PREDICTIONS, "000000000000"),
    ),
    (EVALUATE, keys(CELL, disjoint=[]), (CELL, "disjoint")),
    (EVALUATE, keys(CELL, disjoint={"test": 7}), (CELL, "disjoint.test: found 7")),
    (EVALUATE, keys(CELL, counts=[0] * 10), (CELL, "counts.0: found 0")),
    (EVALUATE, keys(CELL, counts=["a"] * 10), (CELL, "counts.0: found 'a'")),
    (EVALUATE, keys(CELL, class_names=["a"]), (CELL, "1 class_names for 10 counts")),
    (EVALUATE, keys(CELL, fingerprint=7), (CELL, "fingerprint: found 7")),
    ("plot", column(HISTORY, "iteration", 0), (HISTORY, "do not rise")),
    ("plot", column(HISTORY, "train_loss", float("inf")), (HISTORY, "train_loss is infinite in row 0")),
    ("plot", column(HISTORY, "accuracy", [0.5] * 3), (HISTORY,)),
    ("track", keys(TIMING, seconds="x"), (TIMING, "seconds 'x'")),
    ("tabulate", keys(REPORT, accuracy=[]), (REPORT, "accuracy: found []")),
    ("tabulate", keys(REPORT, accuracy={"all": 1e308}), (REPORT, "accuracy.all: found 1e+308")),
    ("tabulate", keys(REPORT, seed="x"), (REPORT, "seed: found 'x'")),
    ("tabulate", keys(REPORT, method="nothing"), (REPORT, "method 'nothing' is not known")),
    (
        "tabulate",
        keys(OURS, settings={"lambda": "x"}),
        (OURS, "settings of difficulty_net: lambda: found 'x'"),
    ),
    (
        "tabulate",
        keys(OURS, settings={"lambda": [1]}),
        (OURS, "settings of difficulty_net: lambda: found [1]"),
    ),
    ("tabulate", keys(OURS, settings={}), (OURS, "settings of difficulty_net: no ")),
    ("plot", keys(OURS, settings={"lambda": "x"}), (OURS, "lambda: found 'x'")),
    ("track", keys(OURS, settings={"lambda": "x"}), (OURS, "lambda: found 'x'")),
    ("tabulate", keys(REPORT, fingerprint="0" * 64), (REPORT, "another training")),
    ("tabulate", keys(REPORT, cell="other", seed=7), (REPORT, "is of cell 'other'")),
    # MLflow's database
    ("track", made(DATABASE, b""), (DATABASE, "empty")),
    ("track", made(DATABASE, b"SQLite format 3\0" + b"x" * 500), (DATABASE, "not a database")),
    ("track", made(f"{DATABASE}/x", b""), (DATABASE,)),
    ("track", made("mlruns", b""), ("mlruns",)),
    ("ui --port 45871", made(DATABASE, b"x" * 500), (DATABASE, "not a database")),
]
"""A command, what is wrong, and what the one line must say."""
