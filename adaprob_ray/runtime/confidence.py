"""The picture of forgetting: a model's confidence in the true class of forget, held-out and retain samples.

A model that has forgotten treats the samples to forget as it does others of their class that it was never trained on.
Axes: N samples, K classes.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy.special import softmax
from threadpoolctl import threadpool_limits

from adaprob_ray.metrics.outputs import Evaluation

# TensorBoard's cards show about 300 pixels of width: letters must be large.
WIDTH, HEIGHT = 480, 300
# Drawn larger and reduced, because PIL draws lines without smoothing them.
SCALE = 2
BINS = 20
LEFT, RIGHT, TOP, BOTTOM = 60, 20, 76, 40  # margins in pixels
INK, GRID, PAPER = (60, 64, 67), (224, 226, 230), (255, 255, 255)
# Blue, orange and gray differ for every kind of color vision.
COLORS = {"forget": (213, 94, 0), "held_out": (0, 114, 178), "retain": (130, 134, 139)}
TITLES = {"forget": "to forget", "held_out": "held out", "retain": "retain"}
# Samples of each kind in an embedding: t-SNE of 600 points takes about two seconds.
EMBEDDED = 200
EMBEDDING_SEED = 0


class TaggedImage(NamedTuple):
    """A PNG image, and its width and height."""

    tag: str
    png: bytes
    size: tuple[int, int] = (WIDTH, HEIGHT)


def probabilities(evaluation: Evaluation) -> dict[str, tuple[NDArray[np.float64], NDArray[np.int64]]]:
    """Softmax outputs [N, K] and labels [N] of the samples to forget, of the test samples of that class, and of the others.

    A kind without samples is left out.
    """
    model = evaluation.model
    rows = {
        "forget": ("train", evaluation.forget),
        "held_out": ("test", np.flatnonzero(np.isin(model.labels["test"], evaluation.forget_classes))),
        "retain": ("train", evaluation.retain),
    }
    return {
        kind: (softmax(model.logits[subset][positions].astype(np.float64), axis=1), model.labels[subset][positions])
        for kind, (subset, positions) in rows.items()
        if len(positions)
    }


def confidences(evaluation: Evaluation) -> dict[str, NDArray[np.float64]]:
    """The probability [N] that the model gives to the true class, by kind of sample."""
    return {
        kind: values[np.arange(len(values)), labels] for kind, (values, labels) in probabilities(evaluation).items()
    }


def evaluation_images(evaluation: Evaluation, *, tsne: bool = False) -> list[TaggedImage]:
    """The histograms of the confidence in one image and, on request, the outputs in the plane."""
    images = [TaggedImage("true_class_confidence/histograms", histogram_image(confidences(evaluation)))]
    if tsne and (png := embedding_image(probabilities(evaluation))) is not None:
        images.append(TaggedImage("outputs/tsne", png))
    return images


def histogram_image(confidences_by_kind: Mapping[str, NDArray[np.float64]]) -> bytes:
    """Share of the samples in each twentieth of the confidence, as a PNG image."""
    edges = np.linspace(0, 1, BINS + 1)
    shares = {kind: np.histogram(values, edges)[0] / len(values) for kind, values in confidences_by_kind.items()}
    top = float(np.ceil(5 * max(share.max() for share in shares.values())) / 5)  # so that each tick is a round number
    canvas = _Canvas("Confidence in the true class (mean)")
    canvas.legend({kind: f"{TITLES[kind]} {values.mean():.2f}" for kind, values in confidences_by_kind.items()})
    for tick in np.linspace(0, top, 5):
        canvas.grid_line(tick / top, f"{100 * tick:.0f} %")
    for tick in np.linspace(0, 1, 6):
        canvas.x_label(tick, f"{tick:.1f}")
    for kind in [kind for kind in COLORS if kind in shares][::-1]:  # the samples to forget are on top
        canvas.steps(edges, shares[kind] / top, COLORS[kind], filled=kind == "forget")
    return canvas.to_png()


def embedding_image(outputs: Mapping[str, tuple[NDArray[np.float64], NDArray[np.int64]]]) -> bytes | None:
    """t-SNE of some of the outputs of each kind, as a PNG image; None for too few samples."""
    from sklearn.manifold import TSNE  # takes a second to import, and few runs ask for it

    chosen = {kind: values[_spread(len(values))] for kind, (values, _) in outputs.items()}
    stacked = np.concatenate(list(chosen.values()))
    if len(stacked) < 10:
        return None
    perplexity = min(30.0, (len(stacked) - 1) / 3)
    embedding = TSNE(2, perplexity=perplexity, init="pca", random_state=EMBEDDING_SEED)
    with threadpool_limits(1):  # as a cell has; and the threads of OpenMP are slow where other cells use the cores
        points = embedding.fit_transform(stacked)
    low, high = points.min(axis=0), points.max(axis=0)
    plane = (points - low) / np.maximum(high - low, np.finfo(np.float64).tiny)
    canvas = _Canvas("t-SNE of the outputs")
    canvas.legend({kind: f"{TITLES[kind]} ({len(values)})" for kind, values in chosen.items()})
    kinds = np.repeat(list(chosen), [len(values) for values in chosen.values()])
    for kind in [kind for kind in COLORS if kind in chosen][::-1]:
        canvas.dots(plane[kinds == kind], COLORS[kind])
    return canvas.to_png()


def _spread(count: int) -> NDArray[np.int64]:
    """At most EMBEDDED positions, spread evenly over `count`."""
    return np.arange(count) if count <= EMBEDDED else np.arange(EMBEDDED) * count // EMBEDDED


class _Canvas:
    """A plot whose axes go from 0 to 1."""

    def __init__(self, title: str) -> None:
        self._image = Image.new("RGB", (SCALE * WIDTH, SCALE * HEIGHT), PAPER)
        self._draw = ImageDraw.Draw(self._image, "RGBA")
        self._text((LEFT, 18), title, 18, "lm")

    def legend(self, entries: Mapping[str, str]) -> None:
        x = float(LEFT)
        for kind, text in entries.items():
            self._draw.rectangle(self._scaled(x, 42, x + 14, 56), fill=COLORS[kind])
            self._text((x + 20, 49), text, 16, "lm")
            x += 42 + self._draw.textlength(text, font=_font(16)) / SCALE

    def grid_line(self, y: float, label: str) -> None:
        top = self._y(y)
        self._draw.line(self._scaled(LEFT, top, WIDTH - RIGHT, top), fill=GRID, width=SCALE)
        self._text((LEFT - 8, top), label, 15, "rm")

    def x_label(self, x: float, label: str) -> None:
        self._text((self._x(x), HEIGHT - BOTTOM + 18), label, 15, "mm")

    def steps(
        self, edges: NDArray[np.float64], heights: NDArray[np.float64], color: tuple[int, int, int], *, filled: bool
    ) -> None:
        xs = np.repeat(edges, 2)
        ys = np.concatenate([[0.0], np.repeat(heights, 2), [0.0]])
        points = [(SCALE * self._x(x), SCALE * self._y(y)) for x, y in zip(xs, ys, strict=True)]
        if filled:
            self._draw.polygon(points, fill=(*color, 60))
        self._draw.line(points, fill=color, width=2 * SCALE, joint="curve")

    def dots(self, points: NDArray[np.float64], color: tuple[int, int, int]) -> None:
        for x, y in points:
            left, top = self._x(x) - 3.5, self._y(y) - 3.5
            self._draw.ellipse(self._scaled(left, top, left + 7, top + 7), fill=(*color, 170))

    def to_png(self) -> bytes:
        buffer = io.BytesIO()
        self._image.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS).save(buffer, "png")
        return buffer.getvalue()

    def _x(self, value: float) -> float:
        return LEFT + value * (WIDTH - LEFT - RIGHT)

    def _y(self, value: float) -> float:
        return HEIGHT - BOTTOM - value * (HEIGHT - TOP - BOTTOM)

    def _text(self, at: tuple[float, float], text: str, size: int, anchor: str) -> None:
        self._draw.text((SCALE * at[0], SCALE * at[1]), text, fill=INK, font=_font(size), anchor=anchor)

    @staticmethod
    def _scaled(*values: float) -> tuple[float, ...]:
        return tuple(SCALE * value for value in values)


@functools.cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(SCALE * size)
