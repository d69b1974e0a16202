"""What the scanner adds: table, texture, blur, noise, calibration error and rounding."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from model.phantom.anatomy import Tissue
from model.phantom.canvas import Canvas
from model.phantom.protocol import Protocol
from model.phantom.smooth import Field

_TEXTURE_HU = {
    Tissue.LIVER: 4.0,
    Tissue.SPLEEN: 4.0,
    Tissue.PANCREAS: 8.0,
    Tissue.MUSCLE: 9.0,
    Tissue.FAT: 6.0,
    Tissue.VISCERAL_FAT: 8.0,
    Tissue.RENAL_FAT: 6.0,
    Tissue.KIDNEY_RIGHT: 6.0,
    Tissue.KIDNEY_LEFT: 6.0,
    Tissue.BONE: 55.0,
    Tissue.FEMUR_LEFT: 45.0,
    Tissue.FEMUR_RIGHT: 45.0,
    Tissue.PROSTATE: 8.0,
    Tissue.UTERUS: 10.0,
    Tissue.HEART: 6.0,
    Tissue.INTESTINE: 8.0,
}


def paint_table(canvas: Canvas, *, height_mm: float, center_mm: float) -> None:
    """Paint a curved table top of foam between two thin shells, in scanner space.

    Args:
        canvas: Canvas with the patient painted; changed in place where there is air.
        height_mm: Scanner height of the table's surface at its middle.
        center_mm: Scanner position of the table's middle along x.
    """
    x = canvas.axes_mm[0][:, None] - np.float32(center_mm)
    y = canvas.axes_mm[1][None, :]
    surface = np.float32(height_mm) + np.clip(np.abs(x) - 60, 0, None) ** 2 / np.float32(900)
    depth = surface - y
    width = np.abs(x) - np.float32(205)
    thick = np.float32(34)
    hu = np.full(depth.shape, -1000, np.float32)
    edge = np.float32(canvas.edge_mm)
    slab = np.clip(0.5 - np.maximum(np.maximum(-depth, depth - thick), width) / edge, 0, 1)
    hu += slab * np.float32(85)
    shell = np.abs(np.abs(depth - thick / 2) - (thick / 2 - 1.5)) - np.float32(1.5)
    hu += np.clip(0.5 - np.maximum(shell, width) / edge, 0, 1) * np.float32(1050)
    table = np.broadcast_to(hu[:, :, None], canvas.shape)
    air = canvas.tissue == Tissue.AIR
    np.maximum(canvas.hu, table, out=canvas.hu, where=air)


def add_texture_in_place(canvas: Canvas, rng: np.random.Generator) -> None:
    """Add each tissue's own fine unevenness to the HU."""
    amplitude = np.zeros(256, np.float32)
    for tissue, sd in _TEXTURE_HU.items():
        amplitude[int(tissue)] = sd
    whole = (slice(None), slice(None), slice(None))
    field = canvas.noise(whole, 6.5, rng)
    field *= amplitude[canvas.tissue]
    canvas.hu += field


def acquire(
    canvas: Canvas, protocol: Protocol, rng: np.random.Generator
) -> tuple[npt.NDArray[np.int16], float]:
    """Return the scanned HU as int16, shape (I, J, K), and the noise level drawn, in HU.

    Args:
        canvas: Finished scene; its HU are overwritten.
        protocol: Scan settings.
        rng: Source of noise.
    """
    blur = protocol.draw_blur_mm(rng)
    noise_sd = protocol.draw_noise_sd_hu(rng)
    along_k = protocol.slice_thickness_mm / np.sqrt(12)
    sigma = [
        blur / canvas.spacing_mm[0],
        blur / canvas.spacing_mm[1],
        along_k * 0.7 / canvas.spacing_mm[2],
    ]
    image = ndimage.gaussian_filter(canvas.hu, sigma, output=canvas.hu, truncate=2.5)
    image += _noise(canvas, rng) * np.float32(noise_sd)
    image += np.float32(protocol.hu_offset)
    np.clip(image, -1024, 3071, out=image)
    return np.rint(image).astype(np.int16), noise_sd


def _noise(canvas: Canvas, rng: np.random.Generator) -> Field:
    """Return noise of about unit deviation, correlated in-plane and stronger inside the body."""
    white = rng.standard_normal(canvas.shape, np.float32)
    grain = 1.6 / canvas.edge_mm
    soft = ndimage.gaussian_filter(white, (grain, grain, 0), truncate=2.0)
    soft /= np.float32(soft.std())
    body = (canvas.hu > -700).astype(np.float32)
    across = body.sum(axis=0) * np.float32(canvas.spacing_mm[0] / 340)
    through = body.sum(axis=1) * np.float32(canvas.spacing_mm[1] / 230)
    weight = np.float32(0.35) + np.float32(0.4) * np.sqrt(
        np.clip(across[None, :, :] * through[:, None, :], 0, 4)
    )
    soft *= weight
    return soft
