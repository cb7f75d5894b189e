"""`ray up` of cluster/onprem.yaml over ssh: a sweep on three hosts, while a fourth one joins and one of them dies.

One story, run once for all tests of this file: each of them asks about a part of it.
"""

from __future__ import annotations

import os
import re
import secrets
import shlex
import subprocess
import sys
import sysconfig
import time
import venv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from lab import CHECKOUT, Lab, missing, wait_for
from paced import JOINING
from small_world import with_value
from tiny_sweep import TINY, cells_of, commits, same_columns

from adaprob_ray.store import Store

HEAD, WORKER, DYING = "host1", "host2", "host3"
ADDRESSES = {HEAD: "10.99.0.1", WORKER: "10.99.0.2", DYING: "10.99.0.3", JOINING: "10.99.0.4"}
DOCUMENT = with_value(TINY, "grid.seed", [1, 2, 3, 4, 5, 6])
CELLS = cells_of(DOCUMENT)
# The hosts reach no package index; what the wheel requires is there already, see `ready_environment`.
# What chooses the kernels of a library. The hosts have those of this machine, whose table theirs must equal.
KERNEL_VARIABLES = ("ATEN_", "DNNL_", "MKL_", "OMP_", "ONEDNN_", "OPENBLAS_")
ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if name.startswith(KERNEL_VARIABLES)},
    "PIP_NO_INDEX": "1",
    "PIP_NO_DEPS": "1",
    "PYTHONPATH": f"{CHECKOUT}/tests/cluster:{CHECKOUT}/tests/runtime",
}
COUNT_NODES = "import ray; ray.init(address='auto', logging_level=40); print(sum(n['Alive'] for n in ray.nodes()))"
SHARED = "/mnt/shared"

# Five minutes on a machine with two cores that does nothing else.
pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(1200)]
Completed = subprocess.CompletedProcess[str]


@dataclass(kw_only=True)
class Story:
    """What the commands printed and left behind."""

    doctor: Completed
    sweep_code: int
    sweep_output: str
    done_at_kill: int
    processes: str
    down: Completed
    token: str
    store: Store
    reference: Store


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    if reason := missing():
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("cluster")
    with Lab(folder / "lab", ENVIRONMENT) as lab, single_machine(folder) as reference:
        return run(lab, reference, Store.open(folder / "store"))


def single_machine(folder: Path) -> subprocess.Popen[bytes]:
    """Start the same sweep in one process of this machine."""
    (folder / "sweep.yaml").write_text(yaml.safe_dump(DOCUMENT))
    command = [sys.executable, "-m", "adaprob_ray", "run", "sweep.yaml", "--store", "store", "--executor", "local"]
    return subprocess.Popen(
        command, cwd=folder, env={**os.environ, "PYTHONPATH": str(CHECKOUT)}, stdout=subprocess.DEVNULL
    )


def run(lab: Lab, reference: subprocess.Popen[bytes], reference_store: Store) -> Story:
    """Up, doctor, a sweep during which a host joins and a host dies, and down."""
    start = time.monotonic()

    def note(event: str) -> None:
        """For whoever looks for what took long: when each part of the story ended."""
        with (lab.folder / "events.txt").open("a") as file:
            file.write(f"{time.monotonic() - start:6.1f} s  {event}\n")

    token = secrets.token_hex(32)
    project = prepare_launcher(lab.folder / "machines/launcher/root", token)
    for host in (HEAD, WORKER, DYING):
        lab.start(host, ADDRESSES[host])
        ready_environment(lab, host)
    (project / "sweeps/tiny.yaml").write_text(yaml.safe_dump(DOCUMENT))
    store = Store.open(lab.folder / "shared/adaprob-store")
    note("hosts")

    up = lab.run("cd adaprob_ray && ray up --yes --no-config-cache cluster/onprem.yaml")
    assert up.returncode == 0, up.stdout + up.stderr
    wait_for(lambda: lab.ssh(ADDRESSES[HEAD], f'python -c "{COUNT_NODES}"').stdout.strip() == "3", "three nodes")
    note("up")
    doctor = lab.run(on_head("adaprob-ray doctor sweeps/tiny.yaml --address auto"))
    note("doctor")

    log = lab.folder / "sweep.log"
    paced = f"python {CHECKOUT}/tests/cluster/paced.py"  # in place of `adaprob-ray`
    sweep = lab.popen(on_head(f"{paced} run sweeps/tiny.yaml --address auto"), log)

    def sweep_until(condition: Callable[[], bool], what: str) -> None:
        wait_for(lambda: sweep.poll() is not None or condition(), what)
        assert sweep.poll() is None, log.read_text()

    sweep_until(lambda: executed(store) >= {WORKER, DYING}, "a cell done on each worker")
    note("a cell on each worker")
    lab.start(JOINING, ADDRESSES[JOINING])
    ready_environment(lab, JOINING)
    join(lab, project, ADDRESSES[JOINING])
    note("the fourth host has started Ray")
    sweep_until((lab.folder / "shared/marks" / JOINING).exists, "a cell on the fourth host")
    note("a cell on the fourth host")
    sweep_until(lambda: DYING in holders(store), "a cell to interrupt")
    lab.kill(DYING)
    done_at_kill = len(commits(store))
    processes = "".join(lab.ssh(ADDRESSES[host], "ps axo args").stdout for host in (HEAD, WORKER, JOINING))
    sweep_code = sweep.wait(timeout=500)
    note("the sweep ended")

    down = lab.run("cd adaprob_ray && ray down --yes cluster/onprem.yaml")
    wait_for(lambda: not ray_processes(lab), "the end of Ray on all hosts")
    note("down")
    assert reference.wait(timeout=500) == 0
    note("the same sweep on one machine")
    return Story(
        doctor=doctor,
        sweep_code=sweep_code,
        sweep_output=log.read_text(),
        done_at_kill=done_at_kill,
        processes=processes,
        down=down,
        token=token,
        store=store,
        reference=reference_store,
    )


def prepare_launcher(home: Path, token: str) -> Path:
    """The project with its wheel and the cluster's file with its addresses, and a token, as a user would have them."""
    project = home / "adaprob_ray"
    names = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=CHECKOUT,
        capture_output=True,
        check=True,
    ).stdout
    subprocess.run(["rsync", "-a", "--from0", "--files-from=-", f"{CHECKOUT}/", str(project)], input=names, check=True)
    wheel = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", "dist", "."]
    subprocess.run(wheel, cwd=project, check=True)
    (home / ".ray").mkdir()
    (home / ".ray/auth_token").write_text(token)
    values = {
        "HEAD_ADDRESS": ADDRESSES[HEAD],
        "WORKER_ADDRESS_1": ADDRESSES[WORKER],
        "WORKER_ADDRESS_2": ADDRESSES[DYING],
        "SSH_USER": "root",
        "SHARED": SHARED,
    }
    cluster = project / "cluster/onprem.yaml"
    cluster.write_text(re.sub("|".join(values), lambda match: values[match[0]], cluster.read_text()))
    return project


def ready_environment(lab: Lab, host: str) -> None:
    """A host's ~/adaprob with all that the wheel requires: the packages of this environment, which every machine of the
    lab sees. pip finds them there, so that the cluster's file installs the wheel as it is, within seconds."""
    site = Path(sysconfig.get_path("purelib"))
    environment = lab.folder / "machines" / host / "root/adaprob"
    venv.create(environment, symlinks=True)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    (environment / "lib" / version / "site-packages/lab.pth").write_text(f"{site}\n")
    for name, module in (("pip", "pip._internal.cli.main"), ("ray", "ray.scripts.scripts")):
        script = environment / "bin" / name
        script.write_text(f"#!/root/adaprob/bin/python\nimport sys\nfrom {module} import main\nsys.exit(main())\n")
        script.chmod(0o755)


def on_head(command: str) -> str:
    return f"cd adaprob_ray && ray exec --no-config-cache cluster/onprem.yaml {shlex.quote(command)}"


def join(lab: Lab, project: Path, address: str) -> None:
    """Add a host to the running cluster by hand, with the commands that the cluster's file has for a worker."""
    cluster = yaml.safe_load((project / "cluster/onprem.yaml").read_text())
    slash = {path: "/" for path in cluster["file_mounts"].values() if (project / path).is_dir()}
    copies = [
        f"rsync -r {here}{slash.get(here, '')} {address}:{there.removeprefix('~/')}"
        for there, here in cluster["file_mounts"].items()
    ]
    start = [f"export RAY_HEAD_IP={ADDRESSES[HEAD]}", ". ~/.adaprob-env", *cluster["worker_start_ray_commands"]]
    for command in (
        f"cd adaprob_ray && ssh {address} mkdir .ray && {' && '.join(copies)}",
        f"ssh {address} {shlex.quote(' && '.join([*cluster['setup_commands'], *start]))}",
    ):
        done = lab.run(command)
        assert done.returncode == 0, done.stdout + done.stderr


def executed(store: Store) -> set[str]:
    """Hosts that finished a cell."""
    return {host(store, key, number) for key, numbers in commits(store).items() for number in numbers}


def holders(store: Store) -> set[str]:
    """Hosts that hold a cell now."""
    return {host(store, key, number) for key, log in store.survey().items() for number in log.open_attempts}


def host(store: Store, key: str, number: int) -> str:
    holder = store.holder(key, number)
    return "" if holder is None else holder.host


def ray_processes(lab: Lab) -> str:
    """Processes of Ray on the hosts that are alive."""
    return "".join(lab.ssh(ADDRESSES[host], "pgrep --list-full raylet").stdout for host in (HEAD, WORKER, JOINING))


def test_doctor_finds_nothing_wrong(story: Story) -> None:
    assert story.doctor.returncode == 0, story.doctor.stdout


def test_the_sweep_completes_although_a_host_dies(story: Story) -> None:
    assert story.sweep_code == 0, story.sweep_output
    assert 0 < story.done_at_kill < len(CELLS)
    assert commits(story.store).keys() == CELLS.keys()


def test_all_hosts_run_cells_and_so_does_one_that_joins_later(story: Story) -> None:
    assert executed(story.store) == {WORKER, DYING, JOINING}


def test_no_finished_cell_runs_twice(story: Story) -> None:
    for key, log in story.store.survey().items():
        assert len(log.commits) == 1
        interrupted = log.leases - log.commits
        failures = [story.store.failure(key, number) for number in log.failed]
        assert {failure.failure_class for failure in failures if failure} <= {"preempted"}, failures
        assert {host(story.store, key, number) for number in interrupted} <= {DYING}


def test_the_table_equals_that_of_one_machine(story: Story) -> None:
    assert same_columns(story.store, DOCUMENT) == same_columns(story.reference, DOCUMENT)


def test_the_token_is_in_no_output_no_process_list_and_no_store(story: Story) -> None:
    assert story.token not in story.sweep_output + story.processes + story.doctor.stdout
    secret = story.token.encode()
    files = [path for path in Path(story.store.location).rglob("*") if path.is_file()]
    assert not [path for path in files if secret in path.read_bytes()]


def test_down_ends_ray_on_all_hosts(story: Story) -> None:
    assert story.down.returncode == 0, story.down.stdout
