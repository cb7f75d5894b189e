"""The files in cluster/: without faults as they are, and not with a typo. The Slurm script runs under a srun of our own."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from file_checks import CHECKOUT, CLUSTER, command_line_faults, names, screen_faults, text_faults
from job_checks import dockerfile_faults, kuberay_faults, slurm_faults
from ray_up_checks import ray_up_faults

RAY_UP_FILES = ("onprem.yaml", "aws.yaml", "gcp.yaml")

CHECKS: dict[str, Callable[[str], list[str]]] = {
    **dict.fromkeys(RAY_UP_FILES, ray_up_faults),
    "kuberay.yaml": kuberay_faults,
    "slurm.sbatch": slurm_faults,
    "Dockerfile": dockerfile_faults,
}
RAY_UP_TYPOS = [
    ("cluster_name: adaprob-", "cluster_nam: adaprob-"),
    ("cluster_name: adaprob-", "cluster_name: default #"),
    ("auth:", "author:"),
    ("ssh_user: ", "ssh_usr: "),
    ("idle_timeout_minutes: ", "# idle_timeout_minutes: "),
    ("upscaling_speed: 100", "upscaling_speed: 1.0"),
    ("ray[default,tune]==2.60.0", "ray[default,tune]==2.59.0"),
    ("ray[default,tune]==2.60.0", "ray[default,tune]"),
    ("RAY_AUTH_MODE=token", "RAY_AUTH_MODE=tokn"),
    ("chmod 600 ~/.ray/auth_token", "chmod 640 ~/.ray/auth_token"),
    ("ADAPROB_STORE=", "ADAPROB_STOR="),
    ("ADAPROB_DATA=", "ADAPROB_DATE="),
    ("--dashboard-host=127.0.0.1", "--dashboard-host=0.0.0.0"),
    ("--node-ip-address=", "--node-ip-adress="),
    ("--address=$RAY_HEAD_IP:6379", "--address=$RAY_HEAD_IP:6380"),
    ("RAY_enable_autoscaler_v2=0", "RAY_enable_autoscalar_v2=0"),
    ("--num-cpus=0", "--num-cpu=0"),
    ("--autoscaling-config=~/ray_bootstrap_config.yaml", "--autoscaling-config=~/ray_boostrap_config.yaml"),
    ("~/.ray/auth_token: ~/.ray/auth_token", "~/.ray/auth_tokn: ~/.ray/auth_token"),
    ("~/adaprob-wheel: dist", "~/adaprob-wheel: disk"),
    ("setup_commands:", "setup_command:"),
    ("worker_start_ray_commands:", "worker_start_commands:"),
    ("  - ray stop\n", "  - ray stop\n  - ray stop\n"),
]
TYPOS = {
    "onprem.yaml": [
        *RAY_UP_TYPOS,
        ("head_ip: HEAD_ADDRESS", "head_pi: HEAD_ADDRESS"),
        ("worker_ips:", "workers_ips:"),
        ("head_ip:", "region: eu-west-1\n  head_ip:"),
        ("upscaling_speed:", "min_workers: 3\nmax_workers: 2\nupscaling_speed:"),
        ("upscaling_speed:", "min_workers: 3\nupscaling_speed:"),
        ("ssh_private_key:", "ssh_privat_key:"),
        ("~/.bashrc || echo", "~/.bashrc || 'echo"),
    ],
    "aws.yaml": [
        *RAY_UP_TYPOS,
        ("  region:", "  regoin:"),
        ("cache_stopped_nodes: false", "cache_stopped_nodes: true"),
        ("cache_stopped_nodes: false", ""),
        ("GPU: 1", "GPU: 0.5"),
        ("GPU: 1", "GPUs: 1"),
        ("head_node_type: head", "head_node_type: heads"),
        ("    min_workers: 0", "    min_workers: 9"),
        ("    max_workers: 8", "    max_worker: 8"),
        ("    max_workers: 8", "    max_workers: 16"),
        ("InstanceType: g6", "InstanceTyp: g6"),
        ("MarketType: spot", "MarketTyp: spot"),
        ("VolumeSize: 100", "VolumeSize: a hundred"),
        ("  - pip install boto3", "  - pip install boto"),
        ("adaprob-ray data prepare", "adaprob-ray data prepair"),
        ("s3://BUCKET", "s4://BUCKET"),
        ("auth: {ssh_user: ubuntu}", "auth: {ssh_user: ubuntu}\nauth: {ssh_user: root}"),
    ],
    "gcp.yaml": [
        *RAY_UP_TYPOS,
        ("project_id: PROJECT_ID", "project_id: null"),
        ("availability_zone:", "availabilty_zone:"),
        ("  region:", "  regoin:"),
        ("cache_stopped_nodes: false", "cache_stopped_nodes: true"),
        ("GPU: 1", "GPU: 0.5"),
        ("machineType: g2", "machinetype: g2"),
        ("autoDelete", "autodelete"),
        ("serviceAccounts:", "serviceAccount:"),
        ("sourceImage", "sourceimage"),
        ("    min_workers: 0", "    min_workers: 9"),
        ("google-api-python-client", "google-api-client"),
        ("gs://BUCKET", "gcs://BUCKET"),
    ],
    "kuberay.yaml": [
        ("apiVersion: ray.io/v1", "apiVersion: ray.io/v1alpha1"),
        ("name: adaprob  ", "name: Adaprob  "),
        ("name: adaprob  ", f"name: {'a' * 48}  "),
        ("shutdownAfterJobFinishes: true", "shutdownAfterJobFinish: true"),
        ("shutdownAfterJobFinishes: true", "shutdownAfterJobFinishes: false"),
        ("submissionMode: HTTPMode", "submissionMode: HttpMode"),
        ("submissionMode: HTTPMode", "submissionMode: K8sJobMode"),
        ("submissionMode: HTTPMode", "submitMode: HTTPMode"),
        ("backoffLimit:", "backOffLimit:"),
        ("activeDeadlineSeconds:", "activeDeadline:"),
        ("preRunningDeadlineSeconds:", "preRuningDeadlineSeconds:"),
        ("ttlSecondsAfterFinished:", "ttlSecondAfterFinished:"),
        ('rayVersion: "2.60.0"', "rayVersion: 2.6"),
        ("authOptions: {mode: token}", "authOptions: {mod: token}"),
        ("authOptions: {mode: token}", "authOptions: {mode: disabled}"),
        ("enableInTreeAutoscaling: true", "enableInTreeAutoScaling: true"),
        ("upscalingMode: Aggressive", "upscalingMode: aggressive"),
        ("version: v2", "version: 2"),
        ("restartPolicy: Never", "restartPolicy: Always"),
        ("2.60.0-py311-cu128", "2.60.0-cu128"),
        ("2.60.0-py311-cu128", "latest"),
        ('requests: {cpu: "4"', 'requests: {cpu: "3"'),
        ('num-cpus: "0"', "num-cpus: 0"),
        ('num-cpus: "0"', 'num-cpu: "0"'),
        ("minReplicas: 0", "minReplica: 0"),
        ("maxReplicas: 8", "maxReplicas: -1"),
        ("groupName: gpu", "group: gpu"),
        ("volumeMounts: [{name: adaprob", "volumeMounts: [{name: adabprob"),
        ("ADAPROB_STORE", "ADAPROB_STOR"),
        ("adaprob-ray run", "adaprob-ray rum"),
        ("--address auto", "--adress auto"),
        ("ttlSecondsAfterFinished: 600", "deletionStrategy: {deletionRules: []}"),
        ("headGroupSpec:\n", "headGroupSpec:\n      resources: {cpu: 2}\n"),
        ("replicas: 0", "replicas: 0\n        replicas: 1"),
    ],
    "slurm.sbatch": [
        ("--ntasks-per-node=1", "--ntask-per-node=1"),
        ("--ntasks-per-node=1", "--ntasks-per-node=2"),
        ("#SBATCH --time", "#SBATCH --tiem"),
        ("set -euo pipefail\n", "set -euo pipefail\n#SBATCH --mem=1G\n"),
        ("SLURM_JOB_ID % 4000", "SLURM_JOBID % 4000"),
        ("RAY_TMPDIR=/tmp/ray-$SLURM_JOB_ID", "RAY_TMPDIR=/tmp/ray"),
        ("RAY_AUTH_MODE=token", "RAY_AUTH_MOD=token"),
        ("RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT", "RAY_SYMMETRIC_RUN_WAIT_TIMEOUT"),
        ("ray symmetric-run", "ray symetric-run"),
        ("--min-nodes=", "--min-node="),
        ("--dashboard-host=127.0.0.1", "--dashboard-host=0.0.0.0"),
        ("--address=", "--head --address="),
        ("--object-store-memory", "--object-store-mem"),
        ("--wait=0", "--wiat=0"),
        ("--exit-code\n", "--exitcode\n"),
        ("adaprob-ray run", "adaprob-ray rum"),
        ("fi\n", "if\n"),
    ],
    "Dockerfile": [
        ("FROM rayproject/ray:2.60.0-py311-", "FROM rayproject/ray:2.59.0-py311-"),
        ("FROM rayproject/ray:2.60.0-py311-", "FROM rayproject/ray:2.60.0-"),
        ("FROM rayproject/ray:2.60.0-py311-${PLATFORM}", "FROM rayproject/ray:latest"),
        ("ARG PLATFORM\n", ""),
        ("ARG PLATFORM=cpu", "ARG PLATFROM=cpu"),
        ("ray[default,tune]==2.60.0", "ray[default]==2.60.0"),
        ("dist/*.whl /home", "disk/*.whl /home"),
        ("RUN pip", "RUM pip"),
        ("torchvision; fi", "torchvision"),
    ],
}
# What the reader has to replace in the files.
PLACEHOLDERS = names(
    "HEAD_ADDRESS WORKER_ADDRESS_ SSH_USER SHARED MY_REGION IMAGE_ID INSTANCE_PROFILE BUCKET PROJECT_ID ZONE IMAGE "
    "REGISTRY CLAIM"
)


@pytest.mark.parametrize("name", CHECKS)
def test_a_file_has_no_faults(name: str) -> None:
    text = (CLUSTER / name).read_text()
    assert [*CHECKS[name](text), *screen_faults(text)] == []


@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [pytest.param(name, *typo, id=f"{name}-{typo[1]!r:.40}") for name, typos in TYPOS.items() for typo in typos],
)
def test_a_typo_is_a_fault(name: str, right: str, wrong: str) -> None:
    text = (CLUSTER / name).read_text()
    assert right in text
    assert set(CHECKS[name](text.replace(right, wrong))) - faults_as_it_is(name)


@cache
def faults_as_it_is(name: str) -> frozenset[str]:
    return frozenset(CHECKS[name]((CLUSTER / name).read_text()))


@pytest.mark.parametrize("secret", ["AKIA" + "A" * 16, "RAY_AUTH_TOKEN=x", "-----BEGIN PRIVATE KEY", "0f" * 32])
def test_a_secret_is_a_fault(secret: str) -> None:
    assert list(text_faults(f"a: {secret}\n"))


def test_the_readme_names_commands_options_and_files_that_exist() -> None:
    text = (CLUSTER / "README.md").read_text()
    assert [*text_faults(text), *command_line_faults(text)] == []
    paths = re.findall(r"(?<![\w./~-])(?:(?:cluster|sweeps)/[\w.]+)", text)
    linked = [f"cluster/{name}" for name in re.findall(r"\]\(([\w.]+)\)", text)]
    assert [path for path in (*paths, *linked) if not (CHECKOUT / path.rstrip(".")).exists()] == []
    assert set(CHECKS) <= {Path(path).name for path in linked}
    targets = re.findall(r"`make ([\w-]+)`|^make ([\w-]+)", text, re.MULTILINE)
    makefile = (CHECKOUT / "Makefile").read_text()
    assert {name for pair in targets for name in pair if name and f"\n{name}:" not in makefile} == set()


@pytest.mark.parametrize("name", [*RAY_UP_FILES, "kuberay.yaml", "slurm.sbatch"])
def test_the_readme_says_how_to_fill_in_a_file(name: str, tmp_path: Path) -> None:
    """Its `sed` commands leave no placeholder, and a file that is still without faults."""
    (tmp_path / "cluster").mkdir()
    file = shutil.copy(CLUSTER / name, tmp_path / "cluster")
    commands = re.findall(rf"^sed -i .* cluster/{re.escape(name)}$", (CLUSTER / "README.md").read_text(), re.MULTILINE)
    for command in commands:
        subprocess.run(shlex.split(command), cwd=tmp_path, check=True)
    text = Path(file).read_text()
    used = "\n".join(line.partition(" # ")[0] for line in text.splitlines() if not line.lstrip().startswith("# "))
    assert commands
    assert [word for word in sorted(PLACEHOLDERS) if re.search(rf"(?<![\w]){word}", used)] == []
    if name != "slurm.sbatch":  # whose check asks for the placeholder SHARED
        assert CHECKS[name](text) == CHECKS[name]((CLUSTER / name).read_text())


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
@pytest.mark.parametrize("defect", ["", "rm -rf $RAY_TMPDIR\n"])
def test_shellcheck_passes_the_slurm_script(defect: str) -> None:
    text = (CLUSTER / "slurm.sbatch").read_text() + defect
    done = subprocess.run(["shellcheck", "--shell=bash", "-"], input=text, capture_output=True, text=True)
    assert (done.returncode != 0) == bool(defect), done.stdout


# What the Slurm script calls, in place of the programs. `ray` starts what comes after --, unless it is told to fail; the
# real one exits with 0 then.
PROGRAMS = {
    "srun": 'echo "srun $*" >> "$LOG"; while [[ $1 == --* ]]; do shift; done; exec "$@"',
    "unshare": 'while [[ $1 == --* ]]; do shift; done; exec "$@"',
    "hostname": "echo 10.0.0.7 172.17.0.1",
    "ray": """echo "ray $* in $RAY_TMPDIR with $RAY_AUTH_MODE" >> "$LOG"; mkdir -p "$RAY_TMPDIR"
[ -n "$RAY_FAILS" ] && { echo 'Failed to start Ray' >&2; exit 0; }
while [ "$1" != -- ]; do shift; done; shift; "$@"; exit""",
    "adaprob-ray": """echo "adaprob-ray $*, store $ADAPROB_STORE" >> "$LOG"; case $1 in
run) exit "$RUN_EXITS";; status) exit "$STATUS_EXITS";; esac""",
}


@pytest.mark.parametrize(
    ("ray_fails", "run_exits", "status_exits", "code"),
    [
        pytest.param("", 0, 0, 0, id="all cells done"),
        pytest.param("1", 0, 0, 4, id="Ray does not start, and exits with 0"),
        pytest.param("", 1, 1, 1, id="cells failed"),
        pytest.param("", 0, 3, 3, id="cells are left although run exits with 0"),
        pytest.param("", 137, 0, 0, id="another run did the rest"),
    ],
)
def test_the_slurm_script(tmp_path: Path, ray_fails: str, run_exits: int, status_exits: int, code: int) -> None:
    """It exits with what the store says, whatever Ray says; ports and temporary folder are the job's."""
    programs = tmp_path / "shared/adaprob/bin"
    programs.mkdir(parents=True)
    for name, lines in PROGRAMS.items():
        (programs / name).write_text(f"#!/bin/bash\n{lines}\n")
        (programs / name).chmod(0o755)
    script = (CLUSTER / "slurm.sbatch").read_text().replace("SHARED", str(tmp_path / "shared"))
    job = os.getpid()  # no other test that runs now has it, nor its temporary folder
    temporary, log = Path(f"/tmp/ray-{job}"), tmp_path / "log"
    environment = {
        "PATH": os.environ["PATH"],
        "LOG": str(log),
        "RAY_FAILS": ray_fails,
        "RUN_EXITS": str(run_exits),
        "STATUS_EXITS": str(status_exits),
        "SLURM_JOB_ID": str(job),
        "SLURM_JOB_NUM_NODES": "2",
        "SLURM_CPUS_PER_TASK": "16",
    }
    done = subprocess.run(
        ["bash", "-s", "my sweep.yaml"], input=script, env=environment, cwd=tmp_path, capture_output=True, text=True
    )
    port, calls = 20000 + job % 4000 * 3, log.read_text()
    assert done.returncode == code, done.stderr
    assert f"ray symmetric-run --address=10.0.0.7:{port} --min-nodes=2 --num-cpus=16 " in calls
    assert f"in {temporary} with token" in calls
    assert not temporary.exists()
    assert list(tmp_path.glob("*.started")) == []
    store = f"store {tmp_path}/shared/adaprob-store"
    run_line = f"adaprob-ray run my sweep.yaml --address 10.0.0.7:{port}, {store}"
    status_line = f"adaprob-ray status my sweep.yaml --exit-code, {store}"
    assert (run_line in calls, status_line in calls) == ((False, False) if ray_fails else (True, True))
    assert ("Ray did not start" in done.stderr) == bool(ray_fails)
