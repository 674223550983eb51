"""aiokafka: the asyncio client."""

import asyncio
import sys
import threading

import aiokafka
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor

import job

GROUPS = {
    "range": [RangePartitionAssignor],
    "roundrobin": [RoundRobinPartitionAssignor],
    "sticky": [StickyPartitionAssignor],
    "static": [RangePartitionAssignor],
}


def told(record):
    assert record.timestamp_type == 0
    return job.record(record.partition, record.offset, record.key, record.value, record.headers, record.timestamp)


class Driver:
    """The commands as coroutines, on a loop of its own beside the one that reads commands."""

    def __init__(self, bootstrap):
        self.base = {"bootstrap_servers": bootstrap}
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()

    def __getattribute__(self, name):
        found = object.__getattribute__(self, name)
        if name.startswith("_") or not asyncio.iscoroutinefunction(found):
            return found
        return lambda **arguments: asyncio.run_coroutine_threadsafe(found(**arguments), self.loop).result()

    def about(self):
        return {
            "client": "aiokafka",
            "version": aiokafka.__version__,
            "codecs": ["none", "gzip", "snappy", "lz4", "zstd"],
            "groups": list(GROUPS),
            "transactions": True,
        }

    async def cluster(self):
        admin = AIOKafkaAdminClient(**self.base)
        await admin.start()
        seen = await admin.describe_cluster()
        await admin.close()
        return {"nodes": sorted([node["node_id"], node["port"]] for node in seen["brokers"]), "id": seen["cluster_id"]}

    async def produce(self, topic, records, codec="none"):
        return await self._produce(topic, records, compression_type=None if codec == "none" else codec)

    async def _produce(self, topic, records, **extra):
        producer = AIOKafkaProducer(**{**self.base, "linger_ms": 20, "enable_idempotence": True, **extra})
        await producer.start()
        try:
            return await self._send(producer, topic, records)
        finally:
            await producer.stop()

    async def _send(self, producer, topic, records):
        sent = []
        for each in records:
            try:
                sent.append(await producer.send(topic, partition=each["p"], key=job.to_bytes(each["k"]),
                                                value=job.to_bytes(each["v"]), headers=job.headers_of(each),
                                                timestamp_ms=each["t"]))
            except Exception as error:
                sent.append(error)
        return [await self._landed(each) for each in sent]

    @staticmethod
    async def _landed(sent):
        if isinstance(sent, Exception):
            return job.name_of(sent)
        try:
            landed = await asyncio.wait_for(sent, job.PATIENCE_S)
            return [landed.partition, landed.offset]
        except Exception as error:
            return job.name_of(error)

    async def transact(self, topic, records, transactional_id):
        producer = AIOKafkaProducer(**self.base, transactional_id=transactional_id, compression_type="zstd")
        await producer.start()
        half = len(records) // 2
        answers = []
        for part, end in ((records[:half], producer.commit_transaction), (records[half:], producer.abort_transaction)):
            await producer.begin_transaction()
            answers += await self._send(producer, topic, part)
            await end()
        await producer.stop()
        return answers

    def _consumer(self, group=None, *topics, **extra):
        return AIOKafkaConsumer(*topics, **{**self.base, "group_id": group, "enable_auto_commit": False,
                                            "auto_offset_reset": "earliest", **extra})

    async def read(self, topic, partitions, enough, committed=False):
        consumer = self._consumer(isolation_level="read_committed" if committed else "read_uncommitted")
        consumer.assign([TopicPartition(topic, at) for at in range(partitions)])
        await consumer.start()
        seen, deadline = [], job.Deadline(f"{enough} records")
        while len(seen) < enough:
            deadline.check(seen)
            for batch in (await consumer.getmany(timeout_ms=200)).values():
                seen += map(told, batch)
        await consumer.stop()
        return seen

    async def group(self, topic, group, protocol, enough):
        seen = {}
        deadline = job.Deadline(f"{enough} records of {protocol}")

        async def member(at):
            instance = f"{group}-{at}" if protocol == "static" else None
            consumer = self._consumer(group, topic, partition_assignment_strategy=GROUPS[protocol],
                                      group_instance_id=instance)
            await consumer.start()
            try:
                fresh = {}
                while len(seen) < enough:
                    deadline.check()
                    for batch in (await consumer.getmany(timeout_ms=100, max_records=50)).values():
                        fresh.update({(each.partition, each.offset): told(each) for each in batch})
                    if fresh and await self._commit(consumer):
                        seen.update(fresh)
                        fresh = {}
            finally:
                await consumer.stop()

        await asyncio.gather(member(0), member(1))
        return [seen[at] for at in sorted(seen)]

    @staticmethod
    async def _commit(consumer):
        try:
            await consumer.commit()
            return True
        except aiokafka.errors.KafkaError as error:
            # A rebalance came between: the next owner reads again what was not committed.
            print("commit:", repr(error), file=sys.stderr)
            return False

    async def committed(self, topic, group, partitions):
        consumer = self._consumer(group)
        await consumer.start()
        offsets = [await consumer.committed(TopicPartition(topic, at)) for at in range(partitions)]
        await consumer.stop()
        return offsets

    async def errors(self, unknown, small, trimmed, large):
        one = {"p": 0, "k": None, "v": large, "h": [], "t": 1}
        answers = {"produce_unknown": (await self._produce(unknown, [{**one, "v": ""}], request_timeout_ms=5000))[0],
                   "produce_large": (await self._produce(small, [one], max_request_size=10_000_000))[0],
                   "produce_too_large_for_client": (await self._produce(small, [one], max_request_size=1000))[0]}
        for reset in ("none", "earliest", "latest"):
            answers["reset_" + reset] = await self._first(trimmed, reset)
        return answers

    async def _first(self, topic, reset):
        consumer = self._consumer(auto_offset_reset=reset)
        partition = TopicPartition(topic, 0)
        consumer.assign([partition])
        await consumer.start()
        consumer.seek(partition, 1_000_000)
        try:
            return (await asyncio.wait_for(consumer.getone(), 10 if reset != "latest" else 3)).offset
        except asyncio.TimeoutError:
            return "nothing"
        except Exception as error:
            return job.name_of(error)
        finally:
            await consumer.stop()

    async def idle(self, topic, group, enough):
        self.idler = self._consumer(group, topic, isolation_level="read_committed")
        await self.idler.start()
        deadline, seen = job.Deadline(f"{enough} records before idling"), 0
        while seen < enough:
            deadline.check()
            seen += sum(map(len, (await self.idler.getmany(timeout_ms=100)).values()))
        await self.idler.commit()

    async def idle_end(self, topic, group, partitions):
        for _ in range(20):
            assert not await self.idler.getmany(timeout_ms=100)
        await self.idler.commit()
        await self.idler.stop()
        consumer = self._consumer(group)
        await consumer.start()
        offsets = [await consumer.committed(TopicPartition(topic, at)) for at in range(partitions)]
        await consumer.stop()
        return offsets

    def relay(self, topic, to, group, protocol, transactional_id=None):
        async def turn(relay):
            producer = AIOKafkaProducer(**self.base, linger_ms=5, enable_idempotence=True, transactional_id=transactional_id)
            await producer.start()
            consumer = self._consumer(group, topic, partition_assignment_strategy=GROUPS[protocol],
                                      isolation_level="read_committed")
            await consumer.start()
            try:
                while not relay.stopping.is_set():
                    await self._relay_some(consumer, producer, to, relay, transactional_id and group)
            finally:
                await consumer.stop()
                await producer.stop()

        self.relaying = job.Background(lambda relay: asyncio.run_coroutine_threadsafe(turn(relay), self.loop).result())

    async def _relay_some(self, consumer, producer, to, relay, transactional_group):
        batches = await consumer.getmany(timeout_ms=100, max_records=200)
        batch = [each for part in batches.values() for each in part]
        if not batch:
            return
        if transactional_group:
            await producer.begin_transaction()
        sent = [await producer.send(to, partition=each.partition, key=each.key, value=each.value) for each in batch]
        for each in sent:
            await asyncio.wait_for(each, job.PATIENCE_S)
        if transactional_group:
            ends = {part: records[-1].offset + 1 for part, records in batches.items() if records}
            await producer.send_offsets_to_transaction(ends, transactional_group)
            await producer.commit_transaction()
        else:
            await consumer.commit()
        relay.done += len(batch)

    def relayed(self):
        return self.relaying.done

    def relay_end(self):
        return self.relaying.end()


job.serve(Driver(sys.argv[1]))
