import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.common.TopicPartition;

/** What the client makes of a cluster that refuses: the names of its exceptions. */
final class Errors {
    private final Driver driver;

    Errors(Driver driver) {
        this.driver = driver;
    }

    Object answer(JsonNode command) throws Exception {
        Map<String, Object> answers = new TreeMap<>();
        String large = command.get("large").asText();
        String small = command.get("small").asText();
        answers.put("produce_unknown", produced(command.get("unknown").asText(), "", "10000000"));
        answers.put("produce_large", produced(small, large, "10000000"));
        answers.put("produce_too_large_for_client", produced(small, large, "1000"));
        for (String reset : List.of("none", "earliest", "latest")) {
            answers.put("reset_" + reset, first(command.get("trimmed").asText(), reset));
        }
        return answers;
    }

    private Object produced(String topic, String value, String size) throws Exception {
        ArrayNode records = Driver.JSON.createArrayNode();
        ObjectNode record = records.addObject();
        record.put("p", 0).put("t", 1).putNull("k").put("v", value).putArray("h");
        try (KafkaProducer<byte[], byte[]> producer =
                driver.producer("max.request.size", size, "max.block.ms", "5000")) {
            return Driver.send(producer, topic, records, 0, 1).get(0);
        }
    }

    private Object first(String topic, String reset) {
        TopicPartition partition = new TopicPartition(topic, 0);
        try (KafkaConsumer<byte[], byte[]> consumer = driver.consumer("auto.offset.reset", reset)) {
            consumer.assign(List.of(partition));
            consumer.seek(partition, 1_000_000);
            for (int at = 0; at < (reset.equals("latest") ? 3 : 10); at++) {
                for (var record : consumer.poll(Duration.ofSeconds(1))) {
                    return record.offset();
                }
            }
            return "nothing";
        } catch (Exception error) {
            return error.getClass().getSimpleName();
        }
    }
}
