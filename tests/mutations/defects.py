"""Defects that were found in published systems for unlearning, or feared in ours, as changes of our source, and for each the
smallest test of the suite that must fail under it.

A change is (module, text, text in its place). The text must stand in the module exactly once: who rewrites the code rewrites
the defect.
"""

from __future__ import annotations

from dataclasses import dataclass

METHODS, METRICS, CONTRACT = "adaprob_ray.methods", "adaprob_ray.metrics", "tests/methods/test_contract.py"
REWIND = (
    "tests/methods/test_scrub_rewind.py::"
    "test_the_reference_is_the_last_students_error_on_unseen_images_of_the_forget_classes"
)


@dataclass(frozen=True, kw_only=True)
class Defect:
    """`about`: what the defect is, and in what kind of system it was found."""

    name: str
    about: str
    changes: tuple[tuple[str, str, str], ...]
    test: str


DEFECTS = (
    Defect(
        name="refinement that is no refinement",
        about="AdaProb's published script: column sums taken from the very matrix that is refined, so that λ and η do nothing",
        changes=(
            (
                f"{METHODS}.adaprob",
                'totals_K = (pseudo_NK if self.totals == "pseudo" else log_f_NK).exp().sum(0)',
                "totals_K = reference_NK.exp().sum(0)",
            ),
        ),
        test="tests/methods/test_adaprob.py::test_the_scripts_target_shift_is_zero_and_the_others_are_not",
    ),
    Defect(
        name="unseeded pseudo-probabilities",
        about="AdaProb's published script: random targets from the global generator, another result at every run",
        changes=(
            (
                f"{METHODS}.adaprob_targets",
                "torch.rand(rows, classes, generator=generator, ",
                "torch.rand(rows, classes, ",
            ),
        ),
        test="tests/methods/test_adaprob.py::test_random_pseudo_probabilities_are_seeded_by_seed_and_repeat",
    ),
    Defect(
        name="stratified batches without λ",
        about="feared here: the weights of the draws replace those of Eq. (8), so that λ in the loss does nothing",
        changes=((f"{METHODS}.adaprob", "weight_N * source.weights(), reduction", "source.weights(), reduction"),),
        test="tests/methods/test_adaprob_batches.py::test_the_mean_gradient_of_an_epoch_is_that_of_eq_8[even-0.25-loss]",
    ),
    Defect(
        name="stratified batches averaged",
        about="feared here: a weighted sum that is divided by the number of rows once more",
        changes=(
            (
                f"{METHODS}.adaprob",
                'weight_N * source.weights(), reduction="sum")',
                'weight_N * source.weights(), reduction="mean")',
            ),
        ),
        test="tests/methods/test_adaprob_batches.py::test_the_mean_gradient_of_an_epoch_is_that_of_eq_8[even-1.0-targets]",
    ),
    Defect(
        name="optimizer of the teacher",
        about="a benchmark's SCRUB: its optimizer held the teacher's parameters, and no weight of the student ever changed",
        changes=(
            (f"{METHODS}.scrub", "copy.deepcopy(model).eval().requires_grad_(False)", "copy.deepcopy(model).eval()"),
            (
                f"{METHODS}.scrub",
                "optimizer, shuffle = self._optimizer(model)",
                "optimizer, shuffle = self._optimizer(teacher)",
            ),
        ),
        test=f"{CONTRACT}::test_weights_move[scrub]",
    ),
    Defect(
        name="swapped arguments of a divergence",
        about="the same benchmark: (retrained, unlearned) handed to a function of (unlearned, retrained)",
        changes=(
            (
                f"{METRICS}.divergence",
                'forget = mean_divergence_nats(model.logits["train"][rows], reference.logits["train"][rows])',
                'forget = mean_divergence_nats(reference.logits["train"][rows], model.logits["train"][rows])',
            ),
        ),
        test="tests/metrics/test_divergence.py::test_kl_to_retrain_compares_the_right_rows_with_the_right_reference",
    ),
    Defect(
        name="swapped direction of distillation",
        about="the same defect where it would train: KL(student ‖ teacher)",
        changes=(
            (
                "adaprob_ray.training.losses",
                'functional.kl_div(student, teacher, reduction="batchmean", log_target=True)',
                'functional.kl_div(teacher, student, reduction="batchmean", log_target=True)',
            ),
        ),
        test="tests/methods/test_scrub.py::test_distillation_is_the_batch_mean_of_the_softened_divergence_teacher_first",
    ),
    Defect(
        name="score that depends on its batch",
        about="the modified-entropy attack of a family of saliency methods: columns indexed by the labels of all rows at once",
        changes=(
            (
                f"{METRICS}.membership",
                "-log_p_NK[np.arange(len(labels_N)), labels_N]",
                "-log_p_NK[:, labels_N].mean(1)",
            ),
        ),
        test="tests/metrics/test_membership.py::test_the_loss_of_a_row_does_not_depend_on_the_rows_beside_it",
    ),
    Defect(
        name="mask of gradients alone",
        about="a saliency method: gradients were masked, and weight decay and momentum moved the masked weights all the same",
        changes=(
            (
                "adaprob_ray.training.loop",
                "        parameter.requires_grad_(False)\n    try:",
                "        parameter.register_hook(torch.zeros_like)\n    try:",
            ),
            (
                f"{METHODS}.cf_k",
                "momentum=self.momentum, weight_decay=self.weight_decay)",
                "momentum=self.momentum, weight_decay=recipe.weight_decay)",
            ),
        ),
        test="tests/methods/test_last_layers.py::test_frozen_parameters_stay_bit_identical_through_momentum_and_weight_decay[cf_k]",
    ),
    Defect(
        name="divergence averaged over classes",
        about="the metrics of a bad-teaching repository: a divergence that is ten times too small for ten classes",
        changes=(
            (
                f"{METRICS}.divergence",
                "smooth_probabilities(q_logits_NK)).sum(1).mean()",
                "smooth_probabilities(q_logits_NK)).mean(1).mean()",
            ),
        ),
        test="tests/metrics/test_divergence.py::test_divergence_is_scipys_entropy_of_the_smoothed_probabilities_model_first",
    ),
    Defect(
        name="distillation averaged over classes",
        about="the same defect where it would train",
        changes=(
            (
                "adaprob_ray.training.losses",
                'functional.kl_div(student, teacher, reduction="batchmean", log_target=True)',
                'functional.kl_div(student, teacher, reduction="none", log_target=True).mean()',
            ),
        ),
        test="tests/methods/test_scrub.py::test_distillation_is_the_batch_mean_of_the_softened_divergence_teacher_first",
    ),
    Defect(
        name="attack scored on its own training rows",
        about="a likelihood-ratio attack that was fitted and scored on the same models",
        changes=(
            (
                f"{METRICS}.membership",
                'scores = cross_val_score(LogisticRegression(), features, is_member, cv=splits, scoring="accuracy")',
                "scores = [LogisticRegression().fit(features[f], is_member[f]).score(features[f], is_member[f])"
                " for f, _ in splits.split(features, is_member)]",
            ),
        ),
        test="tests/metrics/test_membership.py::test_the_attack_equals_an_independent_one[25]",
    ),
    Defect(
        name="deviation of zero, not a number",
        about="the same attack: a Gaussian of standard deviation 0 gave NaN; here a color channel without any spread",
        changes=(("adaprob_ray.data.folder", "np.where(variance > 0, np.sqrt(variance), 1.0)", "np.sqrt(variance)"),),
        test="tests/data/test_folder.py::test_a_flat_channel_is_not_divided_by_zero",
    ),
    Defect(
        name="deviation of zero, certainty",
        about="tables that print ± 0.00 where three runs agree: here the interval of an AUC whose pairs all say the same",
        changes=((f"{METRICS}.auc", "if variance == 0:", "if variance < 0:"),),
        test="tests/metrics/test_auc.py::test_pairs_that_all_say_the_same_get_clopper_and_pearsons_bound[rows0]",
    ),
    Defect(
        name="distance to the original",
        about="an evaluation framework: distances to the original model instead of Retrain",
        changes=((f"{METRICS}.divergence", "divergences(evaluation.independent)", "divergences(evaluation.original)"),),
        test="tests/metrics/test_divergence.py::test_kl_to_retrain_compares_the_right_rows_with_the_right_reference",
    ),
    Defect(
        name="selection by the test set",
        about="a benchmark that chose epochs by test accuracy: here the test images handed out for validation",
        changes=(("adaprob_ray.stages.unlearn", '"validation": subsets.validation,', '"validation": subsets.test,'),),
        test=f"{CONTRACT}::test_the_test_set_is_not_reachable_and_the_stage_leaves_the_original_alone[scrub_rewind]",
    ),
    Defect(
        name="rewinding by the forget rows",
        about="the same defect in a selection rule: the reference error taken of the rows that are forgotten",
        changes=((f"{METHODS}.scrub_rewind", "error_fraction(model, unseen)", "error_fraction(model, split.forget)"),),
        test=f"{REWIND}[closest]",
    ),
    Defect(
        name="rewinding by all of validation",
        about="feared: the reference error taken of validation images of all classes",
        changes=(
            (f"{METHODS}.scrub_rewind", "error_fraction(model, unseen)", "error_fraction(model, split.validation)"),
        ),
        test=f"{REWIND}[first_above]",
    ),
    Defect(
        name="attack that is unseeded",
        about="feared: the larger list cut to the smaller by another draw at every call",
        changes=((f"{METRICS}.membership", "random.Random(seed)", "random.Random()"),),
        test="tests/metrics/test_membership.py::test_the_larger_list_is_subsampled_reproducibly_by_the_seed",
    ),
    Defect(
        name="attack with its labels flipped",
        about="feared: members and others named the wrong way round",
        changes=((f"{METRICS}.membership", "np.repeat([0, 1], count)", "np.repeat([1, 0], count)"),),
        test="tests/metrics/test_membership.py::test_the_attack_equals_an_independent_one[25]",
    ),
    Defect(
        name="members that were not forgotten",
        about="attacks of the dampening and bad-teaching family: trained on retain rows against test rows",
        changes=(
            (
                f"{METRICS}.membership",
                'losses(model.logits["train"][evaluation.forget], model.labels["train"][evaluation.forget])',
                'losses(model.logits["train"][evaluation.retain], model.labels["train"][evaluation.retain])',
            ),
        ),
        test="tests/metrics/test_membership.py::test_members_are_forget_rows_and_others_the_tests_rows_of_that_class",
    ),
    Defect(
        name="attack with its sign lost",
        about="the same family, where forgetting too much looks perfect: here a leak below 50 % and over-forgetting above",
        changes=(
            (f"{METRICS}.auc", "return 1 - below_N / (2 * len(others_X))", "return below_N / (2 * len(others_X))"),
        ),
        test="tests/metrics/test_auc.py::test_a_leak_is_above_50_and_forgetting_too_much_below",
    ),
    Defect(
        name="only the last linear layer reset",
        about="the retraining of a dampening method: of all layers only the last linear one was reset",
        changes=(
            (
                f"{METHODS}.eu_k",
                "layers = (network.last_stage, network.classifier)\n            for layer in layers:",
                "layers = (network.last_stage, network.classifier)\n            for layer in layers[1:]:",
            ),
        ),
        test="tests/methods/test_last_layers.py::test_euk_at_random_starts_from_a_fresh_network",
    ),
    Defect(
        name="Retrain that sees a forget row",
        about="feared: replacements drawn from all rows instead of the retain rows",
        changes=(
            (
                "adaprob_ray.data.split",
                "choice(retain_positions(train_count, forget), len(forget)",
                "choice(train_count, len(forget)",
            ),
        ),
        test=f"{CONTRACT}::test_retrain_takes_as_many_rows_as_the_original_or_only_retain",
    ),
    Defect(
        name="ascent that descends",
        about="feared: NegGrad+ adds the forget rows' loss where it should subtract it",
        changes=((f"{METHODS}.neggrad_plus", "- (1 - self.alpha) * forget", "+ (1 - self.alpha) * forget"),),
        test="tests/methods/test_neggrad_plus.py::test_neggrad_plus_equals_the_plain_loop[large]",
    ),
    Defect(
        name="teacher that is trained",
        about="feared: the bad teacher's parameters in the student's optimizer",
        changes=(
            (f"{METHODS}.bad_teacher", "teacher.eval().requires_grad_(False)", "teacher.eval()"),
            (f"{METHODS}.bad_teacher", "with torch.no_grad():", "with torch.enable_grad():"),
            (f"{METHODS}.bad_teacher", "Adam(model.parameters(), ", "Adam([*model.parameters(), *bad.parameters()], "),
        ),
        test=f"{CONTRACT}::test_teachers_stay_bit_identical[bad_teacher]",
    ),
    Defect(
        name="batch norm that moves where it is frozen",
        about="the authors' flag without effect: the training routine put all layers back to training mode",
        changes=(("adaprob_ray.training.loop", 'if batch_norm == "frozen":', 'if batch_norm == "none":'),),
        test=f"{CONTRACT}::test_batch_norm_is_handled_as_declared[frozen-finetune]",
    ),
    Defect(
        name="noise of the global generator",
        about="feared: Fisher's noise without its seed",
        changes=((f"{METHODS}.fisher", "torch.randn(v.shape, generator=generator, ", "torch.randn(v.shape, "),),
        test=f"{CONTRACT}::test_the_same_seed_gives_the_same_weights_and_the_global_generator_is_left_alone[fisher]",
    ),
    Defect(
        name="resumed without momentum",
        about="feared in ours: a training that resumes from a checkpoint of only the weights ends with other weights",
        changes=(("adaprob_ray.training.training_state", "optimizer.load_state_dict(self.optimizer)", "pass"),),
        test="tests/runtime/test_checkpoints.py::test_a_stopped_training_ends_with_the_same_bits[allcnn]",
    ),
    Defect(
        name="resumed with another order",
        about="feared in ours: the shuffling of a resumed training restarts, so that its batches differ",
        changes=(("adaprob_ray.training.training_state", 'generator.set_state(self.generators["order"])', "pass"),),
        test="tests/runtime/test_checkpoints.py::test_a_stopped_training_ends_with_the_same_bits[allcnn]",
    ),
)
