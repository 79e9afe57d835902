"""The files that start clusters: ours pass, and a mistake is found by name before a machine is paid
for.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from cluster_files import (
    IMAGE,
    ON_PREMISE,
    OURS,
    WORLD,
    Change,
    at_home,
    findings,
    head,
    with_option,
    with_start,
    worker,
)
from program import ROOT, output, refusal, visiontune

from analysis.plan.plan import Plan
from analysis.plan.training import Training
from search.doctor.cluster_lint import Needs
from search.doctor.versions import Pins


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Someone who has made a token and has an SSH key."""
    at_home(tmp_path, monkeypatch)


MISTAKES: list[tuple[str, str, Change]] = [
    ("ray-schema", "idle_minutes", lambda c: c.update(idle_minutes=5)),
    (
        "unknown-key",
        "did you mean availability_zone?",
        lambda c: c["provider"].update(availability_zones="eu-central-1a"),
    ),
    (
        "unknown-key",
        "did you mean InstanceMarketOptions?",
        lambda c: worker(c)["node_config"].update(InstanceMarketOption={}),
    ),
    (
        "missing-file",
        "there is no /nowhere/images",
        lambda c: c["file_mounts"].update({"/images": "/nowhere/images"}),
    ),
    (
        "image",
        "must end with ray2.60.0-py3.11.7",
        lambda c: c["docker"].update(image=IMAGE.replace("ray2.60.0", "ray2.59.0")),
    ),
    (
        "image",
        "must end with",
        lambda c: c["docker"].update(image=IMAGE.replace("py3.11.7", "py3.11")),
    ),
    (
        "image",
        "gpu-spot runs",
        lambda c: worker(c).update(
            docker={"worker_image": "registry.example.com/visiontune:latest"}
        ),
    ),
    ("own-commands", "write `setup_commands: []`", lambda c: c.pop("setup_commands")),
    ("head-trials", "8 CPUs", lambda c: head(c)["resources"].update(CPU=8)),
    ("head-trials", "on its GPUs", lambda c: head(c)["resources"].update(GPU=1)),
    (
        "worker-resources",
        "gpu-spot offers GPU: 0, but a trial asks for 1",
        lambda c: worker(c)["resources"].update(GPU=0),
    ),
    (
        "worker-resources",
        "gpu-spot offers GPU: 0, but",
        lambda c: worker(c)["resources"].pop("GPU"),
    ),
    ("worker-resources", "network_cores: 0", lambda c: worker(c)["resources"].pop("network_cores")),
    ("min-workers", "gpu-spot keeps 2 GPU machines", lambda c: worker(c).update(min_workers=2)),
    (
        "storage",
        "a folder of each node alone",
        lambda c: with_option(c, "s3://visiontune-runs/searches", "/home/ray/runs"),
    ),
    ("storage", "is not set", lambda c: with_option(c, "VISIONTUNE_RUNS", "RUNS")),
    (
        "open-port",
        "opens port 8265 to the world",
        lambda c: c["provider"].update(security_group={"IpPermissions": [WORLD]}),
    ),
    (
        "open-port",
        "opens port 22 to the world",
        lambda c: worker(c)["node_config"].pop("SecurityGroupIds"),
    ),
    (
        "open-port",
        "listens on every interface",
        lambda c: with_start(c, "--dashboard-host=0.0.0.0"),
    ),
    ("open-port", "listens on every interface", lambda c: c.pop("head_start_ray_commands")),
    (
        "open-port",
        "publishes 5000:5000",
        lambda c: c["docker"]["run_options"].append("-p 5000:5000"),
    ),
    (
        "keys",
        "aws_credentials",
        lambda c: c["provider"].update(aws_credentials={"aws_access_key_id": "x"}),
    ),
    (
        "keys",
        "AWS_SECRET_ACCESS_KEY stands in the file",
        lambda c: c["docker"]["run_options"].append("-e AWS_SECRET_ACCESS_KEY=x"),
    ),
    (
        "keys",
        "copies the keys in ~/.aws",
        lambda c: c["file_mounts"].update({"/home/ray/.aws": "~/.aws"}),
    ),
    (
        "keys",
        "gpu-spot has no IamInstanceProfile",
        lambda c: worker(c)["node_config"].pop("IamInstanceProfile"),
    ),
    (
        "readable-key",
        "chmod 600 ~/.ray/auth_token",
        lambda c: (Path.home() / ".ray" / "auth_token").chmod(0o644),
    ),
    (
        "privileges",
        "gives its container the machine (--privileged)",
        lambda c: c["docker"]["run_options"].append("--privileged"),
    ),
    (
        "auth",
        "RAY_AUTH_MODE is disabled",
        lambda c: with_option(c, "RAY_AUTH_MODE=token", "RAY_AUTH_MODE=disabled"),
    ),
    ("auth", "RAY_AUTH_MODE is not set", lambda c: with_option(c, "RAY_AUTH_MODE", "RAY_AUTHMODE")),
    ("auth", "no token reaches the nodes", lambda c: c.pop("file_mounts")),
    (
        "auth",
        "RAY_AUTH_TOKEN stands in the file",
        lambda c: c["docker"]["run_options"].append("--env RAY_AUTH_TOKEN=secret"),
    ),
]


@pytest.mark.parametrize("file", [OURS, ON_PREMISE], ids=lambda file: file.name)
def test_ours_have_no_finding(file: Path, tmp_path: Path) -> None:
    """What we hand out must be what we ask for."""
    assert findings(lambda config: None, tmp_path, file) == []


@pytest.mark.parametrize(("check", "said", "mistake"), MISTAKES)
def test_a_planted_mistake_is_found_by_its_name(
    check: str, said: str, mistake: Change, tmp_path: Path
) -> None:
    """Each would cost money, data or safety, and shows otherwise only when machines run."""
    found = findings(mistake, tmp_path)
    assert {finding.check for finding in found} == {check}, found
    assert any(said in finding.message for finding in found), found


@pytest.mark.parametrize(
    ("check", "said", "mistake"),
    [
        ("unknown-key", "did you mean worker_ips?", lambda c: c["provider"].update(worker_ip=[])),
        ("storage", "a folder of each node alone", lambda c: c.pop("initialization_commands")),
        ("head-trials", "all its CPUs", lambda c: c["head_start_ray_commands"].pop()),
        ("worker-resources", "no network_cores", lambda c: c["worker_start_ray_commands"].pop()),
        ("ray-schema", "worker_ips", lambda c: c["provider"].pop("worker_ips")),
    ],
)
def test_a_planted_mistake_is_found_on_machines_of_ones_own(
    check: str, said: str, mistake: Change, tmp_path: Path
) -> None:
    """There is no cloud to refuse anything there."""
    found = findings(mistake, tmp_path, ON_PREMISE)
    assert {finding.check for finding in found} == {check}, found
    assert any(said in finding.message for finding in found), found


def test_thirteen_mistakes_in_one_file_are_thirteen_names(tmp_path: Path) -> None:
    """All at once, or mending a file would take as many tries as it has mistakes."""
    first = {check: mistake for check, _, mistake in reversed(MISTAKES) if check != "ray-schema"}
    found = findings(lambda config: [mistake(config) for mistake in first.values()], tmp_path)
    assert {finding.check for finding in found} == set(first)
    assert len(first) == 13


def test_what_a_plan_asks_for_is_what_workers_must_offer(tmp_path: Path) -> None:
    """A file is right for one search and too small for another."""
    half = Needs.of(Plan(spaces=("cnn",), dataset="digits", gpus_per_trial=0.5))
    assert findings(lambda config: None, tmp_path, needs=half) == []
    none = findings(lambda config: worker(config)["resources"].update(GPU=0), tmp_path, needs=half)
    assert [finding.message.partition(";")[0] for finding in none] == [
        "gpu-spot offers GPU: 0, but a trial asks for 0.5"
    ]
    wide = Needs.of(
        Plan(
            spaces=("cnn",),
            dataset="digits",
            gpus_per_trial=2,
            training=Training(cpus_per_trial=24),
        )
    )
    messages = " ".join(
        finding.message for finding in findings(lambda config: None, tmp_path, needs=wide)
    )
    assert "gpu-spot offers GPU: 1, but a trial asks for 2" in messages
    assert "gpu-spot offers CPU: 16, but a trial asks for 24" in messages
    assert "no worker type offers" in messages


def test_doctor_says_a_finding_a_line_and_exits_1(tmp_path: Path) -> None:
    """A script must be able to stop before ``ray up``."""
    text = (
        OURS.read_text()
        .replace("min_workers: 0", "min_workers: 1", 2)
        .replace("RAY_AUTH_MODE=token", "RAY_AUTH_MODE=disabled")
    )
    (tmp_path / "bad.yaml").write_text(text)
    done = visiontune("doctor", "--cluster", tmp_path / "bad.yaml", cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    lines = [line for line in done.stdout.splitlines() if "bad.yaml" in line]
    assert all(line.startswith("FINDING ") for line in lines)
    assert {line.split(": ")[1] for line in lines} == {"min-workers", "auth"}


def test_doctor_passes_ours_with_a_summary(tmp_path: Path) -> None:
    """Exit 0 means go."""
    facts = output("doctor", "--cluster", OURS, cwd=tmp_path)
    assert facts["ok"]
    assert facts["cluster"] == []
    assert all(check["ok"] for check in facts["machine"])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "no cluster file"),
        ("a: [", "is no YAML file"),
        ("- a", "must hold settings by name, but holds list"),
    ],
)
def test_what_is_no_cluster_file_is_refused(content: str | None, said: str, tmp_path: Path) -> None:
    """Asked wrongly is not a finding."""
    if content is not None:
        (tmp_path / "file.yaml").write_text(content)
    assert said in refusal("doctor", "--cluster", tmp_path / "file.yaml")


def test_runs_on_storage_of_a_kind_that_nothing_reads_are_refused(tmp_path: Path) -> None:
    """``ftp://host`` as a path is a folder ``ftp:`` here, and the results would be lost with the
    machine.
    """
    assert "is not among what can be read" in refusal(
        "status", "x", "--runs-dir", "ftp://host/runs", cwd=tmp_path
    )
    assert not (tmp_path / "ftp:").exists()


def test_the_job_for_kubernetes_says_the_same() -> None:
    """Two descriptions of one cluster drift apart; no Kubernetes is at hand to tell."""
    job, aws = (
        yaml.safe_load((ROOT / "deploy" / "rayjob.yaml").read_text()),
        yaml.safe_load(OURS.read_text()),
    )
    cluster = job["spec"]["rayClusterSpec"]
    head, workers = cluster["headGroupSpec"], cluster["workerGroupSpecs"]
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    assert cluster["rayVersion"] == Pins.read().ray
    assert cluster["authOptions"] == {"mode": "token"}
    assert cluster["enableInTreeAutoscaling"]
    assert cluster["autoscalerOptions"]["idleTimeoutSeconds"] == 60 * aws["idle_timeout_minutes"]
    assert head["serviceType"] == "ClusterIP"
    assert head["rayStartParams"]["num-cpus"] == head["rayStartParams"]["num-gpus"] == "0"
    for group in workers:
        twin = aws["available_node_types"][group["groupName"]]
        params = {
            "CPU": group["rayStartParams"]["num-cpus"],
            "GPU": group["rayStartParams"]["num-gpus"],
        }
        assert {name: int(value) for name, value in params.items()} == {
            name: twin["resources"][name] for name in params
        }
        # Ray's operator puts this text on a shell command line, whose outer quotes and backslashes
        # go
        assert json.loads(json.loads(group["rayStartParams"]["resources"])) == {
            "network_cores": twin["resources"]["network_cores"]
        }
        assert (group["replicas"], group["minReplicas"], group["maxReplicas"]) == (
            0,
            0,
            twin["max_workers"],
        )
        for kind in ("requests", "limits"):
            asked = group["template"]["spec"]["containers"][0]["resources"][kind]
            assert (int(asked["cpu"]), int(asked["nvidia.com/gpu"])) == (
                twin["resources"]["CPU"],
                twin["resources"]["GPU"],
            )
    for group in (head, *workers):
        pod = group["template"]["spec"]
        assert not pod.get("hostNetwork")
        assert pod["serviceAccountName"]
        for container in pod["containers"]:
            assert container["image"] == IMAGE
            assert not any("hostPort" in port for port in container.get("ports", []))
            assert not any("AWS_" in variable["name"] for variable in container["env"])
            assert container["securityContext"]["runAsNonRoot"]


def test_the_image_is_built_for_the_pinned_versions() -> None:
    """The tag promises what is inside."""
    text, pins = (ROOT / "Dockerfile").read_text(), Pins.read()
    assert f"ARG PYTHON={pins.python}\n" in text
    assert IMAGE in text
    assert IMAGE.endswith(f"-ray{pins.ray}-py{pins.python}")


@pytest.mark.parametrize("file", ["cluster.yaml", "deploy/onpremise.yaml"])
def test_containers_are_shown_their_gpus(file: str) -> None:
    """Ray adds ``--runtime=nvidia`` alone, and NVIDIA's runtime shows a GPU to whoever asks for it
    by variables; without them Ray counts GPUs that no trial can use.
    """
    wanted = {"NVIDIA_VISIBLE_DEVICES=all", "NVIDIA_DRIVER_CAPABILITIES=compute,utility"}
    options = yaml.safe_load((ROOT / file).read_text())["docker"]["run_options"]
    given = {word for option in options for word in option.split()}
    assert wanted <= given
    image = (ROOT / "Dockerfile").read_text()
    assert wanted <= set(image.replace("ENV ", " ").split())
