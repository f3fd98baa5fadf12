"""Distances between two sets of feature vectors: Fréchet distance, MMD and proxy A-distance.

Shapes: n and m vectors, D features. Where vectors of one scene resemble each other, the scene counts, not the vector:
MMD leaves out pairs within a scene, the probe never trains on a scene that it is scored on.
"""

import warnings

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist, pdist
from sklearn.covariance import ledoit_wolf
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from trainables.errors import UsageError

Array = NDArray[np.float64]
Scenes = NDArray[np.int64]

_FOLDS = 5


def gaussian_frechet(mean1: Array, covariance1: Array, mean2: Array, covariance2: Array) -> float:
    """Squared Fréchet distance of two Gaussians (Dowson & Landau 1982).

    |μ₁ - μ₂|² + tr(Σ₁ + Σ₂ - 2·(Σ₁^½ Σ₂ Σ₁^½)^½), 0 or more, for means (D,) and covariances (D, D).
    """
    values, vectors = np.linalg.eigh(covariance1)
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    shared = np.sqrt(np.linalg.eigvalsh(root @ covariance2 @ root).clip(0)).sum()
    spread = np.trace(covariance1) + np.trace(covariance2) - 2 * shared
    return float(max(0.0, np.square(mean1 - mean2).sum() + spread))


def frechet_distance(first: Array, second: Array) -> float:
    """Squared Fréchet distance of the Gaussians that fit two sets, as FID has it (Heusel et al. 2017, 1706.08500).

    Few vectors bias it upwards (Chong & Forsyth 2020, 1911.07023). Covariances are therefore shrunk (Ledoit & Wolf
    2004), and a value means something only beside that of two sets of one domain and of the same sizes.

    Args:
        first: (n, D).
        second: (m, D).

    Raises:
        UsageError: If a set has fewer than two vectors.
    """
    _check(first, second)
    (cov1, _), (cov2, _) = ledoit_wolf(first), ledoit_wolf(second)
    return gaussian_frechet(first.mean(0), cov1, second.mean(0), cov2)


def median_bandwidth(first: Array, second: Array) -> float:
    """Median distance between the vectors of both sets, the usual width of an RBF kernel (Gretton et al. 2012)."""
    width = float(np.median(pdist(np.concatenate([first, second]))))
    return width if width > 0 else 1.0


def squared_mmd(first: Array, second: Array, scenes1: Scenes, scenes2: Scenes, bandwidth: float) -> float:
    """Unbiased squared maximum mean discrepancy with the kernel exp(-|x - y|² / (2·bandwidth²)).

    Gretton et al. 2012 leave out each vector's pair with itself; here all pairs within a scene are left out, because
    they are no independent draws either. Around 0 for equal distributions, and then often below it; at most 2.

    Args:
        first: (n, D).
        second: (m, D).
        scenes1: (n,), number of each vector's scene.
        scenes2: (m,), the same for ``second``; the two sets are taken to share no scene.
        bandwidth: Width of the kernel, above 0.

    Raises:
        UsageError: If a set has fewer than two scenes.
    """
    _check(first, second)

    def kernel(x: Array, y: Array) -> Array:
        return np.asarray(np.exp(-cdist(x, y, "sqeuclidean") / (2 * bandwidth**2)))

    def within(x: Array, scenes: Scenes) -> float:
        apart = scenes[:, None] != scenes
        if not apart.any():
            raise UsageError("MMD needs vectors of at least two scenes in each set, found one scene.")
        return float(kernel(x, x)[apart].mean())

    return within(first, scenes1) + within(second, scenes2) - 2 * float(kernel(first, second).mean())


def probe_errors(first: Array, second: Array, scenes1: Scenes, scenes2: Scenes) -> tuple[Array, Array]:
    """Errors of a linear probe that tells the two sets apart, cross-validated with scenes kept whole.

    The probe is a logistic regression on standardised features, both sets weighing the same.

    Args:
        first: (n, D).
        second: (m, D).
        scenes1: (n,), number of each vector's scene.
        scenes2: (m,), the same for ``second``; the two sets are taken to share no scene.

    Returns:
        (n,) and (m,), 1 where the probe errs, else 0.

    Raises:
        UsageError: If a set has fewer than two scenes.
    """
    _check(first, second)
    fewest = min(len(np.unique(scenes1)), len(np.unique(scenes2)))
    if fewest < 2:
        raise UsageError(f"A probe needs at least two scenes in each set, found {fewest}.")
    vectors = np.concatenate([first, second])
    labels = np.repeat([0, 1], [len(first), len(second)])
    groups = np.concatenate([scenes1, scenes2 + scenes1.max() + 1])
    errors = np.zeros(len(vectors))
    folds = StratifiedGroupKFold(min(_FOLDS, fewest), shuffle=True, random_state=0)
    for train, held_out in folds.split(vectors, labels, groups):
        probe = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=200))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # a probe that stops early only errs a little more
            probe.fit(vectors[train], labels[train])
        errors[held_out] = probe.predict(vectors[held_out]) != labels[held_out]
    return errors[: len(first)], errors[len(first) :]


def proxy_a_distance(errors1: Array, errors2: Array) -> float:
    """2·(1 - 2ε) of the balanced error ε, at least 0 (Ben-David et al. 2007): 0 for equal sets, 2 for separable ones.

    Args:
        errors1: Errors of :func:`probe_errors` on the first set.
        errors2: Errors on the second.
    """
    return max(0.0, 2 * (1 - (float(errors1.mean()) + float(errors2.mean()))))


def _check(first: Array, second: Array) -> None:
    if first.ndim != 2 or second.ndim != 2 or first.shape[1:] != second.shape[1:]:
        raise UsageError(f"Two sets (n, D) and (m, D) were expected, found {first.shape} and {second.shape}.")
    if min(len(first), len(second)) < 2:
        raise UsageError(f"At least two vectors in each set are needed, found {len(first)} and {len(second)}.")
