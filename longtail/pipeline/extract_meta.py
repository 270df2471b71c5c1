"""The balanced meta set, disjoint from training and test images."""

from longtail.config.params import read_params
from longtail.data.manifests import check_disjoint, draw_meta, read_manifest, write_manifest
from longtail.data.pools import read_pool
from longtail.pipeline import console, paths
from longtail.pipeline.remedies import remedies


@remedies()
def extract_meta(benchmark: str, imbalance: float) -> None:
    """Write data/<benchmark>/imb<R>/meta.parquet. Raises InputError if it shares an image with the others."""
    params = read_params()
    chosen = params.benchmark(benchmark).with_meta_per_class(params.meta_per_class)

    pool = read_pool(paths.pool(benchmark))
    train = read_manifest(paths.train_manifest(benchmark, imbalance), "train", pool, imbalance)
    console.say(
        "extract_meta",
        f"{benchmark}, imbalance {imbalance:g}: {chosen.meta_per_class} images for each of "
        f"{len(pool.class_names)} classes; {pool.rule}",
    )
    manifest = draw_meta(pool, imbalance, chosen.meta_per_class)
    test = pool.hash[pool.rows("test")]
    check_disjoint(train.hash, manifest.hash, test, pool.shared)
    kept = set(pool.shared.tolist()) & {*train.hash.tolist(), *manifest.hash.tolist()}
    path = paths.meta_manifest(benchmark, imbalance)
    write_manifest(path, manifest)
    console.done(
        "extract_meta",
        f"{path} with {len(manifest.image)} images, none in the {len(train.image)} training or "
        f"{len(test)} test images"
        + (f", but for {len(kept)} test images that both may hold (duplicates: keep)" if kept else "")
        + f" ({manifest.fingerprint[:12]})",
    )
