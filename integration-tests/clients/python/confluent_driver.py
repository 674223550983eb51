"""confluent-kafka: librdkafka from Python."""

import sys
import threading

import confluent_kafka
from confluent_kafka import (OFFSET_BEGINNING, OFFSET_INVALID, TIMESTAMP_CREATE_TIME, Consumer, KafkaException, Producer,
                             TopicPartition)
from confluent_kafka.admin import AdminClient

import job

GROUPS = {
    "range": {"partition.assignment.strategy": "range"},
    "cooperative": {"partition.assignment.strategy": "cooperative-sticky"},
    "static": {"partition.assignment.strategy": "range"},
    "consumer": {"group.protocol": "consumer"},
}


def told(message):
    kind, timestamp = message.timestamp()
    assert kind == TIMESTAMP_CREATE_TIME
    return job.record(message.partition(), message.offset(), message.key(), message.value(), message.headers(), timestamp)


def error_name(error):
    """The name of the error a client call was refused with."""
    return error.name()


class Driver:
    def __init__(self, bootstrap):
        self.base = {"bootstrap.servers": bootstrap}

    def about(self):
        return {
            "client": "confluent-kafka",
            "version": f"{confluent_kafka.__version__} (librdkafka {confluent_kafka.libversion()[0]})",
            "codecs": ["none", "gzip", "snappy", "lz4", "zstd"],
            "groups": list(GROUPS),
            "transactions": True,
        }

    def cluster(self):
        seen = AdminClient(self.base).list_topics(timeout=30)
        return {"nodes": sorted([node.id, node.port] for node in seen.brokers.values()), "id": seen.cluster_id}

    def produce(self, topic, records, codec="none", transactional_id=None, **extra):
        settings = {"compression.type": codec, "linger.ms": 20, "enable.idempotence": True}
        producer = Producer({**self.base, **settings, **extra})
        return self._send(producer, topic, records)

    def _send(self, producer, topic, records):
        landed = [None] * len(records)

        def landing(at):
            def noted(error, message):
                landed[at] = error.name() if error else [message.partition(), message.offset()]
            return noted

        for at, each in enumerate(records):
            producer.produce(topic, partition=each["p"], key=job.to_bytes(each["k"]), value=job.to_bytes(each["v"]),
                             headers=job.headers_of(each), timestamp=each["t"], on_delivery=landing(at))
        producer.flush(job.PATIENCE_S)
        return landed

    def transact(self, topic, records, transactional_id, abort=True):
        producer = Producer({**self.base, "transactional.id": transactional_id, "compression.type": "lz4"})
        producer.init_transactions(30)
        half = len(records) // 2 if abort else len(records)
        answers = []
        for part, end in ((records[:half], producer.commit_transaction), (records[half:], producer.abort_transaction)):
            if not part:
                break
            producer.begin_transaction()
            answers += self._send(producer, topic, part)
            end(30)
        return answers

    def _consumer(self, group, **extra):
        return Consumer({**self.base, "group.id": group, "enable.auto.commit": False, "auto.offset.reset": "earliest",
                         "enable.partition.eof": False, **extra})

    def read(self, topic, partitions, enough, committed=False):
        consumer = self._consumer("unused", **{"isolation.level": "read_committed" if committed else "read_uncommitted"})
        consumer.assign([TopicPartition(topic, at, OFFSET_BEGINNING) for at in range(partitions)])
        seen, deadline = [], job.Deadline(f"{enough} records")
        while len(seen) < enough:
            deadline.check(seen)
            for message in consumer.consume(500, 0.2):
                if message.error():
                    raise KafkaException(message.error())
                seen.append(told(message))
        consumer.close()
        return seen

    def group(self, topic, group, protocol, enough):
        seen, guard, failures = {}, threading.Lock(), []
        deadline = job.Deadline(f"{enough} records of {protocol}")

        def member(at):
            extra = dict(GROUPS[protocol])
            if protocol == "static":
                extra["group.instance.id"] = f"{group}-{at}"
            consumer = self._consumer(group, **extra)
            consumer.subscribe([topic])
            try:
                fresh = {}
                while len(seen) < enough:
                    deadline.check()
                    for message in consumer.consume(50, 0.1):
                        if message.error():
                            raise KafkaException(message.error())
                        fresh[message.partition(), message.offset()] = told(message)
                    if fresh and self._commit(consumer):
                        with guard:
                            seen.update(fresh)
                        fresh = {}
            except Exception as error:
                failures.append(error)
            finally:
                consumer.close()

        members = [threading.Thread(target=member, args=(at,)) for at in range(2)]
        [each.start() for each in members]
        [each.join() for each in members]
        if failures:
            raise failures[0]
        return [seen[at] for at in sorted(seen)]

    @staticmethod
    def _commit(consumer):
        try:
            consumer.commit(asynchronous=False)
            return True
        except KafkaException as error:
            # A rebalance came between: the next owner reads again what was not committed.
            print("commit:", error, file=sys.stderr)
            return False

    def committed(self, topic, group, partitions):
        consumer = self._consumer(group)
        asked = consumer.committed([TopicPartition(topic, at) for at in range(partitions)], timeout=30)
        consumer.close()
        return [None if each.offset == OFFSET_INVALID else each.offset for each in asked]

    def errors(self, unknown, small, trimmed, large):
        quick = {"message.timeout.ms": 8000, "topic.metadata.propagation.max.ms": 1000, "message.max.bytes": 10_000_000}
        one = {"p": 0, "k": None, "v": large, "h": [], "t": 1}
        answers = {"produce_unknown": self.produce(unknown, [{**one, "v": ""}], **quick)[0],
                   "produce_large": self.produce(small, [one], **quick)[0],
                   "produce_too_large_for_client": self._too_large(small)}
        for reset in ("error", "earliest", "latest"):
            answers["reset_" + reset] = self._first(trimmed, reset)
        answers["consume_unknown"] = self._first(unknown, "earliest", subscribe=True)
        return answers

    def _too_large(self, topic):
        try:
            Producer({**self.base, "message.max.bytes": 1000}).produce(topic, value=b"x" * 5000)
        except KafkaException as error:
            return error.args[0].name()

    def _first(self, topic, reset, subscribe=False):
        consumer = self._consumer("unused", **{"auto.offset.reset": reset, "allow.auto.create.topics": False})
        if subscribe:
            consumer.subscribe([topic])
        else:
            consumer.assign([TopicPartition(topic, 0, 1_000_000)])
        message = consumer.poll(15 if reset != "latest" else 3)
        consumer.close()
        if message is None:
            return "nothing"
        return message.error().name() if message.error() else message.offset()

    def idle(self, topic, group, enough):
        self.idler = self._consumer(group, **{"isolation.level": "read_committed"})
        self.idler.subscribe([topic])
        deadline, seen = job.Deadline(f"{enough} records before idling"), 0
        while seen < enough:
            deadline.check()
            seen += self.idler.poll(0.1) is not None
        self.idler.commit(asynchronous=False)

    def idle_end(self, topic, group, partitions):
        for _ in range(20):
            assert self.idler.poll(0.1) is None
        try:
            self.idler.commit(asynchronous=False)
        except KafkaException as error:
            # There is nothing to commit when the position has not moved: not an error to whoever runs idle.
            assert error.args[0].name() == "_NO_OFFSET", error
        self.idler.close()
        return self.committed(topic, group, partitions)

    def relay(self, topic, to, group, protocol, transactional_id=None):
        def turn(relay):
            extra = {"linger.ms": 5}
            if transactional_id:
                extra["transactional.id"] = transactional_id
                # When all brokers were away at once it begins anew from its bootstrap, and a transaction in hand never goes on.
                extra["metadata.recovery.strategy"] = "none"
            producer = Producer({**self.base, "enable.idempotence": True, **extra})
            if transactional_id:
                producer.init_transactions(60)
            consumer = self._consumer(group, **GROUPS[protocol], **{"isolation.level": "read_committed"})
            consumer.subscribe([topic])
            try:
                while not relay.stopping.is_set():
                    self._relay_some(consumer, producer, to, relay, transactional_id)
            finally:
                consumer.close()

        self.relaying = job.Background(turn)

    def _relay_some(self, consumer, producer, to, relay, transactional):
        batch = consumer.consume(200, 0.1)
        for message in batch:
            if message.error() and not message.error().retriable():
                raise KafkaException(message.error())
        batch = [message for message in batch if not message.error()]
        if not batch:
            return
        failures = []
        if transactional:
            producer.begin_transaction()
        for message in batch:
            producer.produce(to, partition=message.partition(), key=message.key(), value=message.value(),
                             on_delivery=lambda error, _: failures.append(error) if error else None)
        producer.flush(job.PATIENCE_S)
        if failures:
            raise KafkaException(failures[0])
        if transactional:
            producer.send_offsets_to_transaction(consumer.position(consumer.assignment()), consumer.consumer_group_metadata())
            producer.commit_transaction()
        else:
            consumer.commit(asynchronous=False)
        relay.done += len(batch)

    def relayed(self):
        return self.relaying.done

    def relay_end(self):
        return self.relaying.end()


job.serve(Driver(sys.argv[1]))
