"""From params.yaml to plan files."""

from itertools import product

from longtail.config.params import read_params
from longtail.pipeline import console, paths
from longtail.pipeline.inputs import with_weights
from longtail.planning.epochs import training_counts
from longtail.planning.planner import plan_bundles, plan_evaluations, plan_tables, remarks
from longtail.planning.plans import StagePlan, write_plan


def plan(benchmark: str) -> None:
    """Write data/<benchmark>/plan: what decides each cell, and the cells of the tables. Raises InputError."""
    params = read_params()
    chosen = params.benchmark(benchmark)
    params = with_weights(params, chosen)
    bundles = plan_bundles(chosen, params)
    cells = sum(len(bundle.cells()) for bundle in bundles)
    console.say(
        "plan",
        f"{benchmark}: imbalances {', '.join(f'{r:g}' for r in params.imbalances_of(benchmark))}, "
        f"seeds {', '.join(map(str, params.seeds))}, lambda {params.lambda_:g}",
    )
    tables = plan_tables(chosen, params, bundles)
    if tables.networks_trained:
        lengths = {f"{plan.training.iterations} at imbalance {plan.imbalance:g}": None for plan in bundles}
        console.say("plan", f"{benchmark}{tables.networks_trained}; iterations: {', '.join(lengths)}")
    shown = chosen.with_meta_per_class(params.meta_per_class)
    for bundle in bundles:
        for remark in remarks(bundle, training_counts(shown, bundle.imbalance)):
            console.say("plan", remark)
        write_plan(paths.plan(benchmark, bundle.imbalance, bundle.bundle), bundle)
    for imbalance, stage in product(tables.imbalances, ("represent", "retrain")):
        own = [plan.bundle for plan in bundles if (plan.imbalance, plan.stage) == (imbalance, stage)]
        write_plan(paths.stage_plan(benchmark, imbalance, stage), StagePlan(bundles=own))
    for evaluation in plan_evaluations(chosen, params, bundles):
        write_plan(paths.evaluation_plan(benchmark, evaluation.imbalance), evaluation)
    write_plan(paths.tables_plan(benchmark), tables)
    console.done("plan", f"{console.counted(cells, 'cell')} in {console.counted(len(bundles), 'bundle')}")
