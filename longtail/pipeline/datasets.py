"""The data sets of a benchmark, rebuilt if they are not what params.yaml asks for."""

from collections.abc import Iterable

from longtail.config.benchmarks import Benchmark
from longtail.config.params import Params
from longtail.data.manifests import read_manifest
from longtail.data.pools import read_pool
from longtail.errors import InputError
from longtail.pipeline import paths
from longtail.pipeline.extract_meta import extract_meta
from longtail.pipeline.plan import plan
from longtail.pipeline.prepare import prepare
from longtail.pipeline.subsample import subsample


def is_current(benchmark: Benchmark, params: Params) -> bool:
    """Whether pool and images are there and drawn as `params` say.

    The user's own images may have changed under the same names: they are always read again.
    """
    if benchmark.source == "own" or not paths.images(benchmark.name).is_file():
        return False
    try:
        pool = read_pool(paths.pool(benchmark.name))
    except InputError:
        return False
    found = (pool.data_seed, pool.duplicates, pool.drawn_by, pool.test_per_class, pool.image_shape)
    wanted = (params.data_seed, params.duplicates, params.split)
    return found == (*wanted, benchmark.test_per_class, benchmark.image_shape)


def make(benchmark: Benchmark, params: Params, imbalances: Iterable[float]) -> None:
    """Run `plan`, `prepare` if its outputs are missing or stale, `subsample` and `extract_meta`."""
    plan(benchmark.name)
    if not is_current(benchmark, params):
        prepare(benchmark.name)
    for imbalance in imbalances:
        subsample(benchmark.name, imbalance)
        extract_meta(benchmark.name, imbalance)


def fingerprints(benchmark: str, imbalance: float) -> dict[str, str]:
    """The fingerprints of training set, meta set and pool; empty if one is missing or damaged."""
    try:
        pool = read_pool(paths.pool(benchmark))
        train = read_manifest(paths.train_manifest(benchmark, imbalance), "train", pool, imbalance)
        meta = read_manifest(paths.meta_manifest(benchmark, imbalance), "meta", pool, imbalance)
    except InputError:
        return {}
    return {"train": train.fingerprint, "meta": meta.fingerprint, "pool": pool.fingerprint}
