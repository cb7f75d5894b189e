"""The command audit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from adaprob_ray.cli._exit_codes import DONE, FAILED, INTERRUPTED
from adaprob_ray.cli._unlearn_options import given_inputs, input_options
from adaprob_ray.errors import InputError

if TYPE_CHECKING:
    from adaprob_ray.unlearning.audit import Check
    from adaprob_ray.unlearning.inputs import Inputs


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@input_options(required=False)
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda:0.")
def audit(folder: Path, device: str, **options: Any) -> int:
    """Recompute the record that `unlearn` wrote to DIR.

    The new weights are those in DIR; all else is where DIR/inputs.json says, unless an option names another place. Exit code:
    0 if everything agrees, 1 if something differs, 2 if it cannot be recomputed.

    Python files that inputs.json names are imported. If you do not trust DIR, name --model and --data yourself.
    """
    try:
        return _audit(folder, device, options)
    except KeyboardInterrupt:
        click.echo("\nInterrupted. Nothing was changed.", err=True)
        return INTERRUPTED


def _audit(folder: Path, device: str, options: dict[str, Any]) -> int:
    from adaprob_ray.unlearning.audit import check_files, read_record

    record, _ = read_record(folder)
    inputs = _inputs(folder, options)
    checks = [*check_files(folder, record), *_original(inputs)]
    try:
        checks += [check for check in _recomputed(folder, record, inputs, device) if not check.name.startswith("file ")]
    except InputError as error:
        if all(check.agrees for check in checks):
            raise
        click.echo(f"error: the rest cannot be recomputed: {error}", err=True)
    return _report(checks)


def _inputs(folder: Path, options: dict[str, Any]) -> Inputs:
    """What inputs.json says, with what the options say instead. Raises InputError."""
    from adaprob_ray.unlearning.inputs import Inputs
    from adaprob_ray.unlearning.save import INPUTS_FILE

    path = folder / INPUTS_FILE
    audit_inputs = given_inputs(options)
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        missing = [f"--{name}" for name in ("model", "data", "forget") if name not in audit_inputs]
        if missing:
            raise InputError(f"{', '.join(missing)}: must be given, as {folder} has no {INPUTS_FILE}") from None
        document = {"folder": str(Path.cwd())}
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error
    if not isinstance(document, dict):
        raise InputError(f"{path}: must be written by `adaprob-ray unlearn`, got {type(document).__name__}")
    if "model" in audit_inputs or "data" in audit_inputs:
        document["folder"] = str(Path.cwd())
    return Inputs.from_document({**document, **audit_inputs}, str(path)).absolute()


def _original(inputs: Inputs) -> list[Check]:
    """The file of the original weights, if its digest is known."""
    from adaprob_ray.models.weights_file import read_weights
    from adaprob_ray.unlearning.audit import Check

    if inputs.weights is None or inputs.weights_sha256 is None:
        return []
    import hashlib

    path = Path(inputs.weights)
    if not path.is_file():
        read_weights(path)  # raises with the reason
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return [Check("file of the original weights", inputs.weights_sha256, digest)]


def _recomputed(folder: Path, record: dict[str, Any], inputs: Inputs, device: str) -> list[Check]:
    import copy

    from adaprob_ray.models.weights_file import read_weights
    from adaprob_ray.unlearning.audit import audit
    from adaprob_ray.unlearning.inputs import load_inputs

    try:
        method, name = record["predicate"]["method"], record["subject"][0]["name"]
        arguments = {
            "method": "finetune",  # any: it is not run. The record's may be code from elsewhere
            "settings": {},
            "batch_norm": method["batchNorm"],
            "max_drop": method["maxDrop"],
            "precision": method["precision"],
            "seed": method["seed"],
        }
    except (KeyError, IndexError, TypeError) as error:
        raise InputError(
            f"{folder}: must have a record that `adaprob-ray unlearn` wrote, got none of its keys: {error}"
        ) from error
    loaded = load_inputs(inputs, arguments["seed"])
    model = copy.deepcopy(loaded.model)
    read_weights(folder / name).load_into(model)
    return audit(folder, loaded.prepared(device=device, **arguments), model)


def _report(checks: list[Check]) -> int:
    """A line for each kind of check, then each difference. Returns the exit code."""
    from adaprob_ray.unlearning.audit import NOT_RECOMPUTED

    kinds: dict[str, list[Check]] = {}
    for check in checks:
        kinds.setdefault(_kind(check.name), []).append(check)
    for kind, members in kinds.items():
        count = sum(not check.agrees for check in members)
        click.echo(f"{kind:<42} {len(members):>4} checked  {f'{count} differ' if count else 'all agree'}")
    differing = [check for check in checks if not check.agrees]
    if not differing:
        click.echo(f"All {len(checks)} entries agree with the record. Not recomputed: {NOT_RECOMPUTED}.")
        return DONE
    click.echo(f"\n{len(differing)} of {len(checks)} entries differ:")
    for check in differing:
        click.echo(f"  {check.name}: recorded {check.recorded}, recomputed {check.recomputed}")
    return FAILED


def _kind(name: str) -> str:
    """`forget_error_percent` of `forget_error_percent of original: value`; `most exposed` of `most exposed 3: leaf`."""
    if name.startswith("most exposed"):
        return "most exposed"
    metric, of, model = name.partition(" of ")
    if of and model.startswith(("original", "unlearned", "reference")):
        return metric
    return name.partition(": ")[0]
