"""Drawn images that stand in for clinical ones in the demonstration and the tests.

A drawing is no model of anatomy: it is a picture whose modality and region are known, that differs from the next
one of its kind, and that needs no licence. Modality decides how a shape is rendered, region which shapes there are,
so that two modalities of one region, and two regions of one modality, are told apart by different things.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from auscult.core.errors import InputError

Image = NDArray[np.uint8]
"""[height, width, 3], RGB."""

Plane = NDArray[np.float64]
"""[height, width], or [3, height, width] in colour."""

SIZE = 48
"""Edge of a drawing in pixels."""


def draw(attribute: str, rng: np.random.Generator, *, size: int = SIZE) -> Image:
    """Draw one image.

    Parameters
    ----------
    attribute
        One of :data:`DRAWN`.
    rng
        Decides place, size, brightness and noise.
    size
        Edge in pixels.

    Returns
    -------
    Image
        [size, size, 3].

    Raises
    ------
    InputError
        For an attribute that is not drawn.
    """
    if attribute not in _PAINTERS:
        raise InputError(f"there is no drawing of {attribute!r}: take one of {', '.join(DRAWN)}")
    plane = _PAINTERS[attribute](_Canvas(rng, size))
    plane = plane + rng.normal(0, 0.02, plane.shape)
    channels = plane if plane.ndim == 3 else np.broadcast_to(plane, (3, size, size))
    return np.round(255 * np.clip(channels.transpose(1, 2, 0), 0, 1)).astype(np.uint8)


class _Canvas:
    """Coordinates from -1 to 1, shifted and stretched a little for each image, and soft shapes on them."""

    def __init__(self, rng: np.random.Generator, size: int) -> None:
        self.rng = rng
        steps = np.linspace(-1, 1, size)
        self.frame_x, self.frame_y = np.meshgrid(steps, steps)
        self.edge = 3.0 / size
        zoom_x, zoom_y = rng.uniform(0.9, 1.15, 2)
        shift_x, shift_y = rng.uniform(-0.08, 0.08, 2)
        self.x, self.y = (self.frame_x - shift_x) * zoom_x, (self.frame_y - shift_y) * zoom_y

    def ellipse(self, x: float, y: float, width: float, height: float) -> Plane:
        """Return 1 inside, 0 outside, and a soft edge."""
        radius = np.hypot((self.x - x) / width, (self.y - y) / height)
        return self.soft((1 - radius) * min(width, height))

    def soft(self, distance: Plane) -> Plane:
        """Return 1 where a signed distance is positive, 0 where it is negative."""
        inside: Plane = np.clip(distance / self.edge + 0.5, 0, 1)
        return inside

    def waves(self, scale: float) -> Plane:
        """Return smooth noise in about [-1, 1]."""
        total: Plane = np.zeros_like(self.x)
        for _ in range(4):
            fx, fy = self.rng.normal(0, scale, 2)
            total += np.sin(fx * self.x + fy * self.y + self.rng.uniform(0, 2 * np.pi)) / 4
        return total

    def grain(self) -> Plane:
        """Return speckle: positive noise of mean 1."""
        speckle: Plane = self.rng.gamma(2.0, 0.5, self.x.shape)
        return speckle


def _lungs(c: _Canvas) -> Plane:
    return np.maximum(c.ellipse(-0.38, 0.0, 0.27, 0.52), c.ellipse(0.38, 0.0, 0.27, 0.52))


def _ventricles(c: _Canvas) -> Plane:
    return np.maximum(c.ellipse(-0.14, -0.05, 0.09, 0.27), c.ellipse(0.14, -0.05, 0.09, 0.27))


def _xray_chest(c: _Canvas) -> Plane:
    body = 0.62 + 0.1 * c.waves(2)
    ribs = c.soft(np.sin(c.y * 14 + 2.2 * c.x**2) - 0.55) * c.soft(0.8 - np.abs(c.x))
    spine = c.soft(0.1 - np.abs(c.x))
    return body - 0.42 * _lungs(c) + 0.18 * ribs + 0.2 * spine


def _ct_chest(c: _Canvas) -> Plane:
    body = c.ellipse(0, 0, 0.92, 0.72)
    wall = body - c.ellipse(0, 0, 0.85, 0.65)
    spine = c.ellipse(0, 0.5, 0.13, 0.12)
    return 0.45 * body + 0.2 * wall - 0.42 * _lungs(c) * body + 0.45 * spine + 0.15 * c.ellipse(0.08, 0.02, 0.2, 0.22)


def _ct_brain(c: _Canvas) -> Plane:
    skull = c.ellipse(0, 0, 0.74, 0.88)
    brain = c.ellipse(0, 0, 0.64, 0.78)
    return 0.98 * (skull - brain) + brain * (0.42 + 0.04 * c.waves(6)) - 0.25 * _ventricles(c)


def _mri_brain(c: _Canvas) -> Plane:
    scalp = c.ellipse(0, 0, 0.8, 0.92) - c.ellipse(0, 0, 0.74, 0.86)
    brain = c.ellipse(0, 0, 0.62, 0.76)
    folds = c.soft(0.25 * np.sin(11 * np.hypot(c.x, c.y) + 3 * c.waves(5)))
    return 0.35 * scalp + brain * (0.5 + 0.25 * folds) + 0.4 * _ventricles(c)


def _ultrasound_brain(c: _Canvas) -> Plane:
    return _fan(c) * (0.5 * c.ellipse(0, 0.1, 0.5, 0.55) - 0.3 * _ventricles(c) + 0.15) * c.grain()


def _ultrasound_baby(c: _Canvas) -> Plane:
    head, trunk = c.ellipse(-0.25, 0.0, 0.22, 0.22), c.ellipse(0.18, 0.3, 0.35, 0.2)
    return _fan(c) * (0.12 + 0.6 * np.maximum(head, trunk)) * c.grain()


def _fan(c: _Canvas) -> Plane:
    depth = np.hypot(c.frame_x, c.frame_y + 1.15)
    return c.soft(c.frame_y + 1.15 - 1.25 * np.abs(c.frame_x)) * c.soft(1.95 - depth) * c.soft(depth - 0.4)


def _dermoscopy_skin(c: _Canvas) -> Plane:
    tone = np.array([0.86, 0.66, 0.55]) + c.rng.normal(0, 0.03, 3)
    mole = np.array([0.42, 0.24, 0.16]) + c.rng.normal(0, 0.04, 3)
    radius = np.hypot(c.x, c.y) + 0.12 * c.waves(4)
    blend = c.soft(c.rng.uniform(0.35, 0.55) - radius) * (0.85 + 0.15 * c.waves(12))
    hair = 0.35 * c.soft(0.03 - np.abs(c.y + 0.4 * np.sin(3 * c.x + c.rng.uniform(0, 6)) - c.rng.uniform(-0.7, 0.7)))
    return np.stack([t + (m - t) * blend - hair for t, m in zip(tone, mole, strict=True)])


def _fundus_retina(c: _Canvas) -> Plane:
    disc = c.ellipse(0, 0, 0.92, 0.92)
    side = c.rng.choice([-1.0, 1.0])
    nerve = c.ellipse(0.42 * side, 0, 0.15, 0.17)
    bend = 0.5 * (c.x - 0.42 * side) ** 2
    vessels = np.maximum(*(c.soft(0.035 - np.abs(np.abs(c.y - k * 0.1) - 0.1 - bend)) for k in (-1, 1)))
    red, green, blue = disc * (0.8 + 0.05 * c.waves(2)), disc * (0.36 + 0.04 * c.waves(2)), 0.12 * disc
    lit = [red - 0.25 * vessels + 0.2 * nerve, green - 0.2 * vessels + 0.5 * nerve, blue + 0.35 * nerve]
    return np.stack(lit)


def _oct_retina(c: _Canvas) -> Plane:
    pit = 0.18 * np.exp(-((c.x / 0.3) ** 2))
    depth = c.y - pit + 0.05 * c.waves(2)
    bands: Plane = np.zeros_like(depth)
    for at, light in ((-0.3, 0.7), (0.0, 0.4), (0.3, 0.95)):
        bands += light * np.exp(-(((depth - at) / 0.07) ** 2))
    return (0.06 + bands + 0.15 * c.soft(0.3 - np.abs(depth))) * (0.6 + 0.4 * c.grain())


_PAINTERS: dict[str, Callable[[_Canvas], Plane]] = {
    "Xray and Chest": _xray_chest,
    "CT and Chest": _ct_chest,
    "CT and Brain": _ct_brain,
    "MRI and Brain": _mri_brain,
    "Ultrasound and Brain": _ultrasound_brain,
    "Ultrasound and Baby": _ultrasound_baby,
    "Fundus and Retina": _fundus_retina,
    "OCT and Retina": _oct_retina,
    "Dermoscopy and Skin": _dermoscopy_skin,
}

DRAWN = tuple(_PAINTERS)
"""The attributes that are drawn: nine of 3MAD's eighteen, with partners for every stratum of mismatch."""
