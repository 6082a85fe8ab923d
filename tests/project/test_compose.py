"""docker-compose.yml and deploy/, checked without Docker: schema, hardening, tools, and the same processes started for real."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from dashboards.rules import JOBS
from detectors.errors import ConfigError
from driftline.config.load import VARIABLES, load_settings
from driftline.servers.ports import free_port
from tests.support.paths import DATA, ROOT

pytestmark = pytest.mark.fast

DEPLOY = ROOT / "deploy"
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = sorted(name for name, service in SERVICES.items() if "build" in service)
DRIFTLINE = [sys.executable, "-m", "driftline"]
#: Process -> variable of the port on which it is asked how it is.
PORTS = {
    "serve": "DRIFTLINE_SERVE_PORT",
    "retrainer": "DRIFTLINE_RETRAINER_METRICS_PORT",
    "worker": "DRIFTLINE_WORKER_METRICS_PORT",
}
KEY = "0123456789abcdef" * 4


def compose_service(name: str) -> tuple[list[str], dict[str, str]]:
    """Return the command of one of our services, as the image's entry point runs it, and its environment."""
    service = SERVICES[name]
    return [*DRIFTLINE, *service["command"]], dict(service["environment"])


def run(*command: str) -> None:
    """Run a tool; what it complains about is the assertion's message."""
    done = subprocess.run(command, capture_output=True, check=False, timeout=60)
    assert done.returncode == 0, (done.stdout + done.stderr).decode()


def mounts(name: str) -> dict[str, Path]:
    """Return path in the container -> file of this repository, for the files that a service mounts."""
    found = (entry.split(":") for entry in SERVICES[name].get("volumes", []) if entry.startswith("."))
    return {inside: ROOT / outside for outside, inside, _ in found}


def test_the_file_follows_the_compose_schema():
    """docker-compose.yml is valid by the Compose Specification's own JSON Schema."""
    schema = json.loads((DATA / "compose" / "compose-spec.json").read_text(encoding="utf-8"))
    faults = [f"{'/'.join(map(str, fault.path))}: {fault.message}" for fault in Draft202012Validator(schema).iter_errors(COMPOSE)]
    assert faults == []


def test_the_parts_are_there():
    """Kafka, Redis, Prometheus, Alertmanager, Grafana and Driftline's three processes are in the file."""
    wanted = {"kafka", "redis", "prometheus", "alertmanager", "grafana", "topics", "worker", "retrainer", "serve"}
    assert set(SERVICES) == wanted
    assert OURS == ["retrainer", "serve", "topics", "worker"]


@pytest.mark.parametrize("name", SERVICES)
def test_every_image_is_pinned(name):
    """An image is named with a full version: the same file gives the same processes next year."""
    assert re.fullmatch(r"[\w./-]+:v?\d+\.\d+\.\d+(-[\w.]+)?", SERVICES[name]["image"])


def test_the_base_image_is_pinned_to_the_supported_python():
    """Both stages of the Dockerfile start from one full version of Python 3.11."""
    bases = re.findall(r"^FROM (\S+)", (ROOT / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE)
    assert len(bases) == 2
    assert all(re.fullmatch(r"python:3\.11\.\d+-slim", base) for base in bases)


@pytest.mark.parametrize("name", SERVICES)
def test_ports_are_bound_to_the_loopback(name):
    """Nothing that a container publishes can be reached from another machine."""
    assert all(re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port) for port in SERVICES[name].get("ports", []))


@pytest.mark.parametrize("name", sorted(set(SERVICES) - {"topics"}))
def test_every_lasting_service_has_a_health_check(name):
    """Every service that stays says whether it is well, with a bounded time to answer."""
    check = SERVICES[name]["healthcheck"]
    assert check["test"][0] in {"CMD", "CMD-SHELL"}
    assert check["timeout"]
    assert check["retries"] > 1


@pytest.mark.parametrize("name", sorted(set(OURS) - {"topics"}))
def test_our_processes_wait_for_their_neighbours(name):
    """Worker, retrainer and serve start once the topics are made and Kafka and Redis are well."""
    assert SERVICES[name]["depends_on"] == {
        "topics": {"condition": "service_completed_successfully"},
        "kafka": {"condition": "service_healthy"},
        "redis": {"condition": "service_healthy"},
    }


@pytest.mark.parametrize("name", OURS)
def test_our_containers_have_no_power(name):
    """Our containers run as a user, on a read-only file system, without capabilities."""
    service = SERVICES[name]
    assert re.fullmatch(r"\$\{DRIFTLINE_USER:-[1-9]\d*:[1-9]\d*\}", service["user"])
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not service.get("privileged")


def test_the_image_is_not_root_and_holds_no_secret():
    """The image's last user is not root, and only what the wheel is made of goes into the build."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert re.findall(r"^USER (\S+)", text, re.MULTILINE)[-1] == "10001:10001"
    copied = {path for line in re.findall(r"^COPY (?!--from)(.+)$", text, re.MULTILINE) for path in line.split()[:-1]}
    rules = (ROOT / ".dockerignore").read_text(encoding="utf-8").split("\n")
    assert "*" in rules
    assert copied == {rule[1:] for rule in rules if rule.startswith("!")}
    assert not re.search(r"(?i)(secret|password|token|key)\s*=", text)


def test_secrets_come_from_files_that_are_not_committed():
    """Every secret is a file, is used by a service, and stands in a directory that git and the image leave out."""
    files = {name: ROOT / secret["file"] for name, secret in COMPOSE["secrets"].items()}
    used = {name for service in SERVICES.values() for name in service.get("secrets", [])}
    assert used == set(files)
    assert all(path.parent == DEPLOY / "secrets" for path in files.values())
    assert "\n*\n" in (DEPLOY / "secrets" / ".gitignore").read_text(encoding="utf-8")
    values = [f"{key}={value}" for service in SERVICES.values() for key, value in service.get("environment", {}).items()]
    assert [value for value in values if re.search(r"(?i)(KEY|PASSWORD|TOKEN|SECRET)\w*=(?!/run/secrets/)", value)] == []


@pytest.mark.parametrize("name", SERVICES)
def test_every_mounted_file_is_there(name):
    """A mount of a file that is not there would become an empty directory."""
    assert [path for path in mounts(name).values() if not path.exists()] == []


@pytest.mark.slow
@pytest.mark.parametrize("name", OURS)
def test_our_commands_are_driftline_commands(name):
    """The command of every service of ours is one that `driftline` knows."""
    command, _ = compose_service(name)
    run(*command, "--help")


@pytest.mark.parametrize("name", OURS)
def test_the_environment_is_understood(name, tmp_path):
    """Every variable is one Driftline reads, and with the mounted file they give settings without a fault."""
    _, environment = compose_service(name)
    known = {*VARIABLES, "DRIFTLINE_CONFIG"}
    assert set(environment) <= known
    key = tmp_path / "signing_key"
    key.write_text(KEY, encoding="utf-8")
    key.chmod(0o400)
    (config,) = mounts(name).values()
    assert environment["DRIFTLINE_CONFIG"] in mounts(name)
    assert environment["DRIFTLINE_SIGNING_KEY_FILE"] == "/run/secrets/signing_key"
    settings = load_settings(config, environment | {"DRIFTLINE_SIGNING_KEY_FILE": str(key)}, need_key=True)
    assert settings.kafka.bootstrap == "kafka:9092"
    assert settings.models


def test_a_missing_secret_is_said_before_anything_starts():
    """Without its secret file a process stops with one line that names the variable."""
    _, environment = compose_service("worker")
    with pytest.raises(ConfigError, match="DRIFTLINE_SIGNING_KEY_FILE"):
        load_settings(DEPLOY / "driftline.toml", environment, need_key=True)


def test_only_the_loopback_and_what_compose_says_is_listened_on():
    """Outside a container our processes listen on the loopback: 0.0.0.0 is asked for by the compose file alone."""
    asked = {name: {k for k, v in compose_service(name)[1].items() if v == "0.0.0.0"} for name in OURS}
    assert asked == {
        "topics": set(),
        "worker": {"DRIFTLINE_METRICS_HOST"},
        "retrainer": {"DRIFTLINE_METRICS_HOST"},
        "serve": {"DRIFTLINE_SERVE_HOST"},
    }
    assert "0.0.0.0" not in (DEPLOY / "driftline.toml").read_text(encoding="utf-8")


@pytest.mark.slow
def test_prometheus_scrapes_what_the_rules_ask_for(tool, tmp_path):
    """`promtool check config` accepts the files where compose puts them; jobs and ports are those of our processes."""
    for inside, outside in mounts("prometheus").items():
        place = tmp_path / inside.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(outside, place)
    run(tool("promtool"), "check", "config", str(tmp_path / "etc/prometheus/prometheus.yml"))
    jobs = yaml.safe_load((DEPLOY / "prometheus.yml").read_text(encoding="utf-8"))["scrape_configs"]
    for process, job in JOBS.items():
        (text,) = [json.dumps(entry) for entry in jobs if entry["job_name"] == job]
        port = compose_service(process)[1][PORTS[process]]
        assert f'"{process}:{port}"' in text or (f'["{process}"]' in text and f'"port": {port}' in text)
        assert f":{port}/" in SERVICES[process]["healthcheck"]["test"][-1]


@pytest.mark.slow
def test_alertmanager_groups_by_model(tool):
    """`amtool check-config` accepts the file, one notification is one model, and information wakes nobody."""
    run(tool("amtool"), "check-config", str(DEPLOY / "alertmanager.yml"))
    text = (DEPLOY / "alertmanager.yml").read_text(encoding="utf-8")
    config = yaml.safe_load(text)
    assert "model" in config["route"]["group_by"]
    assert config["route"]["receiver"] == "webhook"
    info = subprocess.run(
        [
            tool("amtool"),
            "config",
            "routes",
            "test",
            f"--config.file={DEPLOY / 'alertmanager.yml'}",
            "severity=info",
            "model=fraud",
        ],
        capture_output=True,
        check=True,
        timeout=60,
    )
    assert info.stdout.strip() == b"nobody"


@pytest.mark.slow
def test_the_commented_receivers_are_right_too(tool, tmp_path):
    """Taking away the comment signs gives PagerDuty and Slack routes that amtool accepts, with secrets from files."""
    text = (DEPLOY / "alertmanager.yml").read_text(encoding="utf-8")
    lines = [re.sub(r"^(\s*)# (?=- |  )", r"\1", line) for line in text.splitlines()]
    whole = tmp_path / "alertmanager.yml"
    whole.write_text("\n".join(lines) + "\n", encoding="utf-8")
    run(tool("amtool"), "check-config", str(whole))
    receivers = {entry["name"] for entry in yaml.safe_load(whole.read_text(encoding="utf-8"))["receivers"]}
    assert receivers == {"nobody", "webhook", "pagerduty", "slack"}
    assert not re.search(r"\b(routing_key|api_url|service_key|password):", text)


def test_grafana_finds_its_source_and_dashboard():
    """The provisioned source is the compose file's Prometheus, and the dashboard is mounted where the provider looks."""
    home = DEPLOY / "grafana" / "provisioning"
    (source,) = yaml.safe_load((home / "datasources" / "driftline.yml").read_text(encoding="utf-8"))["datasources"]
    (provider,) = yaml.safe_load((home / "dashboards" / "driftline.yml").read_text(encoding="utf-8"))["providers"]
    board = f"{provider['options']['path']}/driftline.json"
    assert source["url"] == "http://prometheus:9090"
    assert mounts("grafana")[board] == ROOT / "dashboards" / "files" / "driftline.json"
    assert SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"] == board


@pytest.mark.slow
def test_secrets_are_made_once_and_for_one_reader(tmp_path):
    """deploy/secrets.sh makes secrets that only their owner can reach, and keeps them when it is run again."""
    (tmp_path / "deploy").mkdir()
    shutil.copy(DEPLOY / "secrets.sh", tmp_path / "deploy")
    run("sh", str(tmp_path / "deploy" / "secrets.sh"))
    secrets = tmp_path / "deploy" / "secrets"
    first = {path.name: path.read_text(encoding="utf-8") for path in secrets.iterdir()}
    run("sh", str(tmp_path / "deploy" / "secrets.sh"))
    assert {path.name: path.read_text(encoding="utf-8") for path in secrets.iterdir()} == first
    assert set(first) == set(COMPOSE["secrets"])
    assert all(re.fullmatch(r"[0-9a-f]{64}", value) for value in first.values())
    assert stat.S_IMODE(secrets.stat().st_mode) == 0o700
    signing_key = (secrets / "signing_key").stat()
    assert stat.S_IMODE(signing_key.st_mode) == 0o600
    # The containers run as the one who may read the key: image default when root made it, else through .env.
    reader = (
        "10001:10001" if os.getuid() == 0 else (tmp_path / ".env").read_text(encoding="utf-8").removeprefix("DRIFTLINE_USER=")
    )
    assert reader.split(":")[0] == str(signing_key.st_uid)


def here(own: dict[str, str], bootstrap: str, redis: str, place: Path, prefix: str) -> tuple[dict[str, str], int]:
    """Return a service's environment with this machine's addresses in place of the containers', and its port."""
    port = free_port()
    key = place / "signing_key"
    key.touch(0o600)
    key.write_text(KEY, encoding="utf-8")
    config = place / "driftline.toml"
    names = f'[kafka]\nprefix = "{prefix}"\n[redis]\nprefix = "{prefix}"\n'
    config.write_text(names + (DEPLOY / "driftline.toml").read_text(encoding="utf-8"), encoding="utf-8")
    addresses = {
        "DRIFTLINE_CONFIG": str(config),
        "DRIFTLINE_KAFKA_BOOTSTRAP": bootstrap,
        "DRIFTLINE_REDIS_URL": redis,
        "DRIFTLINE_SIGNING_KEY_FILE": str(key),
        **dict.fromkeys(("DRIFTLINE_SERVE_HOST", "DRIFTLINE_METRICS_HOST"), "127.0.0.1"),
        **dict.fromkeys(PORTS.values(), str(port)),
    }
    surroundings = {"PATH": os.environ["PATH"], "HOME": str(place), "PYTHONUNBUFFERED": "1"}
    return surroundings | {name: addresses[name] for name in own}, port


def wait_until_healthy(process: subprocess.Popen[bytes], check: str, log: Path) -> None:
    """Run the compose file's own health check until it passes and the process said that it is ready, at most a minute."""
    deadline = time.monotonic() + 60
    healthy = False
    while not healthy or not re.search(rb"ready|listening", log.read_bytes()):
        assert process.poll() is None, log.read_text(encoding="utf-8")
        assert time.monotonic() < deadline, log.read_text(encoding="utf-8")
        healthy = subprocess.run([sys.executable, "-c", check], capture_output=True, timeout=30, check=False).returncode == 0


@pytest.mark.slow
@pytest.mark.kafka
@pytest.mark.redis
@pytest.mark.parametrize("name", PORTS)
def test_the_same_commands_run_without_docker(name, kafka_server, redis_server, prefix, tmp_path):
    """The topics service ends with 0, twice; the process becomes healthy by compose's own check and ends with 0 when asked to."""
    topics, own = compose_service("topics")
    environment, _ = here(own, kafka_server.bootstrap, redis_server.url, tmp_path, prefix)
    for _ in range(2):
        done = subprocess.run(topics, env=environment, cwd=tmp_path, capture_output=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr.decode()

    command, own = compose_service(name)
    environment, port = here(own, kafka_server.bootstrap, redis_server.url, tmp_path, prefix)
    log = tmp_path / "log"
    with log.open("wb") as sink:
        process = subprocess.Popen(command, env=environment, cwd=tmp_path, stdout=sink, stderr=sink)
    try:
        inside = own[PORTS[name]]
        wait_until_healthy(process, SERVICES[name]["healthcheck"]["test"][-1].replace(f":{inside}/", f":{port}/"), log)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            assert b"# HELP driftline_" in answer.read()
        process.terminate()
        assert process.wait(60) == 0, log.read_text(encoding="utf-8")
    finally:
        if process.poll() is None:
            process.kill()
            process.wait(30)
    assert KEY not in log.read_text(encoding="utf-8")
