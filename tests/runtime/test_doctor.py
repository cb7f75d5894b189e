"""The doctor: each check on planted facts, the probe of this machine, the command, and a cluster of two nodes."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image
from tiny_sweep import HERE, TINY, cells_of

import adaprob_ray
from adaprob_ray import cli
from adaprob_ray.catalogue import DATASETS, REGISTRY
from adaprob_ray.data.dataset import Dataset
from adaprob_ray.data.folder import prepare_folder, prepared_folders
from adaprob_ray.errors import InputError, StoreError
from adaprob_ray.runtime import cluster_address, node_probe
from adaprob_ray.runtime.cluster_address import check_address
from adaprob_ray.runtime.cluster_capacity import NodeType, node_types_of
from adaprob_ray.runtime.doctor import Needs, check_machine, raise_on_fail
from adaprob_ray.runtime.doctor_checks import GIB, run_checks
from adaprob_ray.runtime.survey import Finding, Machine, Survey, redact
from adaprob_ray.store import Store
from adaprob_ray.store.objects import Objects
from adaprob_ray.sweep.plan import Plan

VERSIONS = {"python": "3.11.7", "ray": "2.60.0", "torch": "2.11.0", "adaprob_ray": "0.1.0", "source": "abcd1234"}
SOUND: Mapping[str, Any] = {
    "versions": VERSIONS,
    "store": {"fault": None, "sees_marker": True, "creates_once": True},
    "data": {"cifar5": None},
    "modules": {"my_package.mine": None},
    "gpus": [],
    "shared_memory_bytes": 8 * GIB,
    "temp": "/tmp",
    "temp_free_bytes": 100 * GIB,
    "temp_fault": None,
    "clock": 0.0,
}
CARD = {"name": "NVIDIA H100", "bytes": 80 * GIB}
NODE = {"CPU": 8.0, "object_store_memory": 2.0 * GIB}


def machine(name: str = "b", resources: Mapping[str, float] = NODE, clock_offset: float = 0.0, **facts: Any) -> Machine:
    return Machine(name=name, resources=resources, facts={**SOUND, **facts}, clock_offset=clock_offset)


def survey(*machines: Machine, **more: Any) -> Survey:
    """Of node a, which is sound, and the given nodes."""
    return Survey(machines=[machine("a"), *machines], versions=VERSIONS, location="/mnt/store", data_root="/d", **more)


def of(check: str, findings: list[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.check == check]


def the_bad(findings: list[Finding]) -> Finding:
    """The only finding that is not ok."""
    (bad,) = (finding for finding in findings if finding.status != "ok")
    return bad


def test_sound_nodes_give_one_line_for_each_check() -> None:
    findings = run_checks(survey(machine(), machine("c"), requests={"train": [{"CPU": 1.0}]}))
    assert [(f.status, f.check, f.where) for f in findings] == [
        ("ok", "nodes", "3 nodes"),
        ("ok", "versions", "3 nodes"),
        ("ok", "store", "3 nodes"),
        ("ok", "data", "3 nodes"),
        ("ok", "modules", "3 nodes"),
        ("ok", "gpus", "3 nodes"),
        ("ok", "shm", "3 nodes"),
        ("ok", "disk", "3 nodes"),
        ("ok", "resources", "train"),
        ("ok", "clocks", "3 nodes"),
    ]
    assert of("store", findings)[0].message == "create, read and delete in /mnt/store"
    raise_on_fail(findings)


@pytest.mark.parametrize(
    ("check", "status", "planted", "message"),
    [
        ("versions", "fail", {"versions": {**VERSIONS, "torch": "2.12.0"}}, "torch 2.12.0 (here 2.11.0)"),
        ("versions", "fail", {"versions": {**VERSIONS, "python": "3.11.8"}}, "python 3.11.8 (here 3.11.7)"),
        ("versions", "fail", {"versions": {**VERSIONS, "source": "ffff0000"}}, "source ffff0000 (here abcd1234)"),
        ("store", "fail", {"store": {**SOUND["store"], "fault": "store s3://b: AccessDenied"}}, "AccessDenied"),
        ("store", "fail", {"store": {**SOUND["store"], "sees_marker": False}}, "is it a shared file system?"),
        ("store", "fail", {"store": {**SOUND["store"], "creates_once": False}}, "only if absent"),
        ("data", "fail", {"data": {"cifar5": "cifar5: wrong sha256"}}, "cifar5: wrong sha256"),
        ("modules", "fail", {"modules": {"my_package.mine": "no module"}}, "no module"),
        ("shm", "warn", {"shared_memory_bytes": 64 * 2**20}, "/dev/shm has 0.06 GiB, Ray's object store 2.00 GiB"),
        ("disk", "warn", {"temp_free_bytes": 2 * GIB}, "/tmp has 2.0 GiB free"),
        ("disk", "fail", {"temp_free_bytes": GIB // 2}, "/tmp has 0.5 GiB free"),
        ("disk", "fail", {"temp_fault": "[Errno 30] Read-only file system"}, "cannot be written"),
        ("gpus", "warn", {"gpus": [CARD]}, "Ray counts 0, PyTorch sees 1"),
    ],
)
def test_a_fault_of_one_node_is_reported_for_that_node_with_a_remedy(
    check: str, status: str, planted: dict[str, Any], message: str
) -> None:
    findings = run_checks(survey(machine(**planted)))
    bad = the_bad(findings)
    assert (bad.status, bad.check, bad.where) == (status, check, "b")
    assert message in bad.message
    assert bad.remedy
    assert [(f.status, f.where) for f in of(check, findings) if f != bad] == [("ok", "a")]


def test_nodes_with_the_same_fault_are_one_line() -> None:
    planted = {"store": {**SOUND["store"], "sees_marker": False}}
    assert the_bad(run_checks(survey(machine("b", **planted), machine("c", **planted)))).where == "b, c"


def test_a_node_that_does_not_answer_fails_and_the_others_are_checked() -> None:
    findings = run_checks(survey(Machine(name="b", resources=NODE, fault="no answer within 60 s")))
    bad = the_bad(findings)
    assert (bad.check, bad.where, bad.message) == ("nodes", "b", "no answer within 60 s")
    assert "ray status" in bad.remedy
    missing = "ModuleNotFoundError: No module named 'adaprob_ray'"
    assert "same wheel" in the_bad(run_checks(survey(Machine(name="b", resources=NODE, fault=missing)))).remedy
    assert of("store", findings)[0].where == "a"
    assert the_bad(run_checks(Survey(machines=[], versions=VERSIONS))).message == "no node is alive"


def test_clocks_are_shown_and_an_hour_is_a_warning() -> None:
    findings = of("clocks", run_checks(survey(machine(clock_offset=-0.25))))
    assert [(f.status, f.where, f.message) for f in findings] == [("ok", "2 nodes", "within 0.25 s of the driver")]
    bad = the_bad(run_checks(survey(machine(clock_offset=3600.0))))
    assert (bad.status, bad.where, bad.message) == ("warn", "b", "3600 s ahead of the driver")
    assert the_bad(run_checks(survey(machine(clock_offset=-60.0)))).message == "60 s behind the driver"


def test_a_store_that_the_driver_cannot_use_or_that_lacks_room_fails() -> None:
    bad = the_bad(run_checks(survey(store_fault="store s3://b: NoSuchBucket")))
    assert (bad.status, bad.where, bad.message) == ("fail", "driver", "store s3://b: NoSuchBucket")
    bad = the_bad(run_checks(survey(store_free_bytes=GIB, bytes_to_write=2 * GIB)))
    assert (bad.status, bad.check) == ("fail", "store")
    assert "1.0 GiB free" in bad.message
    assert "write 2.0 GiB" in bad.message


@pytest.mark.parametrize(
    ("gpus", "gpu_faults", "status", "message"),
    [
        ("PyTorch finds no usable CUDA device", None, "fail", "Ray counts 2, but PyTorch finds no usable CUDA device"),
        ([CARD], [], "fail", "Ray counts 2, PyTorch sees 1"),
        ([CARD, CARD], ["card 1: CUDA error"], "fail", "card 1: CUDA error"),
        ([CARD, CARD], [], "ok", "2 x NVIDIA H100 80 GiB, computed on"),
        ([CARD, CARD], None, "ok", "2 x NVIDIA H100 80 GiB, in use by others, not tried"),
    ],
)
def test_gpus_that_ray_counts_must_be_usable(gpus: Any, gpu_faults: Any, status: str, message: str) -> None:
    resources = {**NODE, "GPU": 2.0}
    node = Machine(name="b", resources=resources, facts={**SOUND, "gpus": gpus}, gpu_faults=gpu_faults)
    (finding,) = (f for f in of("gpus", run_checks(survey(node))) if f.where == "b")
    assert (finding.status, finding.message) == (status, message)
    # Cells that ask for no GPU do not need them.
    findings = of("gpus", run_checks(survey(node, requests={"train": [{"CPU": 1.0}]})))
    assert {f.status for f in findings} <= {"ok", "warn"}


def test_a_request_must_fit_a_node_or_a_type_that_the_autoscaler_may_start() -> None:
    requests = {"train": [{"CPU": 2.0, "GPU": 1.0}]}
    types = [{"CPU": 2.0, "GPU": 1.0}]
    (finding,) = of("resources", run_checks(survey(requests=requests, node_types=types)))
    assert finding.status == "ok"
    assert finding.message == "cpu 2, gpu 1 fits no current node, but fits a node type that the autoscaler may start"
    bad = the_bad(run_checks(survey(requests={"train": [{"CPU": 2.0, "GPU": 4.0}]}, node_types=types)))
    assert (bad.status, bad.where) == ("fail", "train")
    assert "the most of one: cpu 8, gpu 1" in bad.message
    # A CPU of one node and the GPU of another do not make a place for a cell.
    bad = the_bad(run_checks(survey(requests={"train": [{"CPU": 4.0, "GPU": 1.0}]}, node_types=types)))
    assert bad.status == "fail"


def test_cells_that_ask_for_a_gpu_run_on_cores_where_there_is_none() -> None:
    findings = of("resources", run_checks(survey(requests={"unlearn": [{"CPU": 1.0, "GPU": 0.25}]})))
    assert [(f.status, f.message) for f in findings] == [
        ("warn", "asks for a GPU, and there is none: its cells run on CPU cores"),
        ("ok", "cpu 1 fits a node"),
    ]


def test_needs_are_those_of_unfinished_cells() -> None:
    cells = cells_of()
    needs = Needs.of(Plan(cells), REGISTRY)
    assert needs.datasets.keys() == {"digits"}
    assert needs.requests.keys() == {"train", "unlearn", "evaluate"}
    assert needs.bytes_to_write > 0
    assert Needs.of(Plan(cells, done=cells), REGISTRY) == Needs()


def test_a_fail_raises_with_its_lines_and_a_warning_does_not() -> None:
    findings = run_checks(survey(machine(temp_free_bytes=0), machine("c", shared_memory_bytes=1)))
    with pytest.raises(InputError) as caught:
        raise_on_fail(findings)
    (line,) = caught.value.faults
    assert line.startswith("disk: b: temporary folder /tmp has 0.0 GiB free -> ")


def test_no_credential_is_shown() -> None:
    text = "store s3://key:pass@bucket/x?token=1 refused tok3n"
    assert redact(text, {"RAY_AUTH_TOKEN": "tok3n"}) == "store s3://***@bucket/x?*** refused ***"
    findings = run_checks(survey(store_fault="store s3://key:pass@b"), secrets={})
    assert the_bad(findings).message == "store s3://***@b"


# -- the probe --------------------------------------------------------------------------------------------------------


def test_the_store_is_tried_and_nothing_stays(tmp_path: Path) -> None:
    objects = Objects.open(tmp_path, create=False)
    objects.put("marker", b"")
    sound = {"fault": None, "sees_marker": True, "creates_once": True}
    assert node_probe.try_store(str(tmp_path), "marker") == sound
    assert os.listdir(tmp_path) == ["marker"]


def test_a_folder_that_is_not_shared_is_noticed(tmp_path: Path) -> None:
    assert not node_probe.try_store(str(tmp_path), "marker")["sees_marker"]
    assert not node_probe.try_store(str(tmp_path / "absent"), "marker")["sees_marker"]
    assert not (tmp_path / "absent").exists()


def test_a_storage_service_that_ignores_create_only_if_absent_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def create(self: Objects, path: str, document: Mapping[str, Any]) -> bool:
        self.put(path, json.dumps(dict(document)).encode())
        return True

    monkeypatch.setattr(Objects, "create", create)
    assert not node_probe.try_store(str(tmp_path), "marker")["creates_once"]


@pytest.mark.parametrize("error", [StoreError("store x: read-only"), InputError("store x: no such bucket")])
def test_a_storage_error_is_the_fault(error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> bool:
        raise error

    monkeypatch.setattr(Objects, "create", refuse)
    assert node_probe.try_store(str(tmp_path), "marker")["fault"] == str(error)


def prepared_images(root: Path, grey: int) -> Dataset:
    """A data set `mine` under `root`, of two classes of ten images of one grey."""
    for name in [f"{label}/{number}.png" for label in "ab" for number in range(10)]:
        (root / "mine" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4), (grey, grey, grey)).save(root / "mine" / name)
    prepare_folder("mine", root, size=4)
    return prepared_folders(root)["mine"]


def test_data_are_verified_and_other_images_under_the_same_name_are_noticed(tmp_path: Path) -> None:
    entry: Dataset = DATASETS["cifar5"]
    faults = node_probe.verify_data(tmp_path, {"cifar5": entry, "digits": DATASETS["digits"]})
    assert faults["digits"] is None
    assert str(tmp_path) in str(faults["cifar5"])

    mine = prepared_images(tmp_path / "here", grey=10)
    prepared_images(tmp_path / "there", grey=200)
    assert node_probe.verify_data(tmp_path / "here", {"mine": mine}) == {"mine": None}
    assert "differ from those" in str(node_probe.verify_data(tmp_path / "there", {"mine": mine})["mine"])


def test_a_temporary_folder_that_cannot_be_written_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    assert node_probe.temporary_folder()["temp_fault"] is None
    monkeypatch.setattr("tempfile.gettempdir", lambda: "/proc")
    assert node_probe.temporary_folder()["temp_fault"]


def fake_torch(monkeypatch: pytest.MonkeyPatch, **cuda: Any) -> None:
    class Matrix(list[float]):
        def __matmul__(self, other: Any) -> Matrix:
            return self

        def sum(self) -> float:
            return float(node_probe.TRIAL_ROWS**3)

    def ones(*_: int, device: str) -> Matrix:
        if device == "cuda:1":
            raise RuntimeError("CUDA error: uncorrectable ECC error encountered")
        return Matrix()

    calls = {"is_available": lambda: True, "device_count": lambda: 2, "empty_cache": lambda: None, **cuda}
    module = types.ModuleType("torch")
    module.__dict__.update(cuda=types.SimpleNamespace(**calls), ones=ones)
    monkeypatch.setitem(sys.modules, "torch", module)


def test_each_card_is_listed_and_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    card = types.SimpleNamespace(name="NVIDIA H100", total_memory=80 * GIB)
    fake_torch(monkeypatch, get_device_properties=lambda number: card)
    assert node_probe.list_gpus() == [CARD, CARD]
    assert node_probe.try_gpus() == ["card 1: CUDA error: uncorrectable ECC error encountered"]


def test_a_driver_without_a_usable_card_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_torch(monkeypatch, is_available=lambda: False)
    assert node_probe.list_gpus() == "PyTorch finds no usable CUDA device"

    def fail(number: int) -> None:
        raise RuntimeError("CUDA driver\nversion is insufficient")

    fake_torch(monkeypatch, get_device_properties=fail)
    assert node_probe.list_gpus() == "RuntimeError: CUDA driver version is insufficient"


# -- the address, and the node types of an autoscaler -----------------------------------------------------------------


MALFORMED_ADDRESSES = [
    *(
        "http://127.0.0.1:8265",
        "https://head:8265",
        "ray://head:10001",
        "nonsense",
        "local",
        "",
        ":6379",
        "head:",
        "head:port",
    ),
    *(
        "head:0",
        "head:65536",
        "head:700000",
        "head:-1",
        "head:6379/",
        "head:6379:1",
        "user@head:6379",
        "two words:6379",
    ),
    *(
        "head:٦٣٧٩",
        "::1:6379",
        "[::1]",
        "[::g]:6379",
        "[head]:6379",
        "fe80::1:6379",
        " head:6379",
        "head:6379 ",
        "Auto",
    ),
]


@pytest.mark.parametrize("address", MALFORMED_ADDRESSES)
def test_an_address_of_another_form_is_bad_input(address: str) -> None:
    with pytest.raises(InputError, match="must be HOST:PORT of the head node") as caught:
        check_address(address)
    assert f"got {address!r}" in str(caught.value)
    assert len(caught.value.faults) == 1


@pytest.mark.parametrize(
    ("address", "parsed"),
    [
        ("head:6379", ("head", 6379)),
        ("10.0.0.7:65535", ("10.0.0.7", 65535)),
        ("[::1]:6379", ("::1", 6379)),
        ("[2001:db8::7]:1", ("2001:db8::7", 1)),
        ("node_1.cluster.local:06379", ("node_1.cluster.local", 6379)),
    ],
)
def test_an_address_has_a_host_and_a_port(address: str, parsed: tuple[str, int]) -> None:
    assert cluster_address.parse_address(address) == parsed


@pytest.mark.parametrize("value", ["http://head:8265", "head", "local", "head:70000"])
def test_a_malformed_ray_address_in_the_environment_is_bad_input(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", value)
    with pytest.raises(InputError, match=r"RAY_ADDRESS|belongs to no Ray cluster") as caught:
        check_address("auto")
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("address", ["[::1]:1", "label..empty:6379", "no-such-host.invalid:6379"])
def test_a_host_that_cannot_be_reached_is_named(address: str) -> None:
    with pytest.raises(InputError, match="no Ray cluster answers at"):
        check_address(address)


def test_a_host_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def wait(*_: object, **__: object) -> socket.socket:
        never.wait()
        raise OSError

    never = threading.Event()
    monkeypatch.setattr(cluster_address, "CONNECT_SECONDS", 0.1)
    monkeypatch.setattr(socket, "create_connection", wait)
    with pytest.raises(InputError, match=r"no Ray cluster answers at head:6379 .no connection within 0 s"):
        check_address("head:6379")
    never.set()
    assert 0 < cluster_address.ANSWER_SECONDS <= 5


def test_an_address_where_nothing_listens_is_an_error_at_once() -> None:
    with pytest.raises(InputError, match=r"--address 127.0.0.1:1: no Ray cluster answers at 127.0.0.1:1 .*refused"):
        check_address("127.0.0.1:1")


@pytest.mark.parametrize("content", ["127.0.0.1:1", "127.0.0.1:1\n", "", "not an address", "http://127.0.0.1:8265"])
def test_auto_on_a_machine_whose_cluster_is_gone(tmp_path: Path, content: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """`ray start` leaves a file with the address, which outlives a cluster that was killed."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.setattr("ray._private.services.find_gcs_addresses", set)  # of this machine's processes
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "ray_current_cluster").write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=r"--address auto|RAY_ADDRESS") as caught:
        check_address("auto")
    assert len(str(caught.value).splitlines()) == 1


def test_an_address_where_something_else_listens_is_an_error_within_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setattr(cluster_address, "ANSWER_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(InputError, match="must be the head node of a Ray cluster"):
            check_address(address)


def test_node_types_are_those_that_may_be_started() -> None:
    config = {
        "max_workers": 4,
        "head_node_type": "head",
        "available_node_types": {
            "head": {"resources": {"CPU": 2}, "max_workers": 0},
            "gpu": {"resources": {"CPU": 8, "GPU": 1}, "max_workers": 10},
            "cpu": {"resources": {"CPU": 64}},
            "off": {"resources": {"CPU": 128}, "max_workers": 0},
            "unknown": {"resources": {}, "max_workers": 2},
        },
    }
    assert node_types_of(config) == [NodeType({"CPU": 8.0, "GPU": 1.0}, 4), NodeType({"CPU": 64.0}, 4)]
    assert node_types_of(None) == []


@pytest.mark.slow
def test_node_types_of_kuberay_are_read_from_the_cluster_resource(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ray.autoscaler._private.kuberay.node_provider import KubernetesHttpApiClient

    from adaprob_ray.runtime import cluster_capacity

    def group(cpu: str, **more: Any) -> dict[str, Any]:
        limits = {"cpu": cpu, "memory": "8Gi", **more.pop("limits", {})}
        template = {"spec": {"containers": [{"resources": {"limits": limits, "requests": limits}}]}}
        return {"rayStartParams": {}, "template": template, **more}

    worker = group("4", limits={"nvidia.com/gpu": "1"}, groupName="gpu", minReplicas=0, maxReplicas=3)
    spec = {"enableInTreeAutoscaling": True, "headGroupSpec": group("2"), "workerGroupSpecs": [worker]}
    resource = {"metadata": {"name": "sweep", "namespace": "team"}, "spec": spec}
    monkeypatch.setattr(
        KubernetesHttpApiClient, "get", lambda client, path: {"rayclusters/sweep": resource}[path], raising=True
    )
    (tmp_path / "namespace").write_text("team")
    monkeypatch.setattr(cluster_capacity, "NAMESPACE_FILE", tmp_path / "namespace")
    assert cluster_capacity._config_of_kuberay() is None, "not in a pod of a RayCluster"
    monkeypatch.setenv("RAY_CLUSTER_NAME", "sweep")
    (node_type,) = node_types_of(cluster_capacity._config_of_kuberay())
    assert node_type.max_count == 3
    assert (node_type.resources["CPU"], node_type.resources["GPU"]) == (4.0, 1.0)
    spec["enableInTreeAutoscaling"] = False
    assert cluster_capacity._config_of_kuberay() is None


# -- the command ------------------------------------------------------------------------------------------------------


def test_this_machine_is_checked_without_ray_and_nothing_stays(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADAPROB_DATA", str(tmp_path))
    store = tmp_path / "store"
    assert cli.main(["doctor", "--store", str(store)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert f"ok    store      this machine: create, read and delete in {store}" in lines
    assert not store.exists()


def test_missing_data_fail_with_exit_code_2_and_one_document(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADAPROB_DATA", str(tmp_path))
    sweep = tmp_path / "sweep.yaml"
    sweep.write_text(yaml.safe_dump({**TINY, "grid": {**TINY["grid"], "dataset": "cifar5"}}))
    assert cli.main(["doctor", str(sweep), "--store", str(tmp_path / "store"), "--json"]) == 2
    document = json.loads(capsys.readouterr().out)
    assert document["counts"]["fail"] >= 1
    failed = {finding["check"] for finding in document["findings"] if finding["status"] == "fail"}
    assert failed == {"data"}
    assert all(finding["remedy"] for finding in document["findings"] if finding["status"] == "fail")


def test_a_cluster_that_does_not_answer_is_a_finding(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor", "--address", "127.0.0.1:1", "--json"]) == 2
    (finding,) = json.loads(capsys.readouterr().out)["findings"]
    assert (finding["status"], finding["check"], finding["where"]) == ("fail", "cluster", "127.0.0.1:1")


def test_a_run_on_a_cluster_that_does_not_answer_leaves_nothing_behind(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], handlers: None
) -> None:
    sweep, store = tmp_path / "sweep.yaml", tmp_path / "store"
    sweep.write_text(yaml.safe_dump(dict(TINY)))
    assert cli.main(["run", str(sweep), "--store", str(store), "--address", "127.0.0.1:1"]) == 2
    assert capsys.readouterr().err.startswith("error: --address 127.0.0.1:1: no Ray cluster answers")
    assert not store.exists()


def test_only_without_a_sweep_is_bad_input(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor", "--only", "seed<3"]) == 2
    assert capsys.readouterr().err == "error: --only: must be given with SWEEP, got no sweep file\n"


def test_a_store_that_cannot_be_opened_fails(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    findings = check_machine(str(tmp_path / "file"), tmp_path, Needs())
    bad = the_bad(findings)
    assert (bad.status, bad.check) == ("fail", "store")
    assert "is a file, not a folder" in bad.message


@pytest.mark.ray
@pytest.mark.slow
def test_two_nodes_pass_and_a_node_with_other_code_stops_a_run_before_it_starts(tmp_path: Path) -> None:
    """One start of a cluster: doctor, then a third node with another source joins, and run."""
    copy = tmp_path / "other"
    shutil.copytree(Path(adaprob_ray.__file__).parent, copy / "adaprob_ray")
    with (copy / "adaprob_ray" / "recipe.py").open("a") as file:
        file.write("\nCHANGED = True\n")
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(dict(TINY)))
    path = os.pathsep.join([str(HERE.parents[1]), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, str(HERE / "doctor_cluster.py"), str(tmp_path), str(copy)]
    environment = {**os.environ, "PYTHONPATH": path}
    # Ray puts the driver's working folder in front of each worker's path: a checkout there would hide the other source.
    process = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=280)
    assert process.returncode == 0, process.stderr
    sound, ran = json.loads((tmp_path / "results.json").read_text())
    assert sound["code"] == 0, sound
    findings = json.loads(sound["out"])["findings"]
    where = {finding["check"]: finding["where"] for finding in findings}
    assert {where[check] for check in ("nodes", "versions", "store", "data")} == {"2 nodes"}

    assert ran["code"] == 2, ran
    connecting, error = ran["err"].splitlines()
    assert connecting.startswith("connecting to Ray at ")
    assert error.startswith("error: versions: ")
    assert ": source " in error
    assert not Store.open(tmp_path / "store").survey(), "no cell was begun"
