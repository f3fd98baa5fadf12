"""An invented report with everything that a real one may hold: a win, a tie, a loss, an abstention, few scenes."""

import math
import random
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from orchestrator.confirm.record import Candidate, Difference
from orchestrator.foundation.vocabulary import CLASSICAL, ArmName, Verdict
from orchestrator.report.scene_section import group_differences
from orchestrator.report.schema import (
    AdviceGrade,
    Arm,
    Comparison,
    CurvePoint,
    DomainReport,
    Interpolation,
    Opening,
    Optimism,
    Panel,
    Report,
    SceneDifference,
    SourceReport,
    SplitCounts,
    Trial,
)
from trainables.loops.settings import TransferConfiguration

LABELS: dict[ArmName, str] = {
    "bicubic": "Bicubic",
    "bilinear": "Bilinear",
    "lanczos": "Lanczos",
    "tv": "Total variation",
    "example": "Anchored regression",
    "zero_shot": "Source, zero-shot",
    "scratch": "From scratch",
    "default": "Default fine-tune",
    "feature": "Feature transfer",
    "model": "Model transfer",
    "best": "Best configuration",
    "interpolated": "Best, averaged",
}
_PICTURED = ("bicubic", "zero_shot", "scratch", "default", "best")
SEEDS = [11, 23, 47]
DEFAULT = TransferConfiguration(learning_rate=1e-4, lambda_=0.0, frozen_depth=0)
FLOOR = 1e-5

# Test PSNR of each arm, then mean and half width of best minus each baseline.
_DOMAINS: dict[str, tuple[dict[ArmName, float], dict[ArmName, tuple[float, float]], str]] = {
    "medical": (
        {"bicubic": 29.214, "zero_shot": 29.871, "scratch": 29.402, "default": 30.318, "best": 30.642},
        {
            "bicubic": (1.428, 0.118),
            "zero_shot": (0.771, 0.094),
            "scratch": (1.24, 0.131),
            "default": (0.324, 0.061),
        },
        "fine-tune with the found configuration: better than zero-shot by 0.771 dB and than the default by 0.324 dB.",
    ),
    "satellite": (
        {"bicubic": 26.105, "zero_shot": 27.044, "scratch": 25.713, "default": 26.731, "best": 27.044},
        {
            "bicubic": (0.939, 0.104),
            "zero_shot": (0.0, 0.0),
            "scratch": (1.331, 0.12),
            "default": (0.313, 0.08),
        },
        "use the source model as it is: no configuration beat it on validation, "
        "and the default fine-tune loses 0.313 dB on test.",
    ),
    "surveillance": (
        {"bicubic": 24.883, "zero_shot": 25.012, "scratch": 24.94, "default": 25.561, "best": 25.598},
        {
            "bicubic": (0.715, 0.142),
            "zero_shot": (0.586, 0.121),
            "scratch": (0.658, 0.127),
            "default": (0.037, 0.052),
        },
        "+0.59 dB [+0.47, +0.71] against zero-shot, but 4 test scenes are too few to say more.",
    ),
    "art": (
        {"bicubic": 27.334, "zero_shot": 28.209, "scratch": 26.871, "default": 28.02, "best": 28.117},
        {
            "bicubic": (0.783, 0.152),
            "zero_shot": (-0.092, 0.071),
            "scratch": (1.246, 0.188),
            "default": (0.097, 0.113),
        },
        "negative transfer: the configuration chosen on validation is worse than zero-shot "
        "on test by 0.092 dB. Use the source model.",
    ),
}


_FLAG = "Negative transfer: the configuration that won on validation harms on test, -0.09 dB [-0.16, -0.02]."
_OPTIMISM = Optimism(search_psnr=31.0, confirmed_psnr=30.94, search_gain=0.9, confirmed_gain=0.84, test_gain=0.77)
_ADVICE = AdviceGrade(
    regime="near",
    frozen_depth=(3, 6),
    depth_was_right=False,
    regret_to_best=0.08,
    regret_to_default=-0.2,
    expected_gain=False,
    gain_was_right=False,
    sentence="Advice 'near', frozen depth 3 to 6: the winner's depth is 1, wrong.",
)


def example_report(folder: Path) -> Report:
    """Builds the same report every time and writes its pictures into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    chance = random.Random(7)
    return Report(
        rayscale="0.1.0",
        experiment="four-domains",
        created="2025-11-22T18:40:12+00:00",
        generated_samples=True,
        scale=4,
        seeds=SEEDS,
        protocol=[
            "Splits are made by scene, before any training; no scene is in two splits.",
            "PSNR and SSIM are measured on the luma channel with a border of 4 pixels cut off.",
            "Candidates are retrained with three fresh seeds; the best mean on validation is the winner.",
            "The test split is opened once per domain, after the winner is fixed.",
        ],
        notes=[
            "The images are generated samples: they show that the method runs, not that it helps on yours.",
            "Intervals cover test images, not the choice of seeds.",
        ],
        environment={"python": "3.11.7", "torch": "2.11.0+cpu", "ray": "2.60.0", "device": "cpu, 8 cores"},
        stage_seconds={"prepare": 12.4, "source": 318.0, "search": 4127.5, "confirm": 951.2, "report": 3.9},
        source=SourceReport(
            name="rrdb-mini",
            degradation="bicubic ×4",
            parameters={"F": 148_224, "G": 40_131},
            macs_per_lr_pixel=1_523_712,
            blocks=["stem", "block 1", "block 2", "block 3", "block 4", "fusion"],
            steps=4000,
            counts=SplitCounts(
                images={"train": 640, "validation": 80}, scenes={"train": 160, "validation": 20}, skipped=0
            ),
            loss=[
                CurvePoint(step=s, value=0.021 + 0.11 * math.exp(-s / 500) + 0.0015 * chance.random())
                for s in range(50, 4001, 50)
            ],
            validation_psnr=28.914,
            validation_psnr_bicubic=27.662,
        ),
        domains={name: _domain(name, folder, chance) for name in _DOMAINS},
        next_commands=[
            "rayscale apply runs/four-domains/best.yaml --domain medical --images your-images/",
            "rayscale search experiments/four-domains.yaml --trials 48 --resume",
        ],
    )


def _domain(name: str, folder: Path, chance: random.Random) -> DomainReport:
    scores, gains, verdict = _DOMAINS[name]
    if name != "art":  # whose experiment left them out
        scores, gains = _with_classical(scores, gains)
    top = max(scores.values()) + 0.4
    trials = _trials(top, chance)
    winner = max((t for t in trials if t.psnr is not None), key=lambda t: t.psnr or 0.0)
    abstains = scores["best"] == scores["zero_shot"]
    scenes = 4 if name == "surveillance" else 8
    differences = [
        Difference(
            arm="best",
            baseline=baseline,
            metric=metric,
            mean=round(mean * share, 4),
            low=round((mean - half) * share, 4),
            high=round((mean + half) * share, 4),
            scenes=scenes,
            verdict=_verdict(mean, half, scenes),
            seed_sd=0.012,
            scenes_ahead=scenes if mean > half else 3,
        )
        for metric, share in (("psnr", 1.0), ("ssim", 0.021))
        for baseline, (mean, half) in gains.items()
    ]
    others: list[tuple[ArmName, ArmName]] = [("default", "zero_shot"), ("zero_shot", "bicubic")]
    if name != "art":
        others += [("feature", "zero_shot"), ("model", "feature"), ("best", "model"), ("interpolated", "best")]
    differences += [_difference(arm, baseline, scores[arm] - scores[baseline], scenes) for arm, baseline in others]
    arms = [
        Arm(
            name=arm,
            label=LABELS[arm],
            psnr=psnr,
            ssim=round(0.35 + psnr * 0.0162, 4),
            psnr_by_seed=[psnr] if arm in (*CLASSICAL, "zero_shot") else [psnr - 0.02, psnr + 0.005, psnr + 0.015],
            chosen={"tv": "μ 0.03, 20 iterations", "example": "ridge 1"}.get(arm),
            validation_psnr=psnr + 0.3 if arm in CLASSICAL else None,
            source_psnr=None if arm in (*CLASSICAL, "scratch") else 28.9 - (0 if arm == "zero_shot" else psnr / 40),
        )
        for arm, psnr in scores.items()
    ]
    candidates = [
        Candidate(
            name="zero_shot",
            label="Source as it is",
            configuration=None,
            validation_psnr=[top - (0.1 if abstains else 0.9)],
            search_psnr=None,
        ),
        Candidate(
            name="default",
            label="Default fine-tune",
            configuration=DEFAULT,
            validation_psnr=[top - 0.41, top - 0.37, top - 0.44],
            search_psnr=trials[0].psnr,
        ),
        Candidate(
            name=f"trial-{winner.number}",
            label=f"Trial {winner.number}",
            configuration=winner.configuration,
            validation_psnr=[top - 0.12, top - 0.05, top - 0.14],
            search_psnr=winner.psnr,
        ),
    ]
    return DomainReport(
        space=f"{name}-v1",
        degradation="blur σ 1.2, bicubic ×4, noise σ 4/255",
        counts=SplitCounts(
            images={"train": 96, "validation": 24, "test": 32},
            scenes={"train": 24, "validation": 6, "test": scenes},
            skipped=1,
        ),
        verdict=verdict,
        flags=[_FLAG] if name == "art" else [],
        remarks=[f"Best − Total variation, the strongest classical baseline on validation: {name}."],
        configuration=None if abstains else winner.configuration,
        model=f"models/{name}.safetensors",
        arms=arms,
        differences=differences,
        scenes=[] if name == "art" else (found := _scenes(scores, scenes)),
        groups=[] if name in ("art", "surveillance") else group_differences(found),
        candidates=candidates,
        winner="zero_shot" if abstains else f"trial-{winner.number}",
        optimism=None if abstains else _OPTIMISM,
        interpolation=None if name == "art" or abstains else _interpolation(name),
        advice=None if name == "art" else _ADVICE,
        trials=trials,
        lambda_floor=FLOOR,
        frozen_depth_limit=6,
        steps_per_trial=400,
        test_opened=_opening("18:21:07"),
        earlier_openings=[_opening("17:02:55")] if name == "medical" else [],
        comparisons=[
            _comparison(name, number, folder, {arm.label: arm.psnr for arm in arms if arm.name in _PICTURED})
            for number in (1, 2)
        ],
    )


def _scenes(scores: dict[ArmName, float], count: int) -> list[SceneDifference]:
    """Differences by scene that change sign; eight scenes are in two groups."""
    gains = {arm: scores["best"] - psnr for arm, psnr in scores.items() if arm not in ("best", "interpolated")}
    return [
        SceneDifference(
            scene=f"{'ct' if i % 3 else 'mr'}_{i:04}",
            group=None if count < 8 else "ct" if i % 3 else "mr",
            gains={arm: round(gain + 0.3 * (i - count / 2), 3) for arm, gain in gains.items()},
        )
        for i in range(count)
    ]


def _with_classical(
    scores: dict[ArmName, float], gains: dict[ArmName, tuple[float, float]]
) -> tuple[dict[ArmName, float], dict[ArmName, tuple[float, float]]]:
    """Adds the other baselines without a network, the steps of transfer and averaged weights."""
    plain, best = scores["bicubic"], scores["best"]
    classical: dict[ArmName, float] = {"bilinear": plain - 0.3, "lanczos": plain + 0.1}
    classical |= {"tv": plain + 0.412, "example": plain + 0.297}
    steps: dict[ArmName, float] = {"feature": plain + 0.05, "model": best - 0.081, "interpolated": best + 0.011}
    compared = {arm: (best - psnr, 0.12) for arm, psnr in (classical | {"feature": steps["feature"]}).items()}
    return {**scores, **classical, **steps}, {**gains, **compared}


def _difference(arm: ArmName, baseline: ArmName, mean: float, scenes: int) -> Difference:
    return Difference(
        arm=arm,
        baseline=baseline,
        metric="psnr",
        mean=round(mean, 3),
        low=round(mean - 0.08, 3),
        high=round(mean + 0.08, 3),
        scenes=scenes,
        verdict=_verdict(mean, 0.08, scenes),
        seed_sd=0.01,
        scenes_ahead=4,
    )


def _opening(time: str) -> Opening:
    return Opening(at=f"2025-11-22T{time}+00:00", by="rayscale 0.1.0, confirmation", after_choosing="trial-7")


def _interpolation(name: str) -> Interpolation:
    return Interpolation(share=0.75, validation=[(0.75, 30.11), (1.0, 30.08)], model=f"models/{name}/interpolated")


def _trials(top: float, chance: random.Random) -> list[Trial]:
    trials = []
    for number in range(24):
        sampled = 10 ** chance.uniform(-6.3, -1.5)
        configuration = TransferConfiguration(
            learning_rate=10 ** chance.uniform(-5.2, -2.4),
            lambda_=0.0 if sampled < FLOOR else sampled,
            frozen_depth=chance.randint(0, 6),
        )
        if number == 0:
            configuration, sampled = DEFAULT, 0.0
        if number == 9:
            curve = [CurvePoint(step=50, value=21.3), CurvePoint(step=100, value=8.8)]
            trials.append(_trial(number, configuration, sampled, None, curve))
            continue
        away = math.log10(configuration.learning_rate) + 3.6
        end = top - 0.35 * away**2 - 0.02 * configuration.frozen_depth**2 - 0.08 * chance.random()
        end -= 0.3 if number == 0 else 0.0
        curve = [CurvePoint(step=s, value=end - 0.9 * math.exp(-s / 110)) for s in range(50, 401, 50)]
        trials.append(_trial(number, configuration, sampled, end, curve))
    return trials


def _trial(
    number: int, configuration: TransferConfiguration, sampled: float, psnr: float | None, curve: list[CurvePoint]
) -> Trial:
    return Trial(
        number=number,
        origin="default" if number == 0 else "start" if number < 4 else "sampler",
        configuration=configuration,
        sampled_lambda=sampled,
        status="diverged" if psnr is None else "finished",
        psnr=psnr,
        seconds=38.25 + number / 4,
        curve=curve,
    )


def _verdict(mean: float, half: float, scenes: int) -> Verdict:
    if scenes < 6:
        return "too few scenes"
    if abs(mean) < 0.02 and mean - half < 0 < mean + half and half < 0.1:
        return "no difference that matters"
    if mean - half > 0:
        return "better" if mean > 0.3 else "too few scenes to exclude rare harm"
    return "worse" if mean + half < 0 else "tie"


def _comparison(domain: str, number: int, folder: Path, labels: dict[str, float]) -> Comparison:
    across, down = np.meshgrid(np.arange(72), np.arange(72))
    wave = np.sin((across - 36) ** 2 / (90.0 * number) + (down - 36) ** 2 / 140.0)
    picture = Image.fromarray((127 + 90 * wave + 20 * (across > 40)).clip(0, 255).astype(np.uint8)).convert("RGB")
    panels = []
    for place, label in enumerate(["Original", *labels]):
        file = f"{domain}-{number}-{place}.png"
        radius = 0.0 if place == 0 else 1.9 - 0.3 * place
        picture.filter(ImageFilter.GaussianBlur(radius)).save(folder / file)
        panels.append(Panel(label=label, file=file, psnr=labels.get(label)))
    return Comparison(image=f"{domain}_{number:03}.png", panels=panels)
