"""The door to Redis, against a real redis-server: blobs, pointers, snapshots, what waited, and Redis away."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
import redis

from detectors.errors import SignatureError, UnavailableError
from driftline.servers.redis_server import RedisServer
from streams.settings import RedisSettings, Secret
from streams.state.signature import sign
from streams.state.store import FencedError, Store
from tests.support.joins import put_pending


@pytest.fixture
def store(redis_settings: RedisSettings, signing_key: Secret) -> Store:
    """A store with a prefix of its own."""
    return Store(redis_settings, signing_key)


@pytest.fixture
def raw(redis_settings: RedisSettings) -> Any:
    """A bare client, for what an intruder or a zombie would do."""
    return redis.Redis.from_url(redis_settings.url)


def test_a_blob_is_written_once(store: Store) -> None:
    """The first blob of a name stays; the second is refused and changes nothing."""
    assert store.get_blob("model/fraud/1") is None
    assert store.put_blob("model/fraud/1", b"first")
    assert not store.put_blob("model/fraud/1", b"second")
    assert store.get_blob("model/fraud/1") == b"first"


def test_blobs_are_listed_by_folder(store: Store) -> None:
    """A folder lists the blobs that are in it, and a blob's presence is told without reading it."""
    for name in ("model/fraud/1", "model/fraud/2", "model/churn/1"):
        assert not store.has_blob(name)
        store.put_blob(name, b"state")
        assert store.has_blob(name)
    assert sorted(store.blob_names("model/fraud")) == ["1", "2"]
    assert sorted(store.blob_names("model/none")) == []


@pytest.mark.parametrize("position", [0, 4, 20, 36, -1])
def test_an_altered_blob_is_refused(store: Store, raw: Any, prefix: str, position: int) -> None:
    """A blob with one altered byte in Redis is not returned."""
    store.put_blob("model/fraud/1", b"a model that decides about money")
    blob = bytearray(raw.get(f"{prefix}:blob:model/fraud/1"))
    blob[position] ^= 1
    raw.set(f"{prefix}:blob:model/fraud/1", bytes(blob))
    with pytest.raises(SignatureError, match="model/fraud/1"):
        store.get_blob("model/fraud/1")


def test_a_genuine_blob_under_another_name_is_refused(store: Store, raw: Any, prefix: str) -> None:
    """Version 1 copied over version 2 in Redis is not taken for version 2."""
    store.put_blob("model/fraud/1", b"old")
    raw.set(f"{prefix}:blob:model/fraud/2", raw.get(f"{prefix}:blob:model/fraud/1"))
    with pytest.raises(SignatureError, match="model/fraud/2"):
        store.get_blob("model/fraud/2")


def test_a_blob_of_another_key_is_refused(store: Store, redis_settings: RedisSettings) -> None:
    """A process with another signing key cannot plant a blob."""
    Store(redis_settings, Secret(b"another")).put_blob("model/fraud/1", b"planted")
    with pytest.raises(SignatureError):
        store.get_blob("model/fraud/1")


def test_a_pointer_moves_by_generation(store: Store) -> None:
    """A pointer begins at generation 0, grows by one with every move, and refuses an old generation."""
    assert store.pointer("fraud") == {}
    assert store.move_pointer("fraud", 0, {"version": "1"})
    assert store.pointer("fraud") == {"version": "1", "generation": "1"}
    assert not store.move_pointer("fraud", 0, {"version": "2"})
    assert store.move_pointer("fraud", 1, {"version": "3", "canary": "4"})
    assert store.pointer("fraud") == {"version": "3", "canary": "4", "generation": "2"}


def test_only_one_of_two_moves_a_pointer(store: Store, redis_settings: RedisSettings, signing_key: Secret) -> None:
    """Of two racing moves from one generation exactly one wins, every time."""
    stores = (store, Store(redis_settings, signing_key))
    together = threading.Barrier(2)

    def move(number: int) -> list[bool]:
        won = []
        for generation in range(100):
            together.wait()
            won.append(stores[number].move_pointer("fraud", generation, {"by": str(number)}))
        return won

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(move, range(2))
    assert [a + b for a, b in zip(first, second, strict=True)] == [1] * 100
    assert store.pointer("fraud") == {"by": "0" if first[-1] else "1", "generation": "100"}


def test_a_snapshot_carries_its_offset(store: Store) -> None:
    """A snapshot comes back with the offset it stands for, and is replaced by who knows that offset."""
    assert store.load_snapshot("judge/0") is None
    store.save_snapshot("judge/0", None, 10, b"ten")
    assert store.load_snapshot("judge/0") == (10, b"ten")
    store.save_snapshot("judge/0", 10, 25, b"twenty-five")
    assert store.load_snapshot("judge/0") == (25, b"twenty-five")


@pytest.mark.parametrize("expected", [None, 10, 30])
def test_a_zombie_is_fenced(store: Store, expected: int | None) -> None:
    """Who does not know the stored offset may not replace the snapshot, be it older, newer or none."""
    store.save_snapshot("judge/0", None, 20, b"the owner's")
    with pytest.raises(FencedError, match="stored offset 20"):
        store.save_snapshot("judge/0", expected, 40, b"the zombie's")
    assert store.load_snapshot("judge/0") == (20, b"the owner's")


def test_the_same_snapshot_may_be_written_again(store: Store) -> None:
    """A write whose answer was lost can be repeated."""
    store.save_snapshot("judge/0", None, 10, b"ten")
    store.save_snapshot("judge/0", None, 10, b"ten")
    assert store.load_snapshot("judge/0") == (10, b"ten")


def test_only_one_of_two_writes_a_snapshot(store: Store, redis_settings: RedisSettings, signing_key: Secret) -> None:
    """Of two workers that replace the same snapshot at once, one is fenced and the other's is stored."""
    stores = (store, Store(redis_settings, signing_key))
    together = threading.Barrier(2)

    def save(number: int) -> list[bool]:
        saved = []
        for step in range(50):
            together.wait()
            try:
                stores[number].save_snapshot("judge/0", step or None, step + 1, str(number).encode())
            except FencedError:
                saved.append(False)
            else:
                saved.append(True)
        return saved

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(save, range(2))
    assert [a + b for a, b in zip(first, second, strict=True)] == [1] * 50
    assert store.load_snapshot("judge/0") == (50, b"0" if first[-1] else b"1")


def test_an_altered_snapshot_is_refused(store: Store, raw: Any, prefix: str) -> None:
    """The offset inside a snapshot is signed as well: changing it is noticed."""
    store.save_snapshot("judge/0", None, 10, b"ten")
    record = bytearray(raw.get(f"{prefix}:snapshot:judge/0"))
    record[36 + 7] ^= 1
    raw.set(f"{prefix}:snapshot:judge/0", bytes(record))
    with pytest.raises(SignatureError, match="snapshot/judge/0"):
        store.load_snapshot("judge/0")


def test_a_blob_is_not_taken_for_a_snapshot(store: Store, raw: Any, prefix: str, signing_key: Secret) -> None:
    """A genuine blob put in a snapshot's place is refused."""
    raw.set(f"{prefix}:snapshot:judge/0", sign(signing_key, "judge/0", bytes(16)))
    with pytest.raises(SignatureError):
        store.load_snapshot("judge/0")


def test_what_waited_in_a_partition_is_read_and_deleted_alone(store: Store, redis_settings: RedisSettings) -> None:
    """Halves of one partition are found by model and kind, and go without those of others, whatever the ids look like."""
    put_pending(redis_settings, "fraud:1", [("p:a", b"1"), ("l:b:c", b"2")])
    put_pending(redis_settings, "churn:1", [("p:a", b"3")])
    put_pending(redis_settings, "fraud:11", [("p:a", b"4"), ("p:x:1:p:y", b"5")])
    assert sorted(store.pending(1)) == [("churn", "p", b"3"), ("fraud", "l", b"2"), ("fraud", "p", b"1")]
    assert store.drop_pending(1) == 3
    assert list(store.pending(1)) == []
    assert sorted(store.pending(11)) == [("fraud", "p", b"4"), ("fraud", "p", b"5")]
    assert store.drop("pending") == 2


def test_an_announcement_is_heard(store: Store) -> None:
    """A listener yields None while it is quiet and the text once it is published."""
    heard = store.listen("swaps", 0.05)
    assert next(heard) is None
    store.publish("swaps", "fraud 2")
    assert next(text for text in heard if text is not None) == "fraud 2"
    heard.close()


def test_prefixes_keep_deployments_apart(store: Store, redis_settings: RedisSettings, signing_key: Secret) -> None:
    """Two deployments on one Redis do not see each other's values."""
    other = Store(replace(redis_settings, prefix=f"{redis_settings.prefix}b"), signing_key)
    store.put_blob("x", b"1")
    store.move_pointer("x", 0, {"version": "1"})
    store.save_snapshot("x", None, 1, b"1")
    assert (other.get_blob("x"), other.pointer("x"), other.load_snapshot("x")) == (None, {}, None)


CALLS: dict[str, Callable[[Store], Any]] = {
    "ping": lambda store: store.ping(),
    "put_blob": lambda store: store.put_blob("x", b""),
    "get_blob": lambda store: store.get_blob("x"),
    "has_blob": lambda store: store.has_blob("x"),
    "pointer": lambda store: store.pointer("x"),
    "move_pointer": lambda store: store.move_pointer("x", 0, {"version": "1"}),
    "publish": lambda store: store.publish("x", "y"),
    "load_snapshot": lambda store: store.load_snapshot("x"),
    "save_snapshot": lambda store: store.save_snapshot("x", None, 1, b""),
    "pending": lambda store: list(store.pending(0)),
    "drop_pending": lambda store: store.drop_pending(0),
}


@pytest.mark.parametrize("away", ["kill", "freeze"])
def test_redis_away_is_one_clear_line(own_redis: RedisServer, signing_key: Secret, away: str) -> None:
    """Every call says in one line that Redis is away, without the password, and works again when it is back."""
    url = own_redis.url.replace("redis://", "redis://:hunter2@")
    plain = Store(RedisSettings(url=own_redis.url), signing_key, timeout_seconds=0.3)
    secret = Store(RedisSettings(url=url), signing_key, timeout_seconds=0.3)
    plain.ping()
    getattr(own_redis, away)()
    for name, call in CALLS.items():
        for store in (plain, secret):
            with pytest.raises(UnavailableError) as caught:
                call(store)
            message = str(caught.value)
            assert f"127.0.0.1:{own_redis.port}" in message, name
            assert "\n" not in message, name
            assert "hunter2" not in message, name
    own_redis.thaw()
    own_redis.start()
    plain.ping()


def test_a_listener_outlives_redis(own_redis: RedisServer, signing_key: Secret) -> None:
    """A listener yields None while Redis is away and hears what is published after it came back."""
    store = Store(RedisSettings(url=own_redis.url), signing_key, timeout_seconds=0.3)
    heard = store.listen("swaps", 0.05)
    assert next(heard) is None
    own_redis.kill()
    assert [next(heard) for _ in range(3)] == [None] * 3
    own_redis.start()
    assert next(heard) is None
    store.publish("swaps", "fraud 2")
    assert next(text for text in heard if text is not None) == "fraud 2"
    heard.close()


def test_a_restart_while_a_snapshot_is_written_is_no_fence(signing_key: Secret, redis_server: RedisServer) -> None:
    """Redis killed again and again under a writing worker is away or not; it never looks like another worker."""
    done = threading.Event()
    fenced: list[FencedError] = []

    def write(store: Store) -> None:
        while not done.is_set():
            try:
                stored = store.load_snapshot("judge/0")
                offset = stored[0] if stored else None
                store.save_snapshot("judge/0", offset, (offset or 0) + 1, bytes(10_000))
            except UnavailableError:
                continue
            except FencedError as error:
                fenced.append(error)

    with RedisServer(durable=True) as server:
        store = Store(RedisSettings(url=server.url), signing_key, timeout_seconds=0.5)
        writer = threading.Thread(target=write, args=(store,))
        writer.start()
        for _ in range(20):
            written = store.load_snapshot("judge/0")
            server.kill()
            server.start()
            assert (store.load_snapshot("judge/0") or (0,))[0] >= (written or (0,))[0]
        done.set()
        writer.join()
    assert fenced == []


def test_a_full_redis_says_so(signing_key: Secret, redis_server: RedisServer) -> None:
    """A Redis that may not take more memory is reported as refusing, in one line without the payload."""
    with RedisServer(memory_mb=4) as small:
        store = Store(RedisSettings(url=small.url), signing_key)

        def fill() -> None:
            for number in range(100):
                store.put_blob(f"model/fraud/{number}", b"payload " * 10_000)

        with pytest.raises(UnavailableError, match=r"refuses: .*maxmemory") as caught:
            fill()
    assert "\n" not in str(caught.value)
    assert "payload" not in str(caught.value)
