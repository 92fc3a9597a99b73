"""Checks that kcat and confluent-kafka read from a broker what they and each other wrote. See interop.sh."""

import os
import re
import subprocess
import sys
import time
import uuid
from pathlib import Path

from confluent_kafka import OFFSET_BEGINNING, Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

BROKER = sys.argv[1]
TIMEOUT = 30  # seconds, for each step
BIG = 10 << 20  # bytes, the largest record a reader of the stream takes
CLIENT = {"bootstrap.servers": BROKER, "socket.timeout.ms": 10_000, "enable.metrics.push": False}

admin = AdminClient(CLIENT)


def fail(what):
    sys.exit(f"interop: FAILED: {what}")


def step(what):
    print(f"interop: {what}", flush=True)


def same(what, got, want):
    if got == want:
        return
    if len(got) != len(want):
        fail(f"{what}: {len(got)} records, want {len(want)}")
    for i, (g, w) in enumerate(zip(got, want)):
        if g != w:
            fail(f"{what}: record {i} is {g!r:.200}, want {w!r:.200}")


def topic(partitions=1):
    name = f"interop-{uuid.uuid4().hex[:12]}"
    admin.create_topics([NewTopic(name, partitions, 1)])[name].result(TIMEOUT)
    return name


def kcat(*args, stdin=None):
    done = subprocess.run(["kcat", "-b", BROKER, *args], input=stdin, capture_output=True, timeout=TIMEOUT)
    if done.returncode != 0:
        fail(f"kcat {' '.join(args)}: exit code {done.returncode}: {done.stderr.decode(errors='replace')}")
    return done.stdout


def kcat_read(name, *args):
    """All records of a topic as (partition, offset, key, value); kcat prints sizes first, so any byte may be in them."""
    out = kcat("-C", "-t", name, "-o", "beginning", "-e", "-q", "-D", "", "-f", "%p %o %K %S\n%k%s", *args)
    records = []
    while out:
        line, out = out.split(b"\n", 1)
        partition, offset, key_size, size = (int(n) for n in line.split())
        key_size = max(key_size, 0)  # -1: no key
        records.append((partition, offset, out[:key_size], out[key_size : key_size + size]))
        out = out[key_size + size :]
    return sorted(records)


def python_write(name, records, **config):
    """Writes (key, value) and returns (partition, offset, key, value) as acknowledged."""
    acked, errors = [], []

    def on_delivery(err, msg):
        if err:
            errors.append(str(err))
        else:
            acked.append((msg.partition(), msg.offset(), msg.key() or b"", msg.value()))

    producer = Producer(CLIENT | {"message.max.bytes": BIG + 4096} | config)
    for key, value in records:
        producer.produce(name, value=value, key=key, on_delivery=on_delivery)
        producer.poll(0)
    left = producer.flush(TIMEOUT)
    if left or errors:
        fail(f"Python wrote to {name}: {left} records without an answer, errors {errors}")
    return sorted(acked)


def python_read(name, count, group=None, commit=False, **config):
    """Reads count records, from the start of every partition or as the group says."""
    consumer = Consumer(
        CLIENT
        | {
            "group.id": group or f"interop-{uuid.uuid4().hex[:12]}",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "fetch.message.max.bytes": BIG + 4096,
        }
        | config
    )
    if group:
        consumer.subscribe([name])
    else:
        partitions = consumer.list_topics(name, TIMEOUT).topics[name].partitions
        consumer.assign([TopicPartition(name, p, OFFSET_BEGINNING) for p in partitions])
    records, deadline = [], time.monotonic() + TIMEOUT
    while len(records) < count:
        msg = consumer.poll(0.5)
        if msg is None:
            if time.monotonic() > deadline:
                fail(f"Python read {len(records)} of {count} records of {name} in {TIMEOUT} s")
        elif msg.error():
            fail(f"Python read {name}: {msg.error()}")
        else:
            records.append((msg.partition(), msg.offset(), msg.key() or b"", msg.value()))
    if commit:
        consumer.commit(asynchronous=False)
    consumer.close()
    return sorted(records)


def kcat_to_python():
    name = topic(3)
    lines = [(f"key-{i % 7}".encode(), f"value {i}".encode()) for i in range(500)]
    kcat("-P", "-t", name, "-K", ":", stdin=b"".join(k + b":" + v + b"\n" for k, v in lines))
    step(f"kcat wrote {len(lines)} records with keys to {name}, 3 partitions")
    got = python_read(name, len(lines))
    same("kcat to Python", sorted(r[2:] for r in got), sorted(lines))
    for partition in range(3):
        mine = [r for r in got if r[0] == partition]
        same(f"offsets of partition {partition}", [r[1] for r in mine], list(range(len(mine))))
    same("kcat to kcat", kcat_read(name), got)
    step("Python and kcat read them: same keys, values, partitions and offsets")


def python_to_kcat():
    name = topic()
    records = [(None, b"plain"), (b"", b"empty key"), (b"k\n:\x00\xff", b"any \x00 byte \n and \xff"), (b"k", b""), (None, os.urandom(BIG))]
    written = python_write(name, records)
    step(f"Python wrote {len(records)} records to {name}: binary, empty, and one of {BIG} bytes")
    same("Python to kcat", kcat_read(name, "-X", f"fetch.message.max.bytes={BIG + 4096}"), written)
    same("Python to Python", python_read(name, len(records)), written)
    step("kcat and Python read them byte for byte")


def compression():
    for codec in ("gzip", "snappy", "lz4", "zstd"):
        name = topic()
        written = python_write(name, [(b"k", f"{codec} {i} ".encode() * 50) for i in range(100)], **{"compression.type": codec})
        same(f"{codec}: Python to kcat", kcat_read(name), written)
        kcat("-P", "-t", name, "-z", codec, stdin=b"".join(b"%d\n" % i for i in range(100)))
        got = python_read(name, 200)[100:]
        same(f"{codec}: kcat to Python", [r[3] for r in got], [b"%d" % i for i in range(100)])
    step("gzip, snappy, lz4 and zstd go both ways")


def idempotent():
    name = topic()
    records = [(b"k", b"%d" % i) for i in range(2000)]
    written = python_write(name, records, **{"enable.idempotence": True, "linger.ms": 1})
    same("idempotent producer", [r[2:] for r in written], records)
    same("idempotent producer, read", kcat_read(name), written)
    step(f"an idempotent producer wrote {len(records)} records in order")


def group():
    name, group_id = topic(2), f"interop-{uuid.uuid4().hex[:12]}"
    first = python_write(name, [(b"%d" % i, b"first %d" % i) for i in range(50)])
    same("group, first member", python_read(name, len(first), group_id, commit=True), first)
    second = python_write(name, [(b"%d" % i, b"second %d" % i) for i in range(30)])
    same("group, next member", python_read(name, len(second), group_id), second)
    step("a consumer group goes on where it committed")


def offsets():
    name = topic()
    python_write(name, [(None, b"%d" % i) for i in range(10)])
    admin.delete_records([TopicPartition(name, 0, 4)])[TopicPartition(name, 0)].result(TIMEOUT)
    same("after delete records", [r[1] for r in kcat_read(name)], list(range(4, 10)))
    consumer = Consumer(CLIENT | {"group.id": "none"})
    same("watermarks", list(consumer.get_watermark_offsets(TopicPartition(name, 0), TIMEOUT)), [4, 10])
    consumer.close()
    same("kcat's query", [kcat("-Q", "-t", f"{name}:0:-1").split()[-1]], [b"10"])
    listing = kcat("-L", "-t", name).decode()
    if f'topic "{name}" with 1 partitions' not in listing:
        fail(f"kcat lists {listing}")
    step("delete records, watermarks and metadata agree")


def documented():
    """Runs what docs/embedded-broker.md tells users to, against a topic of this run."""
    name = topic(2)
    python_write(name, [(b"thread-%d" % i, b"x" * 100) for i in range(20)])
    doc = (Path(__file__).parent.parent / "docs" / "embedded-broker.md").read_text()
    doc = doc.replace("127.0.0.1:9092", BROKER).replace("dashstream-quality", name).replace("poll(10)", "poll(5)")
    shells = [line for block in re.findall(r"```sh\n(.*?)```", doc, re.S) for line in block.splitlines() if line]
    pythons = re.findall(r"```python\n(.*?)```", doc, re.S)
    if len(shells) < 2 or not pythons:
        fail("docs/embedded-broker.md has no examples to run")
    for command in [["sh", "-c", line] for line in shells] + [[sys.executable, "-c", code] for code in pythons]:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT)
        if done.returncode != 0:
            fail(f"documented command {command[-1]!r}: exit code {done.returncode}: {done.stderr}")
        if " -L" in command[-1]:
            same("documented listing", [f'topic "{name}"' in done.stdout], [True])
        else:
            same("documented reader", [line.endswith(" bytes") for line in done.stdout.splitlines()], [True] * 20)
    step(f"the {len(shells) + len(pythons)} examples of docs/embedded-broker.md run")


def main():
    step(f"broker {BROKER}, {kcat_version()}, confluent-kafka {__import__('confluent_kafka').__version__}")
    for check in (kcat_to_python, python_to_kcat, compression, idempotent, group, offsets, documented):
        check()
    step("ok")


def kcat_version():
    out = subprocess.run(["kcat", "-V"], capture_output=True, timeout=TIMEOUT).stdout.decode()
    return next((line.strip() for line in out.splitlines() if line.startswith("Version")), "kcat")


main()
