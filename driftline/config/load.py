"""`driftline.toml` and the environment in, `Settings` out; or every fault at once.

Rules:
1. All faults are collected, and reported together: one line each, with file, place, value, way out.
2. The environment wins over the file, and a fault in it names the variable.
3. Secrets come from files of their own or from the environment; paths in `driftline.toml` are
   relative to it, paths in the environment to the working directory.
4. Nothing is connected to and no user code is imported here (`driftline check` imports the factories).
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from detectors.errors import ConfigError
from detectors.reference.local_time import WEEK_SECONDS
from detectors.spec import ModelSpec
from detectors.windows.row import VOLUME
from driftline.config.checks import NAME, show
from driftline.config.faults import Faults, Place
from driftline.config.old_keys import with_new_keys
from driftline.config.reference_files import read_reference_set
from driftline.config.schema import MAX_MODELS, SECTIONS, ModelSection, Section
from driftline.config.secret_files import check_key, read_secret
from driftline.text.durations import format_duration, format_rate
from driftline.text.nearest import nearest
from streams.settings import (
    GrafanaSettings,
    HttpSettings,
    JoinSettings,
    KafkaSettings,
    RedisSettings,
    Secret,
    Settings,
    WebhookSettings,
)
from streams.topics import TOPICS, topic_name

__all__ = ["DEFAULT_FILE", "SECRETS", "VARIABLES", "config_path", "load_settings", "parse_settings"]

DEFAULT_FILE = "driftline.toml"
_MOST_BYTES = 1 << 20
_S = TypeVar("_S", bound=Section)

#: Environment variable -> the key that it sets.
VARIABLES: dict[str, tuple[str, str]] = {
    "DRIFTLINE_KAFKA_BOOTSTRAP": ("kafka", "bootstrap"),
    "DRIFTLINE_REDIS_URL": ("redis", "url"),
    "DRIFTLINE_SERVE_HOST": ("serve", "host"),
    "DRIFTLINE_SERVE_PORT": ("serve", "port"),
    "DRIFTLINE_METRICS_HOST": ("metrics", "host"),
    "DRIFTLINE_WORKER_METRICS_PORT": ("worker", "metrics_port"),
    "DRIFTLINE_RETRAINER_METRICS_PORT": ("retrainer", "metrics_port"),
    "DRIFTLINE_SIGNING_KEY_FILE": ("security", "signing_key_file"),
    "DRIFTLINE_WEBHOOK_SECRET_FILE": ("webhook", "secret_file"),
    "DRIFTLINE_GRAFANA_TOKEN_FILE": ("grafana", "token_file"),
}

#: Environment variable with a secret itself -> the key whose file it replaces.
SECRETS: dict[str, tuple[str, str]] = {
    "DRIFTLINE_SIGNING_KEY": ("security", "signing_key_file"),
    "DRIFTLINE_WEBHOOK_SECRET": ("webhook", "secret_file"),
    "DRIFTLINE_GRAFANA_TOKEN": ("grafana", "token_file"),
}


def config_path(named: Path | None, environ: Mapping[str, str]) -> Path:
    """Return the file to read: the one named, else `DRIFTLINE_CONFIG`, else `./driftline.toml`."""
    return named or Path(environ.get("DRIFTLINE_CONFIG") or DEFAULT_FILE)


def load_settings(path: Path, environ: Mapping[str, str], *, need_key: bool = False, references: bool = True) -> Settings:
    """Return the settings of one file and the environment; `need_key` for a process that signs.

    Without `references` no file of references is read: the command that writes such a file needs none.

    Raises:
        ConfigError: the file cannot be read or has faults; the message has one line for each.
    """
    return parse_settings(_read(path), str(path), environ, home=path.parent, need_key=need_key, references=references)


def parse_settings(
    text: str, file: str, environ: Mapping[str, str], *, home: Path, need_key: bool = False, references: bool = True
) -> Settings:
    """Return the settings of a text; `file` is its name in messages, `home` what its paths are relative to.

    Raises:
        ConfigError: the text is not TOML, or has faults; the message has one line for each.
    """
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(_syntax(file, str(error))) from None
    faults = Faults(file, _overlay(raw, environ))
    for name in raw:
        if name not in (*SECTIONS, "models"):
            faults.unknown_section(name, (*SECTIONS, "models"), is_table=isinstance(raw[name], dict))
    tables = {name: _section(faults, (name,), kind, raw.get(name, {})) for name, kind in SECTIONS.items()}
    secrets = {place[0]: _secret(faults, tables[place[0]], place, environ.get(name), home) for name, place in SECRETS.items()}
    check_key(faults, SECRETS["DRIFTLINE_SIGNING_KEY"], secrets["security"], needed=need_key)
    given = {name: table.given() for name, table in tables.items()}
    if given["webhook"].get("url") and not secrets["webhook"] and "secret_file" not in tables["webhook"].model_fields_set:
        faults.add(("webhook", "secret_file"), "a webhook is signed, and there is no secret", "name a file that holds one here")
    kafka, join = KafkaSettings(**given["kafka"]), JoinSettings(**given["join"])
    _not_ours(faults, kafka, join)
    models = _models(faults, raw.get("models", {}), home if references else None)
    if faults.lines:
        raise ConfigError("\n".join(faults.lines))
    return Settings(
        kafka=kafka,
        join=join,
        redis=RedisSettings(**given["redis"]),
        serve=HttpSettings(**given["serve"]),
        signing_key=secrets["security"],
        webhook=WebhookSettings(**given["webhook"], secret=secrets["webhook"]),
        grafana=GrafanaSettings(**given["grafana"], token=secrets["grafana"]),
        models=models,
        notes=tuple(faults.notes),
        **given["outcomes"],
        **given["metrics"],
        **given["worker"],
        **given["retrainer"],
    )


def _read(path: Path) -> str:
    try:
        with path.open("rb") as source:
            content = source.read(_MOST_BYTES + 1)
    except FileNotFoundError:
        raise ConfigError(
            f"{path}: there is no such file; write one (docs/configuration.md shows the smallest), "
            "or name another with --config or DRIFTLINE_CONFIG"
        ) from None
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be read ({error.strerror}); mend its permissions, or name another with --config"
        ) from None
    if len(content) > _MOST_BYTES:
        raise ConfigError(f"{path}: larger than {_MOST_BYTES} bytes; that is no configuration, name another file with --config")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: byte {error.start} is not UTF-8; save the file as UTF-8") from None


def _syntax(file: str, said: str) -> str:
    """Put the place before the reason, as in every other message."""
    found = re.fullmatch(r"(.*?) \(at (?:line (\d+), column (\d+)|end of document)\)", said)
    if found is None:
        return f"{file}: not TOML: {said}"
    place = f"line {found[2]}, column {found[3]}" if found[2] else "at its end"
    return f"{file}: {place}: not TOML: {found[1][:1].lower()}{found[1][1:]}"


def _overlay(raw: dict[str, Any], environ: Mapping[str, str]) -> dict[Place, str]:
    """Write the values of the environment over those of the file; return place -> variable of each."""
    origins: dict[Place, str] = {place: f"environment: {name}" for name, place in SECRETS.items() if environ.get(name)}
    for variable, place in VARIABLES.items():
        table = raw.setdefault(place[0], {}) if environ.get(variable) else None
        if not isinstance(table, dict):
            continue
        text = environ[variable]
        number = place[1].endswith("port") and re.fullmatch(r"[0-9]{1,5}", text)
        path = place[1].endswith("_file")
        table[place[1]] = int(text) if number else str(Path(text).absolute()) if path else text
        origins[place] = f"environment: {variable}"
    return origins


def _section(faults: Faults, place: Place, kind: type[_S], raw: object) -> _S:
    """Return the checked section, or an empty one after adding its faults."""
    try:
        return kind.model_validate(raw)
    except ValidationError as error:
        faults.add_all(place, kind, error)
        return kind()


def _secret(faults: Faults, table: Section, place: tuple[str, str], value: str | None, home: Path) -> Secret:
    if value:
        return Secret(value.strip().encode())
    path = getattr(table, place[1])
    return read_secret(faults, place, home / path) if path else Secret(b"")


def _not_ours(faults: Faults, kafka: KafkaSettings, join: JoinSettings) -> None:
    """Refuse a topic of Driftline as the topic of labels: a router would read what it writes."""
    if join.labels_topic in {topic_name(kafka.prefix, topic) for topic in TOPICS}:
        faults.add(
            ("join", "labels_topic"),
            f"expected a topic of your own, got {show(join.labels_topic)}, which Driftline writes",
            "labels that are on the events topic already need no router: leave the key out",
        )


def _models(faults: Faults, raw: object, home: Path | None) -> tuple[ModelSpec, ...]:
    if not isinstance(raw, dict):
        faults.add(("models",), f"expected tables such as [models.fraud], got {show(raw)}")
        return ()
    if not raw:
        faults.add(("models",), "there is no model to watch", "add a section such as [models.fraud]; it may be empty")
    if len(raw) > MAX_MODELS:
        faults.add(("models",), f"expected at most {MAX_MODELS} models, got {len(raw)}", "spread them over several deployments")
        return ()
    return tuple(_model(faults, name, body, home) for name, body in raw.items())


def _model(faults: Faults, name: str, raw: object, home: Path | None) -> ModelSpec:
    place = ("models", name)
    if not NAME.fullmatch(name):
        faults.add(place, 'expected a name of 1 to 64 letters, digits, "_", "." or "-"')
    before = len(faults.lines)
    raw = with_new_keys(faults, place, raw)
    section = _section(faults, place, ModelSection, raw)
    spec = ModelSpec(name=name, **section.given())
    if len(faults.lines) == before:
        _agree(faults, place, spec, raw)
    if len(faults.lines) == before and home is not None and section.reference and section.reference.reference_set:
        reference_set = read_reference_set(faults, (*place, "reference", "file"), home / section.reference.reference_set, spec)
        return replace(spec, reference=replace(spec.reference, reference_set=reference_set))
    return spec


def _agree(faults: Faults, place: Place, spec: ModelSpec, raw: Any) -> None:
    """Check the rules that two keys must keep together."""
    windows = WEEK_SECONDS / spec.window_seconds
    if spec.false_alarms_per_week >= windows:
        faults.add(
            (*place, "false_alarms"),
            f"expected less than one per window of {format_duration(spec.window_seconds)}, "
            f"got {show(raw.get('false_alarms', format_rate(spec.false_alarms_per_week)))}",
            'every window would alarm: allow fewer, such as "1 per week", or make the window shorter',
        )
    if spec.retrain.min_rows > spec.retrain.max_rows:
        faults.add(
            (*place, "retrain", "min_rows"), f"expected at most max_rows ({spec.retrain.max_rows}), got {spec.retrain.min_rows}"
        )
    if "retrain" in raw and spec.retrain.enabled and spec.factory is None:
        faults.add(
            (*place, "factory"),
            "a model can only be retrained with one",
            'add factory = "module:attribute", or set retrain.enabled = false',
        )
    if spec.features and len(spec.features) > spec.max_features:
        faults.add((*place, "features"), f"expected at most max_features ({spec.max_features}) names, got {len(spec.features)}")
    if VOLUME in spec.features:
        faults.add(
            (*place, "features"),
            f'expected names of your own features, got "{VOLUME}"',
            "that one stands for the number of events, which is always watched: leave it out",
        )
    stray = [name for name in spec.categorical if spec.features and name not in spec.features]
    if stray:
        faults.add(
            (*place, "categorical"), f'expected names that are in features, got "{stray[0]}"', nearest(stray[0], spec.features)
        )
