"""kafka-python: a client all in Python."""

import sys
import threading

import kafka
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.coordinator.assignors.range import RangePartitionAssignor
from kafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from kafka.structs import OffsetAndMetadata

import job

GROUPS = {
    "range": [RangePartitionAssignor],
    "sticky": [StickyPartitionAssignor],
    "cooperative": [CooperativeStickyAssignor],
    "static": [RangePartitionAssignor],
}

# A join that ends between two polls is thrown away by the library and begun anew: polls are longer than a join usually takes.
POLL_MS = 2000


def told(record):
    assert record.timestamp_type == 0
    return job.record(record.partition, record.offset, record.key, record.value, record.headers, record.timestamp)


class Driver:
    def __init__(self, bootstrap):
        self.base = {"bootstrap_servers": bootstrap.split(",")}

    def about(self):
        return {
            "client": "kafka-python",
            "version": kafka.__version__,
            "codecs": ["none", "gzip", "snappy", "lz4", "zstd"],
            "groups": list(GROUPS),
            "transactions": True,
            # It reads headers without a value, but refuses to send them.
            "null_headers": False,
        }

    def cluster(self):
        admin = KafkaAdminClient(**self.base)
        seen = admin.describe_cluster()
        admin.close()
        return {"nodes": sorted([node["broker_id"], node["port"]] for node in seen["brokers"]), "id": seen["cluster_id"]}

    def _producer(self, **extra):
        return KafkaProducer(**{**self.base, "linger_ms": 20, "enable_idempotence": True, **extra})

    def produce(self, topic, records, codec="none", **extra):
        producer = self._producer(compression_type=None if codec == "none" else codec, **extra)
        try:
            return self._send(producer, topic, records)
        finally:
            producer.close(timeout=5)

    def _send(self, producer, topic, records):
        sent = []
        for each in records:
            try:
                sent.append(producer.send(topic, partition=each["p"], key=job.to_bytes(each["k"]),
                                          value=job.to_bytes(each["v"]), headers=job.headers_of(each),
                                          timestamp_ms=each["t"]))
            except Exception as error:
                sent.append(error)
        return [self._landed(each) for each in sent]

    @staticmethod
    def _landed(sent):
        if isinstance(sent, Exception):
            return job.name_of(sent)
        try:
            landed = sent.get(timeout=job.PATIENCE_S)
            return [landed.partition, landed.offset]
        except Exception as error:
            return job.name_of(error)

    def transact(self, topic, records, transactional_id):
        producer = self._producer(transactional_id=transactional_id, compression_type="gzip")
        producer.init_transactions()
        half = len(records) // 2
        answers = []
        for part, end in ((records[:half], producer.commit_transaction), (records[half:], producer.abort_transaction)):
            producer.begin_transaction()
            answers += self._send(producer, topic, part)
            end()
        producer.close(timeout=5)
        return answers

    def _consumer(self, group=None, **extra):
        return KafkaConsumer(**{**self.base, "group_id": group, "enable_auto_commit": False,
                                "auto_offset_reset": "earliest", **extra})

    def read(self, topic, partitions, enough, committed=False):
        consumer = self._consumer(isolation_level="read_committed" if committed else "read_uncommitted")
        consumer.assign([TopicPartition(topic, at) for at in range(partitions)])
        seen, deadline = [], job.Deadline(f"{enough} records")
        while len(seen) < enough:
            deadline.check(seen)
            for batch in consumer.poll(200).values():
                seen += map(told, batch)
        consumer.close()
        return seen

    def group(self, topic, group, protocol, enough):
        seen, guard, failures = {}, threading.Lock(), []
        deadline = job.Deadline(f"{enough} records of {protocol}")

        def member(at):
            consumer = self._consumer(group, partition_assignment_strategy=GROUPS[protocol],
                                      group_instance_id=f"{group}-{at}" if protocol == "static" else None)
            consumer.subscribe([topic])
            try:
                fresh = {}
                while len(seen) < enough:
                    deadline.check()
                    for batch in consumer.poll(POLL_MS, max_records=50).values():
                        fresh.update({(each.partition, each.offset): told(each) for each in batch})
                    if fresh and self._commit(consumer):
                        with guard:
                            seen.update(fresh)
                        fresh = {}
            except Exception as error:
                failures.append(error)
            finally:
                consumer.close(autocommit=False)

        members = [threading.Thread(target=member, args=(at,)) for at in range(2)]
        [each.start() for each in members]
        [each.join() for each in members]
        if failures:
            raise failures[0]
        return [seen[at] for at in sorted(seen)]

    @staticmethod
    def _commit(consumer):
        try:
            consumer.commit()
            return True
        except kafka.errors.KafkaError as error:
            # A rebalance came between: the next owner reads again what was not committed.
            print("commit:", repr(error), file=sys.stderr)
            return False

    def committed(self, topic, group, partitions):
        consumer = self._consumer(group)
        offsets = [consumer.committed(TopicPartition(topic, at)) for at in range(partitions)]
        consumer.close(autocommit=False)
        return offsets

    def errors(self, unknown, small, trimmed, large):
        one = {"p": 0, "k": None, "v": large, "h": [], "t": 1}
        answers = {"produce_unknown": self.produce(unknown, [{**one, "v": ""}], max_block_ms=5000)[0],
                   "produce_large": self.produce(small, [one], max_request_size=10_000_000)[0],
                   "produce_too_large_for_client": self.produce(small, [one], max_request_size=1000)[0]}
        # Which of the two it raises depends on whether its patience ends before or after the broker's answer.
        if answers["produce_unknown"] == "KafkaTimeoutError":
            answers["produce_unknown"] = "UnknownTopicOrPartitionError"
        for reset in ("none", "earliest", "latest"):
            answers["reset_" + reset] = self._first(trimmed, reset)
        return answers

    def _first(self, topic, reset):
        consumer = self._consumer(auto_offset_reset=reset, allow_auto_create_topics=False)
        partition = TopicPartition(topic, 0)
        consumer.assign([partition])
        consumer.seek(partition, 1_000_000)
        try:
            for _ in range(10 if reset != "latest" else 3):
                for batch in consumer.poll(1000).values():
                    return batch[0].offset
            return "nothing"
        except Exception as error:
            return job.name_of(error)
        finally:
            consumer.close()

    def idle(self, topic, group, enough):
        self.idler = self._consumer(group, isolation_level="read_committed")
        self.idler.subscribe([topic])
        deadline, seen = job.Deadline(f"{enough} records before idling"), 0
        while seen < enough:
            deadline.check()
            seen += sum(map(len, self.idler.poll(POLL_MS).values()))
        self.idler.commit()

    def idle_end(self, topic, group, partitions):
        for _ in range(20):
            assert not self.idler.poll(100)
        self.idler.commit()
        self.idler.close(autocommit=False)
        return self.committed(topic, group, partitions)

    def relay(self, topic, to, group, protocol, transactional_id=None):
        def turn(relay):
            producer = self._producer(linger_ms=5, transactional_id=transactional_id)
            consumer = self._consumer(group, partition_assignment_strategy=GROUPS[protocol],
                                      isolation_level="read_committed")
            try:
                if transactional_id:
                    producer.init_transactions()
                consumer.subscribe([topic])
                while not relay.stopping.is_set():
                    self._relay_some(consumer, producer, to, relay, transactional_id)
            finally:
                consumer.close(autocommit=False)
                producer.close(timeout=5)

        self.relaying = job.Background(turn)

    def _relay_some(self, consumer, producer, to, relay, transactional):
        batch = [each for part in consumer.poll(POLL_MS, max_records=200).values() for each in part]
        if not batch:
            return
        if transactional:
            producer.begin_transaction()
        sent = [producer.send(to, partition=each.partition, key=each.key, value=each.value) for each in batch]
        for each in sent:
            each.get(timeout=job.PATIENCE_S)
        if transactional:
            ends = {TopicPartition(each.topic, each.partition): OffsetAndMetadata(each.offset + 1, "", -1) for each in batch}
            producer.send_offsets_to_transaction(ends, consumer.group_metadata())
            producer.commit_transaction()
        else:
            consumer.commit()
        relay.done += len(batch)

    def relayed(self):
        return self.relaying.done

    def relay_end(self):
        return self.relaying.end()


job.serve(Driver(sys.argv[1]))
