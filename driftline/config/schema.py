"""The sections of `driftline.toml`: every key, its legal values, and the field of a dataclass that it fills.

The field is named as in streams/settings.py or detectors/spec.py, the alias is the key in the file.
The dataclasses have the defaults: a key that is not in the file is not passed on.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, get_args

from pydantic import BaseModel, ConfigDict, Field, PlainValidator

from detectors.judging.detectors import DETECTORS, REFUSED
from detectors.spec import ModelSpec, OutcomeSpec, OutlierSpec, ReferenceSpec, RetrainSpec
from driftline.config import checks
from streams.settings import (
    GrafanaSettings,
    HttpSettings,
    JoinSettings,
    KafkaSettings,
    OutcomesFormat,
    RedisSettings,
    Settings,
    WebhookSettings,
)

__all__ = ["MAX_MODELS", "SECTIONS", "ModelSection", "Section"]

MAX_MODELS = 50
#: Features or tags by which outcomes can be grouped: each costs memory for every prediction that waits.
MAX_GROUPS = 20

_OF_SCORES = [name for name, kind in DETECTORS.items() if kind.feed == "scores"]
_NOT_OF_SCORES = REFUSED | {
    name: "it judges single outcomes, right or wrong: name it as detector in [models.NAME.outcomes]"
    for name, kind in DETECTORS.items()
    if kind.feed == "outcomes"
}

Name = Annotated[str, PlainValidator(checks.is_name)]
Names = Annotated[tuple[str, ...], PlainValidator(checks.is_names)]
Flag = Annotated[bool, PlainValidator(checks.is_flag)]
Host = Annotated[str, PlainValidator(checks.is_host)]
FilePath = Annotated[str, PlainValidator(checks.is_path)]
Port = Annotated[int, PlainValidator(checks.is_whole(0, 65535))]
Detector = Annotated[str, PlainValidator(checks.is_one_of("a detector", DETECTORS, REFUSED))]
WebUrl = Annotated[str, PlainValidator(checks.is_url("https://example.org/hook", "http", "https", empty=True))]
RedisUrl = Annotated[str, PlainValidator(checks.is_url("redis://127.0.0.1:6379/0", "redis", "rediss", "unix"))]
Candidates = Annotated[tuple[str, ...], PlainValidator(checks.is_each_of("ways to make a candidate", ("warm", "fresh")))]


def key(alias: str | None = None) -> Any:
    """Return an optional key; None means "not in the file" and never leaves this module."""
    return Field(default=None, alias=alias)


class Section(BaseModel):
    """One table of the file; `fills` is the dataclass whose fields it gives."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
    fills: ClassVar[type]

    def given(self) -> dict[str, Any]:
        """Return the values that the file has, under the names of the dataclass's fields; inner sections become dataclasses."""
        found = {name: getattr(self, name) for name in self.model_fields_set if not name.endswith("_file")}
        return {name: value.fills(**value.given()) if isinstance(value, Section) else value for name, value in found.items()}

    @classmethod
    def toml_keys(cls) -> dict[str, str]:
        """Return key in the file -> field of the dataclass."""
        return {field.alias or name: name for name, field in cls.model_fields.items()}


class KafkaSection(Section):
    """`[kafka]`."""

    fills = KafkaSettings
    bootstrap: Annotated[str, PlainValidator(checks.is_bootstrap)] = key()
    prefix: Name = key()
    replication: Annotated[int, PlainValidator(checks.is_whole(1, 10))] = key()
    partitions: Annotated[int, PlainValidator(checks.is_whole(1, 1000))] = key()
    session_timeout_seconds: Annotated[float, PlainValidator(checks.is_duration("1s", "30m"))] = key("session_timeout")


class JoinSection(Section):
    """`[join]`."""

    fills = JoinSettings
    most_bytes: Annotated[int, PlainValidator(checks.is_size("1MB", "1TB"))] = key()
    labels_topic: Annotated[str, PlainValidator(checks.is_topic)] = key()


class OutcomesSection(Section):
    """`[outcomes]`."""

    fills = Settings
    outcomes_format: Annotated[str, PlainValidator(checks.is_one_of("a form of outcomes", get_args(OutcomesFormat)))] = key(
        "format"
    )


class RedisSection(Section):
    """`[redis]`."""

    fills = RedisSettings
    url: RedisUrl = key()
    prefix: Name = key()


class ServeSection(Section):
    """`[serve]`."""

    fills = HttpSettings
    host: Host = key()
    port: Port = key()


class MetricsSection(Section):
    """`[metrics]`."""

    fills = Settings
    metrics_host: Host = key("host")


class WorkerSection(Section):
    """`[worker]`."""

    fills = Settings
    worker_metrics_port: Port = key("metrics_port")


class RetrainerSection(Section):
    """`[retrainer]`."""

    fills = Settings
    retrainer_metrics_port: Port = key("metrics_port")


class SecuritySection(Section):
    """`[security]`."""

    fills = Settings
    signing_key_file: FilePath = key()


class WebhookSection(Section):
    """`[webhook]`."""

    fills = WebhookSettings
    url: WebUrl = key()
    secret_file: FilePath = key()
    timeout_seconds: Annotated[float, PlainValidator(checks.is_duration("100ms", "1m"))] = key("timeout")


class GrafanaSection(Section):
    """`[grafana]`."""

    fills = GrafanaSettings
    url: WebUrl = key()
    token_file: FilePath = key()


class ReferenceSection(Section):
    """`[models.NAME.reference]`."""

    fills = ReferenceSpec
    seconds: Annotated[float, PlainValidator(checks.is_duration("1s", "366d"))] = key("duration")
    min_windows: Annotated[int, PlainValidator(checks.is_whole(2, 1_000_000))] = key()
    reference_set: FilePath = key("file")

    def given(self) -> dict[str, Any]:
        """Return what was written but for the file, which is read by driftline/config/load.py."""
        return {name: value for name, value in super().given().items() if name != "reference_set"}


class OutcomeSection(Section):
    """`[models.NAME.outcomes]`."""

    fills = OutcomeSpec
    label_within_seconds: Annotated[float, PlainValidator(checks.is_duration("1s", "90d"))] = key("label_within")
    detector: Detector = key()
    window_seconds: Annotated[float, PlainValidator(checks.is_duration("1ms", "7d"))] = key("window")


class OutlierSection(Section):
    """`[models.NAME.outliers]`."""

    fills = OutlierSpec
    enabled: Flag = key()
    distance: Annotated[float, PlainValidator(checks.is_between(1, 100))] = key()
    per_window: Annotated[int, PlainValidator(checks.is_whole(0, 10_000))] = key()


class RetrainSection(Section):
    """`[models.NAME.retrain]`."""

    fills = RetrainSpec
    enabled: Flag = key()
    cooldown_seconds: Annotated[float, PlainValidator(checks.is_duration("0s", "366d"))] = key("cooldown")
    min_rows: Annotated[int, PlainValidator(checks.is_whole(10, 10_000_000))] = key()
    max_rows: Annotated[int, PlainValidator(checks.is_whole(10, 10_000_000))] = key()
    holdout: Annotated[float, PlainValidator(checks.is_between(0, 1))] = key()
    max_error: Annotated[float, PlainValidator(checks.is_between(0, 0.5))] = key()
    candidates: Candidates = key()
    patience_seconds: Annotated[float, PlainValidator(checks.is_duration("1s", "7d"))] = key("patience")
    rows_per_day: Annotated[int, PlainValidator(checks.is_whole(1, 1_000_000_000))] = key()


class ModelSection(Section):
    """`[models.NAME]`."""

    fills = ModelSpec
    factory: Annotated[str, PlainValidator(checks.is_factory)] = key()
    false_alarms_per_week: Annotated[float, PlainValidator(checks.is_budget)] = key("false_alarms")
    window_seconds: Annotated[float, PlainValidator(checks.is_duration("1ms", "7d"))] = key("window")
    lateness_seconds: Annotated[float, PlainValidator(checks.is_duration("0s", "30d"))] = key("lateness")
    timezone: Annotated[str, PlainValidator(checks.is_timezone)] = key()
    holidays: Annotated[str, PlainValidator(checks.is_calendar)] = key()
    detector: Annotated[str, PlainValidator(checks.is_one_of("a detector of scores", _OF_SCORES, _NOT_OF_SCORES))] = key()
    features: Names = key()
    categorical: Names = key()
    groups: Annotated[tuple[str, ...], PlainValidator(checks.is_few_names(MAX_GROUPS))] = key()
    volume: Flag = key()
    max_features: Annotated[int, PlainValidator(checks.is_whole(1, 2_000))] = key()
    max_segments: Annotated[int, PlainValidator(checks.is_whole(1, 10_000))] = key()
    max_buffered_values: Annotated[int, PlainValidator(checks.is_whole(10_000, 1_000_000_000))] = key()
    reference: ReferenceSection = key()
    outcomes: OutcomeSection = key()
    outliers: OutlierSection = key()
    retrain: RetrainSection = key()


SECTIONS: dict[str, type[Section]] = {
    "kafka": KafkaSection,
    "join": JoinSection,
    "outcomes": OutcomesSection,
    "redis": RedisSection,
    "serve": ServeSection,
    "metrics": MetricsSection,
    "worker": WorkerSection,
    "retrainer": RetrainerSection,
    "security": SecuritySection,
    "webhook": WebhookSection,
    "grafana": GrafanaSection,
}
