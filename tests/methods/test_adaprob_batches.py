"""AdaProb's stratified batches, its held-out pseudo-probabilities, labels as targets, steps and schedule."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from adaprob_ray import contract
from adaprob_ray.contract import Case
from adaprob_ray.data.batches import Batch, DeviceImages, Subset
from adaprob_ray.errors import InputError
from adaprob_ray.methods.adaprob import AdaProb
from adaprob_ray.methods.adaprob_targets import (
    class_log_odds,
    heldout_pseudo_probabilities,
    heldout_targets,
    quantile_matched,
)
from adaprob_ray.methods.base import Split
from adaprob_ray.training.batch_source import (
    EpochSize,
    RandomBatches,
    StratifiedBatches,
    random_epoch,
    stratified_epoch,
)
from adaprob_ray.training.scheduled_training import scheduled_rates

pytestmark = pytest.mark.usefixtures("float64")
CLASSES = 4


def generator(seed: int = 3) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def parts(retain: int, forget: int) -> tuple[Subset, Subset, Subset]:
    """Retain and forget rows in mixed order, and all rows."""
    count = retain + forget
    images = torch.randint(0, 256, (count, 3, 3, 1), generator=generator(), dtype=torch.uint8)
    pixels = DeviceImages(images, torch.arange(count) % CLASSES, torch.full((1,), 1 / 255), torch.zeros(1))
    order = torch.randperm(count, generator=generator(4))
    return tuple(Subset(pixels, rows.sort().values) for rows in (order[forget:], order[:forget], order))  # type: ignore[return-value]


def network() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(9, 8), nn.Tanh(), nn.Linear(8, CLASSES)).double()


def gradient(model: nn.Module, loss: torch.Tensor) -> torch.Tensor:
    return torch.cat([part.flatten() for part in torch.autograd.grad(loss, list(model.parameters()))])


def as_double(batch: Batch) -> Batch:
    return Batch(batch.images.double(), batch.labels, batch.rows)


# -- stratified batches ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lam_in", ["targets", "loss"])
@pytest.mark.parametrize("lam", [0.25, 1.0, 3.0])
@pytest.mark.parametrize(
    ("retain", "forget", "retain_size", "forget_size"),
    [(40, 8, 10, 4), (43, 10, 10, 2), (30, 3, 8, 16)],
    ids=["even", "a smaller last batch", "fewer forget rows than a batch has"],
)
def test_the_mean_gradient_of_an_epoch_is_that_of_eq_8(
    retain: int, forget: int, retain_size: int, forget_size: int, lam: float, lam_in: str
) -> None:
    """To 1e-6, where an epoch draws each forget row equally often: of the loss that AdaProb trains with."""
    retain_part, forget_part, every = parts(retain, forget)
    sizes = {"batch_size": retain_size + forget_size, "forget_batch": forget_size}
    method = AdaProb(lr=0.1, lam=lam, lam_in=lam_in, batches="stratified", **sizes)
    split = Split(needs=AdaProb.needs, subsets={"retain": retain_part, "forget": forget_part})
    source = method._source_of_batches(split)
    batches = [as_double(batch) for batch in source.batches(generator())]
    counts = torch.bincount(torch.cat([batch.rows for batch in batches]), minlength=retain + forget)
    assert set(counts[retain_part.rows].tolist()) == {1}
    assert len(set(counts[forget_part.rows].tolist())) == 1
    targets = torch.rand(retain + forget, CLASSES, generator=generator(5), dtype=torch.float64)
    targets /= targets.sum(1, keepdim=True)
    model = network()
    loss, _ = method._losses(targets, split, source)
    gradients = [gradient(model, loss(model, batch).loss) for batch in batches]
    weights = torch.ones(retain + forget, dtype=torch.float64)
    if lam_in == "loss":
        weights[retain_part.rows] = lam
    images = every.pixels.select(every.rows).double()
    divergences = -(targets * model(images).log_softmax(1)).sum(1)
    expected = gradient(model, (weights * divergences)[every.rows].mean())
    torch.testing.assert_close(torch.stack(gradients).mean(0), expected, rtol=0, atol=1e-6)
    assert max(float((one - expected).abs().max()) for one in gradients) > 1e-3


def test_over_many_epochs_each_row_weighs_the_same() -> None:
    """Also where an epoch draws some forget rows more often than others: here 16 draws of 7."""
    source = StratifiedBatches(*parts(38, 7)[:2], retain_size=10, forget_size=4)
    order, epochs = generator(), 400
    rows = torch.cat([batch.rows for _ in range(epochs) for batch in source.batches(order)])
    share = torch.bincount(rows).double() * source.weights() / (epochs * len(source))
    torch.testing.assert_close(share, torch.full((45,), 1 / 45, dtype=torch.float64), rtol=0.02, atol=0)


@given(
    retain=st.integers(1, 60), forget=st.integers(1, 20), retain_size=st.integers(1, 30), forget_size=st.integers(1, 30)
)
def test_every_batch_has_its_share_and_no_forget_row_falls_behind(
    retain: int, forget: int, retain_size: int, forget_size: int
) -> None:
    retain_part, forget_part, _ = parts(retain, forget)
    source = StratifiedBatches(retain_part, forget_part, retain_size, forget_size)
    batches = list(source.batches(generator()))
    share = min(forget, forget_size)
    assert len(batches) == len(source)
    for batch in batches:
        assert torch.isin(batch.rows[:share], forget_part.rows).all()
        assert torch.isin(batch.rows[share:], retain_part.rows).all()
    assert sorted(torch.cat([batch.rows[share:] for batch in batches]).tolist()) == retain_part.rows.tolist()
    counts = torch.bincount(torch.cat([batch.rows[:share] for batch in batches]), minlength=retain + forget)
    assert int(counts[forget_part.rows].max() - counts[forget_part.rows].min()) <= 1
    size = stratified_epoch(retain, forget, retain_size=retain_size, forget_size=forget_size)
    rows = [len(batch.rows) for batch in batches]
    assert size == EpochSize(len(batches), sum(rows), rows[0])


@given(rows=st.integers(1, 50), size=st.integers(1, 60), steps=st.integers(1, 40))
def test_rows_of_some_batches_are_counted(rows: int, size: int, steps: int) -> None:
    source, order, seen = RandomBatches(parts(rows, 1)[0], size), generator(), []
    while len(seen) < steps:
        seen += [len(batch.rows) for batch in source.batches(order)]
    assert random_epoch(rows, size).rows_of(steps) == sum(seen[:steps])


def test_batches_are_the_same_for_the_same_seed() -> None:
    source = StratifiedBatches(*parts(30, 7)[:2], 8, 4)
    first, again, other = (
        torch.cat([batch.rows for batch in source.batches(generator(seed))]).tolist() for seed in (1, 1, 2)
    )
    assert first == again != other


# -- held-out pseudo-probabilities -------------------------------------------------------------------------------------------


def log_p(rows: int, seed: int) -> torch.Tensor:
    return (3 * torch.randn(rows, CLASSES, generator=generator(seed), dtype=torch.float64)).log_softmax(1)


def test_confidence_is_that_of_held_out_samples_and_the_rest_stays_in_proportion() -> None:
    forget, labels = log_p(5, 1), torch.full((5,), 2)
    held_out, held_labels = log_p(9, 2), torch.tensor([2, 0, 2, 2, 1, 2, 2, 0, 2])
    pseudo = heldout_pseudo_probabilities(forget, labels, held_out, held_labels, torch.arange(CLASSES))
    torch.testing.assert_close(pseudo.exp().sum(1), torch.ones(5, dtype=torch.float64))
    reference = class_log_odds(held_out[held_labels == 2], 2)
    expected = torch.quantile(reference, torch.tensor([0.1, 0.3, 0.5, 0.7, 0.9], dtype=torch.float64))
    own = class_log_odds(forget, 2)
    torch.testing.assert_close(class_log_odds(pseudo, 2)[own.argsort()], expected)
    others = [0, 1, 3]
    torch.testing.assert_close(pseudo[:, others].softmax(1), forget[:, others].softmax(1))


def test_a_class_that_is_forgotten_as_a_whole_gets_nothing() -> None:
    forget, labels = log_p(4, 1), torch.tensor([2, 2, 1, 1])
    pseudo = heldout_pseudo_probabilities(forget, labels, log_p(3, 2), torch.tensor([1, 1, 2]), torch.tensor([0, 1, 3]))
    assert pseudo.exp()[:2, 2].tolist() == [0.0, 0.0]
    assert bool((pseudo.exp()[2:, 1] > 0).all())
    torch.testing.assert_close(pseudo[:2][:, [0, 1, 3]].exp(), forget[:2][:, [0, 1, 3]].softmax(1))


def test_equal_distributions_keep_their_order_and_lose_their_extremes() -> None:
    """The i-th of n is taken for the quantile (i − ½)/n of its distribution, and not for (i − 1)/(n − 1)."""
    values = torch.tensor([4.0, 1.0, 3.0, 2.0], dtype=torch.float64)
    assert quantile_matched(values, values).tolist() == [3.625, 1.375, 2.875, 2.125]
    many = torch.randn(1000, generator=generator(), dtype=torch.float64)
    torch.testing.assert_close(quantile_matched(many, many), many, rtol=0, atol=0.2)


def test_without_validation_samples_it_is_declined_before_and_refused_in_the_run() -> None:
    method = Case("adaprob", json.dumps({"pseudo": "heldout", "lr": 0.01})).build()
    without = dataclasses.replace(contract.sizes(contract.make_parts()), validation=0)
    assert "validation" in str(method.skip(without, nn.Identity()))
    with pytest.raises(InputError, match=r"pseudo: must be uniform or random where .* no validation samples"):
        heldout_pseudo_probabilities(
            log_p(1, 1), torch.tensor([2]), log_p(1, 2), torch.tensor([0]), torch.arange(CLASSES)
        )


def test_a_whole_class_needs_no_validation_samples_and_makes_no_passes_over_them() -> None:
    retain, forget, _ = parts(20, 8)
    log_p_FK, order = log_p(8, 1), retain.labels != 2
    others = retain.with_rows(retain.rows[order])
    class_2 = forget.with_rows(forget.rows[forget.labels == 2])
    split = Split(needs=AdaProb.needs | {"validation"}, subsets={"retain": others, "forget": class_2})
    pseudo = heldout_targets(network(), split, log_p_FK[: len(class_2)])
    assert pseudo.exp()[:, 2].tolist() == [0.0] * len(class_2)
    sizes = contract.sizes(contract.make_parts())
    whole = dataclasses.replace(sizes, whole_classes=True)
    method = AdaProb(pseudo="heldout", lr=0.1)
    assert method.cost(sizes).forward - method.cost(whole).forward == sizes.validation > 0
    assert method.skip(dataclasses.replace(whole, validation=0), nn.Identity()) is None
    with pytest.raises(InputError, match="no validation samples"):
        heldout_targets(network(), dataclasses.replace(split, subsets={"retain": retain, "forget": class_2}), log_p_FK)


# -- targets, steps and rates --------------------------------------------------------------------------------------------


def test_labels_replace_the_refined_targets_of_retain_samples_alone() -> None:
    split = contract.make_split(contract.make_parts(), AdaProb.needs)
    refined, labels = (
        AdaProb(retain_targets=kind)._refine(contract.original(), split, contract.make_context(AdaProb.needs))
        for kind in ("refined", "labels")
    )
    forget, retain = split.forget.rows, split.retain.rows
    assert torch.equal(refined[forget], labels[forget])
    assert torch.equal(labels[retain].argmax(1), split.retain.labels)
    assert set(labels[retain].unique().tolist()) == {0.0, 1.0}


@pytest.mark.parametrize("batches", ["random", "stratified"])
def test_as_many_steps_as_the_epochs_have_are_the_same_training(batches: str) -> None:
    shared: dict[str, Any] = {"lr": 0.01, "batch_size": 40, "batches": batches}
    method = AdaProb(**shared)
    split = contract.make_split(contract.make_parts(), AdaProb.needs)
    steps = 2 * len(method._source_of_batches(split))
    by_epochs, by_steps, fewer = (
        contract.digest(contract.trial(Case("adaprob", json.dumps({**shared, **settings}))).after)
        for settings in ({"epochs": 2}, {"epochs": 2, "steps": steps}, {"epochs": 2, "steps": steps - 1})
    )
    assert by_epochs == by_steps != fewer


def test_a_cosine_ends_near_zero_and_starts_at_the_rate() -> None:
    rates = scheduled_rates(0.2, 10, "cosine")
    assert rates[0] == 0.2
    assert rates == sorted(rates, reverse=True)
    assert 0 < rates[-1] < 0.01
    assert scheduled_rates(0.2, 3, "constant") == [0.2] * 3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"schedule": "cosine"}, "schedule, steps: must be left out where lr is auto"),
        ({"steps": 3}, "schedule, steps: must be left out where lr is auto"),
        (
            {"lr": 0.1, "batches": "stratified", "batch_size": 16},
            "forget_batch: must be less than batch_size, 16, got 16",
        ),
        ({"lr": 0.1, "forget_batch": 8}, "forget_batch: must be left out unless batches is stratified, got 8"),
        ({"lr": 0.1, "steps": 0}, "steps: must be an integer of at least 1, got 0"),
        ({"pseudo": "held_out"}, "pseudo: must be"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        AdaProb(**settings)
