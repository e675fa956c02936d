"""How far an optimised image is from the clean one, as people measure it."""

from typing import Any

import numpy as np

Pixels = np.ndarray[Any, np.dtype[np.uint8]]


def describe_difference(image: Pixels, clean: Pixels) -> dict[str, float]:
    """Return ``linf_255`` and ``l2_255`` in units of 1/255, ``psnr`` in dB and ``ssim`` of two uint8 images.

    The PSNR of equal images is infinite. SSIM is the mean over windows of 7 x 7 pixels and channels (Wang et al.,
    2004, with sample covariances), and NaN where the image is smaller than a window.
    """
    difference = image.astype(float) - clean
    squared = float((difference**2).mean())
    return {
        "linf_255": float(np.abs(difference).max()),
        "l2_255": float(np.sqrt((difference**2).sum())),
        "psnr": float("inf") if squared == 0 else float(10 * np.log10(255**2 / squared)),
        "ssim": _similarity(image.astype(float), clean.astype(float)),
    }


def _similarity(x: np.ndarray[Any, Any], y: np.ndarray[Any, Any], window: int = 7) -> float:
    if min(x.shape[:2]) < window:
        return float("nan")

    def mean(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        views = np.lib.stride_tricks.sliding_window_view(values, (window, window), axis=(0, 1))
        averaged: np.ndarray[Any, Any] = views.mean(axis=(-2, -1))
        return averaged

    mean_x, mean_y = mean(x), mean(y)
    unbiased = window**2 / (window**2 - 1)
    variance_x, variance_y = unbiased * (mean(x * x) - mean_x**2), unbiased * (mean(y * y) - mean_y**2)
    covariance = unbiased * (mean(x * y) - mean_x * mean_y)
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    score = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    return float((score / ((mean_x**2 + mean_y**2 + c1) * (variance_x + variance_y + c2))).mean())
