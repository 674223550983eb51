import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentSkipListMap;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.consumer.CommitFailedException;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.RetriableException;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.record.TimestampType;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.utils.AppInfoParser;

/** Drives the Java client: reads one command a line and answers one line of JSON each. */
public final class Driver {
    static final ObjectMapper JSON = new ObjectMapper();
    /** How long one command may wait for the cluster before the driver gives up and says so. */
    static final Duration PATIENCE = Duration.ofSeconds(60);
    static final Duration SHORT = Duration.ofMillis(100);

    final String bootstrap;
    private KafkaConsumer<byte[], byte[]> idler;
    private Relay relay;

    private Driver(String bootstrap) {
        this.bootstrap = bootstrap;
    }

    public static void main(String[] arguments) throws Exception {
        // Answers alone go to stdout: whatever logs writes elsewhere.
        PrintStream answers = System.out;
        System.setOut(System.err);
        Driver driver = new Driver(arguments[0]);
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            ObjectNode answer = JSON.createObjectNode();
            try {
                answer.set("ok", JSON.valueToTree(driver.answer(JSON.readTree(line))));
            } catch (Throwable error) {
                error.printStackTrace();
                answer.put("failed", error.toString());
            }
            answers.println(JSON.writeValueAsString(answer));
            answers.flush();
        }
        // Threads of clients that hang must not keep a driver alive that nobody talks to any more.
        System.exit(0);
    }

    private Object answer(JsonNode command) throws Exception {
        switch (command.get("do").asText()) {
            case "about": return about();
            case "cluster": return cluster();
            case "produce": return produce(command);
            case "transact": return transact(command);
            case "read": return read(command);
            case "group": return group(command);
            case "committed": return committed(command);
            case "errors": return new Errors(this).answer(command);
            case "idle": return idle(command);
            case "idle_end": return idleEnd(command);
            case "relay": relay = new Relay(this, command); return null;
            case "relayed": return relay.done();
            case "relay_end": return relay.end();
            case "share": return Share.answer(bootstrap, command.get("topic").asText());
            default: throw new IllegalArgumentException("no such command");
        }
    }

    private Object about() {
        List<String> groups = new ArrayList<>(List.of("range", "cooperative", "static"));
        if (!AppInfoParser.getVersion().startsWith("3.")) {
            groups.add("consumer");
        }
        return Map.of("client", "Java", "version", AppInfoParser.getVersion(), "transactions", true,
            "codecs", List.of("none", "gzip", "snappy", "lz4", "zstd"), "groups", groups);
    }

    private Object cluster() throws Exception {
        try (Admin admin = Admin.create(settings())) {
            Map<Integer, Integer> nodes = new TreeMap<>();
            admin.describeCluster().nodes().get().forEach(node -> nodes.put(node.id(), node.port()));
            List<List<Integer>> listed = new ArrayList<>();
            nodes.forEach((id, port) -> listed.add(List.of(id, port)));
            return Map.of("nodes", listed, "id", admin.describeCluster().clusterId().get());
        }
    }

    Properties settings(String... extra) {
        Properties settings = new Properties();
        settings.put("bootstrap.servers", bootstrap);
        for (int at = 0; at < extra.length; at += 2) {
            settings.put(extra[at], extra[at + 1]);
        }
        return settings;
    }

    KafkaProducer<byte[], byte[]> producer(String... extra) {
        return new KafkaProducer<>(settings(extra), new ByteArraySerializer(), new ByteArraySerializer());
    }

    KafkaConsumer<byte[], byte[]> consumer(String... extra) {
        Properties settings = settings("enable.auto.commit", "false", "auto.offset.reset", "earliest",
            "allow.auto.create.topics", "false");
        for (int at = 0; at < extra.length; at += 2) {
            settings.put(extra[at], extra[at + 1]);
        }
        return new KafkaConsumer<>(settings, new ByteArrayDeserializer(), new ByteArrayDeserializer());
    }

    static byte[] bytes(JsonNode text) throws Exception {
        return text == null || text.isNull() ? null : text.binaryValue();
    }

    static ProducerRecord<byte[], byte[]> toKafka(String topic, JsonNode told) throws Exception {
        ProducerRecord<byte[], byte[]> record = new ProducerRecord<>(topic, told.get("p").asInt(), told.get("t").asLong(),
            bytes(told.get("k")), bytes(told.get("v")));
        for (JsonNode header : told.get("h")) {
            record.headers().add(header.get(0).asText(), bytes(header.get(1)));
        }
        return record;
    }

    static ObjectNode fromKafka(ConsumerRecord<byte[], byte[]> record) {
        if (record.timestampType() != TimestampType.CREATE_TIME) {
            throw new IllegalStateException("timestamp of " + record.timestampType());
        }
        ObjectNode told = JSON.createObjectNode();
        told.put("p", record.partition()).put("o", record.offset()).put("k", record.key()).put("v", record.value());
        ArrayNode headers = told.putArray("h");
        for (Header header : record.headers()) {
            headers.addArray().add(header.key()).add(header.value());
        }
        return told.put("t", record.timestamp());
    }

    private Object produce(JsonNode command) throws Exception {
        try (KafkaProducer<byte[], byte[]> producer =
                producer("compression.type", command.path("codec").asText("none"), "linger.ms", "20")) {
            return send(producer, command.get("topic").asText(), command.get("records"), 0, command.get("records").size());
        }
    }

    static List<Object> send(KafkaProducer<byte[], byte[]> producer, String topic, JsonNode records, int from, int to)
            throws Exception {
        List<Object> sent = new ArrayList<>();
        for (int at = from; at < to; at++) {
            try {
                sent.add(producer.send(toKafka(topic, records.get(at))));
            } catch (Exception error) {
                sent.add(error.getClass().getSimpleName());
            }
        }
        for (int at = 0; at < sent.size(); at++) {
            if (sent.get(at) instanceof Future<?> future) {
                sent.set(at, landed(future));
            }
        }
        return sent;
    }

    private static Object landed(Future<?> future) throws InterruptedException {
        try {
            RecordMetadata landed = (RecordMetadata) future.get();
            return List.of(landed.partition(), landed.offset());
        } catch (ExecutionException error) {
            return error.getCause().getClass().getSimpleName();
        }
    }

    private Object transact(JsonNode command) throws Exception {
        JsonNode records = command.get("records");
        String topic = command.get("topic").asText();
        int half = records.size() / 2;
        try (KafkaProducer<byte[], byte[]> producer =
                producer("transactional.id", command.get("transactional_id").asText(), "compression.type", "lz4")) {
            producer.initTransactions();
            producer.beginTransaction();
            List<Object> answers = send(producer, topic, records, 0, half);
            producer.commitTransaction();
            producer.beginTransaction();
            answers.addAll(send(producer, topic, records, half, records.size()));
            producer.abortTransaction();
            return answers;
        }
    }

    private static List<TopicPartition> partitions(JsonNode command) {
        List<TopicPartition> partitions = new ArrayList<>();
        for (int at = 0; at < command.get("partitions").asInt(); at++) {
            partitions.add(new TopicPartition(command.get("topic").asText(), at));
        }
        return partitions;
    }

    private Object read(JsonNode command) {
        String isolation = command.path("committed").asBoolean() ? "read_committed" : "read_uncommitted";
        List<ObjectNode> seen = new ArrayList<>();
        long end = System.nanoTime() + PATIENCE.toNanos();
        try (KafkaConsumer<byte[], byte[]> consumer = consumer("isolation.level", isolation)) {
            consumer.assign(partitions(command));
            while (seen.size() < command.get("enough").asInt()) {
                patient(end, "reading");
                consumer.poll(SHORT).forEach(record -> seen.add(fromKafka(record)));
            }
        }
        return seen;
    }

    static void patient(long end, String what) {
        if (System.nanoTime() > end) {
            throw new IllegalStateException("in vain: " + what);
        }
    }

    /** The settings of a group's member. */
    static String[] protocol(String name, String group, int member) {
        String assignor = "org.apache.kafka.clients.consumer.RangeAssignor";
        switch (name) {
            case "consumer": return new String[] {"group.id", group, "group.protocol", "consumer"};
            case "static": return new String[] {"group.id", group, "group.instance.id", group + "-" + member,
                "partition.assignment.strategy", assignor};
            case "cooperative": assignor = "org.apache.kafka.clients.consumer.CooperativeStickyAssignor"; break;
            default:
        }
        return new String[] {"group.id", group, "partition.assignment.strategy", assignor};
    }

    private Object group(JsonNode command) throws Exception {
        Map<List<Long>, ObjectNode> seen = new ConcurrentSkipListMap<>((a, b) ->
            a.get(0).equals(b.get(0)) ? a.get(1).compareTo(b.get(1)) : a.get(0).compareTo(b.get(0)));
        ExecutorService threads = Executors.newFixedThreadPool(2);
        List<Future<?>> members = new ArrayList<>();
        for (int at = 0; at < 2; at++) {
            int member = at;
            members.add(threads.submit(() -> member(command, member, seen)));
        }
        for (Future<?> member : members) {
            member.get();
        }
        threads.shutdown();
        return seen.values();
    }

    private void member(JsonNode command, int member, Map<List<Long>, ObjectNode> seen) {
        String[] settings = protocol(command.get("protocol").asText(), command.get("group").asText(), member);
        long end = System.nanoTime() + PATIENCE.toNanos();
        Map<List<Long>, ObjectNode> fresh = new HashMap<>();
        try (KafkaConsumer<byte[], byte[]> consumer = consumer(settings)) {
            consumer.subscribe(List.of(command.get("topic").asText()));
            while (seen.size() < command.get("enough").asInt()) {
                patient(end, command.get("protocol").asText());
                consumer.poll(SHORT).forEach(record ->
                    fresh.put(List.of((long) record.partition(), record.offset()), fromKafka(record)));
                if (!fresh.isEmpty() && committed(consumer)) {
                    seen.putAll(fresh);
                    fresh.clear();
                }
            }
        }
    }

    private static boolean committed(KafkaConsumer<byte[], byte[]> consumer) {
        try {
            consumer.commitSync();
            return true;
        } catch (CommitFailedException | RetriableException error) {
            // A rebalance came between: the next owner reads again what was not committed.
            System.err.println("commit: " + error);
            return false;
        }
    }

    private Object committed(JsonNode command) throws Exception {
        try (Admin admin = Admin.create(settings())) {
            var offsets = admin.listConsumerGroupOffsets(command.get("group").asText()).partitionsToOffsetAndMetadata().get();
            List<Long> committed = new ArrayList<>();
            for (TopicPartition partition : partitions(command)) {
                var found = offsets.get(partition);
                committed.add(found == null ? null : found.offset());
            }
            return committed;
        }
    }

    private Object idle(JsonNode command) {
        idler = consumer("group.id", command.get("group").asText(), "isolation.level", "read_committed");
        idler.subscribe(List.of(command.get("topic").asText()));
        long end = System.nanoTime() + PATIENCE.toNanos();
        for (int seen = 0; seen < command.get("enough").asInt();) {
            patient(end, "reading before idling");
            seen += idler.poll(SHORT).count();
        }
        idler.commitSync();
        return null;
    }

    private Object idleEnd(JsonNode command) throws Exception {
        for (int at = 0; at < 20; at++) {
            if (!idler.poll(SHORT).isEmpty()) {
                throw new IllegalStateException("records while idle");
            }
        }
        idler.commitSync();
        idler.close();
        return committed(command);
    }
}
