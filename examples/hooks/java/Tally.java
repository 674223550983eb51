// Counts the records of each key of a topic, in memory. What Cutline asks of it is the hook: the second half.
//
// BOOTSTRAP, TOPIC and GROUP say what to read, HOOK_PORT where the hook and the counts are, LEASE_SECONDS how long a pause lasts at most.
// One instance: where there are several, keep what is counted by partition, or in a database they share.

import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.time.Duration;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.concurrent.*;
import java.util.stream.Collectors;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringDeserializer;

public class Tally {
    static final Map<String, Long> tally = new ConcurrentSkipListMap<>();
    static final Map<TopicPartition, Long> positions = new ConcurrentHashMap<>();

    public static void main(String[] arguments) throws IOException {
        serveHook();
        Map<String, Object> settings = Map.of("bootstrap.servers", System.getenv("BOOTSTRAP"), "group.id", System.getenv("GROUP"),
                "auto.offset.reset", "earliest");
        // Offsets are committed by the client when it likes: with a hook nothing hangs on that.
        try (var consumer = new KafkaConsumer<>(settings, new StringDeserializer(), new StringDeserializer())) {
            consumer.subscribe(List.of(System.getenv("TOPIC")), new ConsumerRebalanceListener() {
                public void onPartitionsAssigned(Collection<TopicPartition> places) {}
                public void onPartitionsRevoked(Collection<TopicPartition> places) { positions.keySet().removeAll(places); }
            });
            while (true) {
                for (var record : consumer.poll(Duration.ofSeconds(1))) {
                    permit.acquireUninterruptibly();
                    tally.merge(record.key(), 1L, Long::sum);
                    positions.put(new TopicPartition(record.topic(), record.partition()), record.offset() + 1);
                    permit.release();
                }
            }
        }
    }

    // One permit: the loop has it while it works on a record, the hook from pause to resume, or until its lease is over.
    static final Semaphore permit = new Semaphore(1, true);
    static final ScheduledExecutorService clock = Executors.newSingleThreadScheduledExecutor(Tally::daemon);
    static ScheduledFuture<?> lease;

    static void pause() {
        resume();
        permit.acquireUninterruptibly();
        String seconds = System.getenv().getOrDefault("LEASE_SECONDS", "30");
        synchronized (Tally.class) { lease = clock.schedule(Tally::resume, Long.parseLong(seconds), TimeUnit.SECONDS); }
    }

    static synchronized boolean resume() {
        boolean held = lease != null;
        if (held) {
            lease.cancel(false);
            lease = null;
            permit.release();
        }
        return held;
    }

    static void serveHook() throws IOException {
        int port = Integer.parseInt(System.getenv("HOOK_PORT"));
        HttpServer server = HttpServer.create(new InetSocketAddress("127.0.0.1", port), 0);
        server.createContext("/cutline/pause", call -> {  // waits for the record at work; from here on nothing moves
            pause();
            var named = positions.entrySet().stream().map(one -> "\"" + one.getKey() + "\":" + one.getValue());
            answer(call, "{\"positions\":{" + named.collect(Collectors.joining(",")) + "}}");
        });
        server.createContext("/cutline/resume", call -> answer(call, "{\"lease_held\":" + resume() + "}"));
        server.createContext("/cutline/restore", call -> {  // called while the application is cut off from Kafka
            var lines = new String(call.getRequestBody().readAllBytes()).lines();
            var counts = lines.map(line -> line.split(" ")).collect(Collectors.toMap(line -> line[0], line -> Long.valueOf(line[1])));
            tally.clear();
            positions.clear();
            tally.putAll(counts);
            answer(call, "");
        });
        // /cutline/snapshot, and / for whoever wants to see it
        server.createContext("/", call -> answer(call,
                tally.entrySet().stream().map(one -> one.getKey() + " " + one.getValue() + "\n").collect(Collectors.joining())));
        server.setExecutor(Executors.newSingleThreadExecutor(Tally::daemon));
        server.start();
    }

    static void answer(HttpExchange call, String text) throws IOException {
        byte[] content = text.getBytes();
        call.sendResponseHeaders(200, content.length == 0 ? -1 : content.length);
        call.getResponseBody().write(content);
        call.close();
    }

    static Thread daemon(Runnable work) {
        Thread thread = new Thread(work);
        thread.setDaemon(true);
        return thread;
    }
}
