"""Who could get in by a cluster file, however it is spelled; and what only looks like that is no
finding.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from cluster_files import ON_PREMISE, at_home, findings, rule, with_start, worker


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Someone who has made a token and has an SSH key."""
    return at_home(tmp_path, monkeypatch)


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0/0",
        "::/0",
        "0:0:0:0:0:0:0:0/0",
        "::0/0",
        "10.0.0.0/0",
        "0.0.0.0/00",
        "000.0.0.0/0",
        "0.0.0.0/1",
        "128.0.0.0/1",
        "2000::/3",
    ],
)
def test_the_world_is_the_world_however_it_is_spelled(address: str, tmp_path: Path) -> None:
    """AWS takes every one of them, and two halves are the whole."""
    found = findings(
        lambda c: c["provider"].update(
            security_group={"IpPermissions": [rule("10.0.0.0/8"), rule(address)]}
        ),
        tmp_path,
    )
    assert [finding.check for finding in found] == ["open-port"]
    assert "opens port 8265 to the world" in found[0].message


@pytest.mark.parametrize(
    "address", ["10.0.0.0/8", "192.0.2.7/32", "203.0.113.0/24", "fd00::/16", "2001:db8::/32"]
)
def test_a_network_of_somebody_s_is_not_the_world(address: str, tmp_path: Path) -> None:
    """A finding that is none teaches to pass over findings."""
    assert (
        findings(
            lambda c: c["provider"].update(security_group={"IpPermissions": [rule(address)]}),
            tmp_path,
        )
        == []
    )


@pytest.mark.parametrize(
    "said",
    ["--dashboard-host=0.0.0.0", "--dashboard-host 0.0.0.0", "--host='0.0.0.0'",
     "--dashboard-host=::", "--host [::]", "--host=0",
     "--host *", "--bind 0.0.0.0:5000", "--node-ip-address=0.0.0.0", "-h 0.0.0.0", "--host=::0"],
)  # fmt: skip
def test_every_interface_is_every_interface_however_it_is_spelled(
    said: str, tmp_path: Path
) -> None:
    """Whoever reaches Ray's ports runs what they like."""
    found = findings(lambda config: with_start(config, said), tmp_path)
    assert [finding.check for finding in found] == ["open-port"], found
    assert "listens on every interface" in found[0].message


@pytest.mark.parametrize(
    "said",
    [
        "--dashboard-host=127.0.0.1",
        "--host ::1",
        "--host=[::1]",
        "--node-ip-address=10.0.0.7",
        "--port=8265",
    ],
)
def test_loopback_is_not_every_interface(said: str, tmp_path: Path) -> None:
    """That is what port forwarding ends at."""
    assert findings(lambda config: with_start(config, said), tmp_path) == []


@pytest.mark.parametrize(
    "option",
    [
        "-p 5000:5000",
        "-p5000:5000",
        "--publish=0.0.0.0:80:80",
        "-p 10.0.0.1:80:80",
        "-p 5000",
        "-P",
        "--publish-all",
    ],
)
def test_a_published_port_is_found_however_it_is_spelled(option: str, tmp_path: Path) -> None:
    """Docker opens it past the machine's own firewall."""
    found = findings(lambda c: c["docker"]["run_options"].append(option), tmp_path)
    assert {finding.check for finding in found} == {"open-port"}, found
    assert (
        findings(lambda c: c["docker"]["run_options"].append("-p 127.0.0.1:5000:5000"), tmp_path)
        == []
    )


@pytest.mark.parametrize(
    "option",
    ["--privileged", "--privileged=true", "--cap-add=SYS_ADMIN", "--cap-add ALL", "--pid=host",
     "-v /:/host", "--volume=/:/host:ro",
     "--mount type=bind,source=/,target=/host", "-v /var/run/docker.sock:/var/run/docker.sock"],
)  # fmt: skip
def test_a_container_that_has_the_machine_is_found(option: str, tmp_path: Path) -> None:
    """Whoever gets into it gets at everything on the machine, the others' work included."""
    found = findings(lambda c: c["docker"]["run_options"].append(option), tmp_path)
    assert {finding.check for finding in found} == {"privileges"}, found
    harmless = [
        "--privileged=false",
        "--cap-add=SYS_NICE",
        "-v /data:/data",
        "--ipc=host",
        "--mount type=bind,source=/data,target=/data",
    ]
    assert findings(lambda c: c["docker"]["run_options"].extend(harmless), tmp_path) == []


@pytest.mark.parametrize(
    "command",
    ["mountpoint -q /", "mountpoint -q //", 'mountpoint -q "/"', "mountpoint -q /.",
     "mountpoint -q /srv/..", "mountpoint -q /srv/other",
     "mountpoint -q /srv/visiontune || true", "! mountpoint -q /srv/visiontune",
     "mountpoint -q srv/visiontune"],
)  # fmt: skip
def test_what_is_always_mounted_or_not_checked_is_no_share(command: str, tmp_path: Path) -> None:
    """The root folder is mounted everywhere, and is each machine's own."""
    found = findings(lambda c: c.update(initialization_commands=[command]), tmp_path, ON_PREMISE)
    assert {finding.check for finding in found} == {"storage"}, found
    assert "a folder of each node alone" in found[0].message


@pytest.mark.parametrize(
    "command",
    [
        "mountpoint /srv",
        'mountpoint -q "/srv/visiontune"',
        "mountpoint -q /srv/visiontune/ || exit 1",
    ],
)
def test_a_share_that_is_checked_is_one(command: str, tmp_path: Path) -> None:
    """However the check is spelled."""
    assert (
        findings(lambda c: c.update(initialization_commands=[command]), tmp_path, ON_PREMISE) == []
    )


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_a_key_that_others_can_read_or_change_is_found(
    mode: int, home: Path, tmp_path: Path
) -> None:
    """Whoever has it has every machine of the cluster."""
    for name in (".ssh/id_ed25519", ".ray/auth_token"):
        (home / name).chmod(mode)
        found = findings(lambda c: None, tmp_path, ON_PREMISE)
        assert [(finding.check, f"chmod 600 ~/{name}" in finding.message) for finding in found] == [
            ("readable-key", True)
        ]
        (home / name).chmod(0o600)


def test_a_file_that_is_worse_on_one_node_is_found_there(tmp_path: Path) -> None:
    """Options of one kind of machine count as those of all do."""
    found = findings(
        lambda c: worker(c).update(
            docker={"worker_run_options": ["-e RAY_AUTH_MODE=disabled", "--privileged"]}
        ),
        tmp_path,
    )
    assert {(finding.check, finding.message.partition(" gives")[0][:26]) for finding in found} == {
        ("auth", "RAY_AUTH_MODE is disabled "),
        ("privileges", "gpu-spot"),
    }
