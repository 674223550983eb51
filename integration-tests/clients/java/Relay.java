import com.fasterxml.jackson.databind.JsonNode;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentSkipListSet;
import java.util.concurrent.Future;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;

/** A relay at work beside the command loop: made anew after every error, as a supervisor would. */
final class Relay {
    private final Driver driver;
    private final String topic;
    private final String to;
    private final String transactionalId;
    private final String[] protocol;
    private final AtomicLong done = new AtomicLong();
    private final Set<String> errors = new ConcurrentSkipListSet<>();
    private final Thread thread;
    private volatile boolean stopping;

    Relay(Driver driver, JsonNode command) {
        this.driver = driver;
        topic = command.get("topic").asText();
        to = command.get("to").asText();
        transactionalId = command.path("transactional_id").asText("");
        protocol = Driver.protocol(command.get("protocol").asText(), command.get("group").asText(), 0);
        thread = new Thread(this::run);
        thread.setDaemon(true);
        thread.start();
    }

    long done() {
        return done.get();
    }

    Object end() throws InterruptedException {
        stopping = true;
        thread.join(Driver.PATIENCE.toMillis());
        return Map.of("done", done.get(), "errors", new TreeSet<>(errors));
    }

    private void run() {
        while (!stopping) {
            try {
                turn();
            } catch (Exception error) {
                error.printStackTrace();
                errors.add(error.getClass().getSimpleName());
            }
        }
    }

    private void turn() throws Exception {
        List<String> settings = new ArrayList<>(List.of("linger.ms", "5"));
        if (!transactionalId.isEmpty()) {
            settings.addAll(List.of("transactional.id", transactionalId));
        }
        List<String> reading = new ArrayList<>(List.of(protocol));
        reading.addAll(List.of("isolation.level", "read_committed", "max.poll.records", "200"));
        try (KafkaProducer<byte[], byte[]> producer = driver.producer(settings.toArray(String[]::new));
                KafkaConsumer<byte[], byte[]> consumer = driver.consumer(reading.toArray(String[]::new))) {
            if (!transactionalId.isEmpty()) {
                producer.initTransactions();
            }
            consumer.subscribe(List.of(topic));
            while (!stopping) {
                ConsumerRecords<byte[], byte[]> records = consumer.poll(Driver.SHORT);
                if (!records.isEmpty()) {
                    some(producer, consumer, records);
                }
            }
        }
    }

    private void some(KafkaProducer<byte[], byte[]> producer, KafkaConsumer<byte[], byte[]> consumer,
            ConsumerRecords<byte[], byte[]> records) throws Exception {
        if (!transactionalId.isEmpty()) {
            producer.beginTransaction();
        }
        List<Future<?>> sent = new ArrayList<>();
        Map<TopicPartition, OffsetAndMetadata> ends = new HashMap<>();
        records.forEach(record -> {
            sent.add(producer.send(new ProducerRecord<>(to, record.partition(), record.key(), record.value())));
            ends.put(new TopicPartition(record.topic(), record.partition()), new OffsetAndMetadata(record.offset() + 1));
        });
        for (Future<?> each : sent) {
            each.get();
        }
        if (transactionalId.isEmpty()) {
            consumer.commitSync();
        } else {
            producer.sendOffsetsToTransaction(ends, consumer.groupMetadata());
            producer.commitTransaction();
        }
        done.addAndGet(records.count());
    }
}
