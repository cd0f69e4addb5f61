import java.time.Duration;
import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.serialization.StringDeserializer;

/** Prints changes of users' segments, from where the group stopped: java SegmentChanges.java SERVERS GROUP TOPIC. */
public class SegmentChanges {
    public static void main(String[] arguments) {
        Map<String, Object> settings = Map.of(
            "bootstrap.servers", arguments[0],
            "group.id", arguments[1],
            "auto.offset.reset", "earliest",
            // Without it changes of transactions that were aborted would be read too.
            "isolation.level", "read_committed",
            "enable.auto.commit", "false");
        StringDeserializer text = new StringDeserializer();
        try (KafkaConsumer<String, String> consumer = new KafkaConsumer<>(settings, text, text)) {
            consumer.subscribe(List.of(arguments[2]));
            while (true) {
                for (ConsumerRecord<String, String> record : consumer.poll(Duration.ofMillis(500))) {
                    Header cause = record.headers().lastHeader("ce_cause");
                    System.out.println(record.key() + "\t" + (cause == null ? "" : new String(cause.value()))
                        + "\t" + record.value());
                }
                consumer.commitSync();
            }
        }
    }
}
