"""Prediction, before a search, of what it is worth: the best learning rate, λ and depth beyond it, and more steps.

The prediction comes from the phase map: fine-tunings trained for real over training scenes, steps, network and shift,
in each of which configurations were chosen on one half of the validation scenes and judged on the other
(``benchmarks/phase_map``). ``search_worth.json`` holds a small regression tree for each quantity, with the spread of
the cells in each leaf and how often the prediction was right in cells of a shift that the tree had not seen.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from importlib.resources import files
from typing import Literal, TypedDict, final

from trainables.degradation import Degradation
from trainables.network.architecture import Architecture
from trainables.network.network import SuperResolutionNet

Verdict = Literal["the portfolio is enough", "search the rate alone", "search all settings"]
Quantity = Literal["rate", "rest", "beyond", "steps"]

FactSet = Literal["stated", "measured"]
"""Facts that the settings state, or with them the gain of the source model over bicubic interpolation."""

FILE = "search_worth.json"
FEWEST_CELLS = 6
"""Fewest cells of a leaf."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchFacts:
    """Facts of a study that are known before it begins.

    Attributes:
        training_scenes: Scenes to train on.
        training_images: Images to train on.
        pixels: LR pixels of all patches of a fine-tuning: steps × patches per step × pixels of one.
        parameters: Weights of the network.
        noise: Standard deviation of the LR images' noise on the [0, 1] scale, the middle of its range.
        blur: Standard deviation of the optics' blur in LR pixels, the middle of its range.
        codec: 1 if LR images are compressed, otherwise 0.
        pairs: 1 if LR images are real, otherwise 0.
        zero_shot_gain: PSNR in dB of the source model as it is over bicubic interpolation, on the target's images; None
            if it was not measured.
    """

    training_scenes: int
    training_images: int
    pixels: int
    parameters: int
    noise: float
    blur: float
    codec: int
    pairs: int
    zero_shot_gain: float | None = None


@final
class Leaf(TypedDict):
    """Worth in the cells of a leaf, in dB: median, and the values that a tenth of the cells lie below and above."""

    median: float
    low: float
    high: float
    cells: int


@final
class Split(TypedDict):
    """A question: whether a fact is at most a value."""

    fact: str
    at_most: float
    yes: "Leaf | Split"
    no: "Leaf | Split"


class HeldOut(TypedDict):
    """Right predictions in cells of a shift that was left out, and right ones of the best constant in the same cells.

    A verdict is right where neither of the others would have gained the least difference that matters over it.
    """

    right: int
    constant: str
    constant_right: int
    cells: int


class Fit(TypedDict):
    """Trees over one set of facts, and their record."""

    trees: "dict[Quantity, Leaf | Split]"
    held_out: "dict[Quantity | Literal['verdict'], HeldOut]"


class Evidence(TypedDict):
    """The shipped file.

    ``threshold`` is the least difference in dB that matters, ``noise`` a training's standard deviation in dB over
    seeds, ``more_steps`` the factor of *steps*, ``default_rate`` the learning rate of the default fine-tune.
    """

    format: int
    threshold: float
    noise: float
    more_steps: int
    trainings: int
    cells: int
    networks: list[str]
    most_pixels: int
    most_parameters: int
    default_rate: float
    fits: dict[FactSet, Fit]


class SearchWorth(TypedDict):
    """A prediction.

    ``rate`` is dB of the best learning rate over the default's, ``rest`` of λ and depth beyond that, ``beyond`` of a
    whole search over the portfolio that every study tries first, ``steps`` of ``more_steps`` times the steps at the
    default.
    """

    verdict: Verdict
    rate: Leaf
    rest: Leaf
    beyond: Leaf
    steps: Leaf
    sentences: list[str]


def facts_of(
    *,
    scenes: int,
    images: int,
    pixels: int,
    architecture: Architecture,
    degradation: Degradation,
    real_pairs: bool,
    zero_shot_gain: float | None = None,
) -> SearchFacts:
    """Facts of a study from its settings.

    Args:
        scenes: Scenes to train on.
        images: Images to train on.
        pixels: LR pixels of all patches of a fine-tuning.
        architecture: Of the network.
        degradation: The domain's; of real pairs it counts nothing.
        real_pairs: Whether LR images are real.
        zero_shot_gain: As in the facts.
    """
    known = Degradation() if real_pairs else degradation
    return SearchFacts(
        training_scenes=scenes,
        training_images=images,
        pixels=pixels,
        parameters=sum(weights.numel() for weights in SuperResolutionNet(architecture).parameters()),
        noise=sum(known.noise) / 2,
        blur=sum(known.blur) / 2,
        codec=int(known.jpeg is not None or known.h264 is not None),
        pairs=int(real_pairs),
        zero_shot_gain=zero_shot_gain,
    )


def predict(facts: SearchFacts, evidence: Evidence | None = None) -> SearchWorth:
    """Predicts the worth of a search in dB.

    Args:
        facts: Of the study.
        evidence: Trees and their record; those that are shipped by default.
    """
    known = evidence or read_evidence()
    values = asdict(facts)
    fit = known["fits"]["stated" if facts.zero_shot_gain is None else "measured"]
    leaves = {name: leaf_of(tree, values) for name, tree in fit["trees"].items()}
    verdict = verdict_of({name: leaf["median"] for name, leaf in leaves.items()}, known["threshold"])
    return SearchWorth(
        verdict=verdict,
        rate=leaves["rate"],
        rest=leaves["rest"],
        beyond=leaves["beyond"],
        steps=leaves["steps"],
        sentences=_sentences(verdict, leaves, facts, known, fit["held_out"]["verdict"]),
    )


def verdict_of(worth: Mapping[Quantity, float], threshold: float) -> Verdict:
    """Verdict where ``worth`` is the dB of each quantity, and less than ``threshold`` does not matter."""
    if worth["beyond"] < threshold:
        return "the portfolio is enough"
    return "search all settings" if worth["rest"] >= threshold else "search the rate alone"


def leaf_of(tree: Leaf | Split, values: Mapping[str, float]) -> Leaf:
    """The leaf of a tree that facts lead to."""
    if "fact" not in tree:
        return tree
    return leaf_of(tree["yes"] if values[tree["fact"]] <= tree["at_most"] else tree["no"], values)


@cache
def read_evidence() -> Evidence:
    """The trees that are shipped."""
    found: Evidence = json.loads(files(__package__).joinpath(FILE).read_text(encoding="utf-8"))
    return found


def _sentences(
    verdict: Verdict, leaves: Mapping[Quantity, Leaf], facts: SearchFacts, known: Evidence, record: HeldOut
) -> list[str]:
    outside = []
    if facts.parameters > 1.1 * known["most_parameters"]:
        outside.append("smaller networks")
    if facts.pixels > known["most_pixels"]:
        outside.append("fewer steps or smaller patches")
    beyond = f" (all of them with {' and '.join(outside)})" if outside else ""
    return [
        f"{verdict}: in {leaves['beyond']['cells']} similar cells of the phase map{beyond} a search was worth "
        f"{_said(leaves['beyond'])} over the portfolio; the best learning rate {_said(leaves['rate'])} over "
        f"{known['default_rate']:g}, λ and depth {_said(leaves['rest'])} beyond it, {known['more_steps']} times the "
        f"steps {_said(leaves['steps'])}.",
        f"Evidence: {known['trainings']} trainings. In {record['right']} of {record['cells']} cells of shifts that "
        f"were left out of the fit nothing else would have gained {known['threshold']} dB over such advice; always "
        f"'{record['constant']}' reaches {record['constant_right']}. Two seeds differ by {known['noise']:.2f} dB.",
    ]


def _said(leaf: Leaf) -> str:
    if leaf["cells"] < FEWEST_CELLS:
        return f"an amount that is not known yet ({leaf['cells']} cells)"
    middle, low, high = (round(value, 2) + 0.0 for value in (leaf["median"], leaf["low"], leaf["high"]))  # no -0.00
    return f"{middle:+.2f} dB ({low:+.2f} to {high:+.2f})"
