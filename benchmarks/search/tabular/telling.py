"""A replay as a markdown page; the JSON beside it holds the same numbers."""

from typing import Any

Json = dict[str, Any]


def describe(told: Json) -> str:
    """The page of a replay, from what its JSON says."""
    table = told["table"]
    lines = [f"# Search policies replayed on a table, {told['date']}", "", f"Command: `{told['command']}`", ""]
    lines += [f"- {name}: {value}" for name, value in told["environment"].items()]
    lines += [
        f"- table: {table['rows']} of {table['rows_wanted']} rows, sha256 {table['sha256'][:16]}, built by "
        f"`{table['command']}`",
        f"- source model {table['source']['model']}, {table['budget']}, {table['validation']} for validation",
        f"- seeds 0 to {told['seeds'] - 1} in each of {', '.join(told['domains'])}; {told['seconds']:.0f} s",
        "",
        "A suggestion counts as the nearest cell of the grid: λ below the floor as 0, the others nearest in log. "
        "A repeated cell costs a whole trial again. Regret is the table's best score less the best of the trials "
        "trained to their end, in dB: median (quartiles) over domains and seeds. Stopped trials are not told to the "
        "sampler.",
        "",
        *_answers(told),
        *_policies(told),
        *_stoppings(told),
        *_domains(told),
        *_correlations(told),
        *_budgets(told),
    ]
    return "\n".join(lines) + "\n"


def _answers(told: Json) -> list[str]:
    words = {True: "yes", False: "no", None: "not known: this replay lacks a policy or trials that it needs"}
    lines = []
    for each in told["questions"]:
        values = "; ".join(f"{name}: {_db(value)}" for name, value in each["values"].items())
        lines.append(f"- {each['question']}: **{words[each['answer']]}** ({values})")
    return [*lines, ""]


def _policies(told: Json) -> list[str]:
    budgets = told["trial_counts"]
    lines = [
        "## Samplers and starting points",
        "",
        "| sampler | starts | " + " | ".join(f"{n} trials" for n in budgets) + " | repeated cells |",
        "|---|---|" + "---:|" * (len(budgets) + 1),
    ]
    for each in told["policies"]:
        cells = " | ".join(_quartiles(each["regret"][str(n)]) for n in budgets)
        lines.append(f"| {each['sampler']} | {each['starts']} | {cells} | {each['repeats']:.1f} |")
    exact = " | ".join(f"{value:.4f}" for value in told["expected_random_regret"].values())
    lines.append(f"| random, exact mean | none | {exact} | |")
    means = " | ".join(f"{value:.4f}" for value in told["mean_random_regret"].values())
    return [*lines, *([f"| random, mean of the seeds | none | {means} | |"] if means else []), ""]


def _stoppings(told: Json) -> list[str]:
    if not told["stopping"]:
        return []
    trials = told["stopping_trials"]
    lines = [
        f"## Early stopping (ASHA), {trials} trials",
        "",
        "| sampler | starts | reduction factor | first rung | cost in full trials | saved | median regret | "
        "mean regret added |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for each in told["stopping"]:
        lines.append(
            f"| {each['sampler']} | {each['starts']} | {each['reduction_factor']} | {each['grace']}/{told['rungs']} | "
            f"{each['cost']:.1f} | {100 * each['saved']:.0f} % | {each['median_regret_db']:.4f} | "
            f"{each['mean_regret_added_db']:+.4f} |"
        )
    return [*lines, ""]


def _domains(told: Json) -> list[str]:
    lines = [
        "## Domains",
        "",
        "| domain | best | learning rate | λ | frozen depth | zero-shot | bicubic | sd over seeds | diverged |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name, each in told["domains"].items():
        best = each["best"]
        lines.append(
            f"| {name} | {best['psnr']:.3f} | {best['learning_rate']:.2e} | {best['lambda_']:.2e} | "
            f"{best['frozen_depth']} | {each['zero_shot']:.3f} | {each['bicubic']:.3f} | {_db(each['seed_noise'])} | "
            f"{each['diverged']} |"
        )
    return [*lines, ""]


def _correlations(told: Json) -> list[str]:
    lines = [
        "## Rank correlation of each rung with the final score",
        "",
        "Spearman's ρ / Kendall's τ over all cells (Spearman's ρ within the best quarter).",
        "",
        "| domain | " + " | ".join(f"{rung}/{told['rungs']}" for rung in range(1, told["rungs"] + 1)) + " |",
        "|---|" + "---:|" * told["rungs"],
    ]
    for name, each in told["domains"].items():
        cells = " | ".join(
            f"{r['spearman']:.2f} / {r['kendall']:.2f} ({r['spearman_best_quarter']:.2f})" for r in each["correlations"]
        )
        lines.append(f"| {name} | {cells} |")
    return [*lines, ""]


def _budgets(told: Json) -> list[str]:
    lines = [
        "## Best row by training scenes",
        "",
        "λ brings: best row with λ > 0 less best row with λ = 0. Averaging brings: best point on the line from source "
        "to tuned weights less the tuned end. Both pick the best of several, so chance alone makes them rise.",
        "",
        "| domain | rows | scenes | learning rate | λ | frozen depth | over zero-shot | λ brings | averaging brings |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name, domain in told["domains"].items():
        for each in domain["data_budgets"]:
            best = each["best"]
            brings = "–" if each["lambda_brings"] is None else f"{each['lambda_brings']:+.3f}"
            lines.append(
                f"| {name} | {each['part']} | {each['scenes']} | {best['learning_rate']:.2e} | {best['lambda_']:.2e} | "
                f"{best['frozen_depth']} | {each['over_zero_shot']:+.3f} | {brings} | "
                f"{each['interpolation_brings']:+.3f} |"
            )
    return lines


def _quartiles(each: Json) -> str:
    return f"{each['median']:.4f} ({each['low']:.4f}–{each['high']:.4f})"


def _db(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.4f} dB"
