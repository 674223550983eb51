//! A topic full of records of 1 KiB that all say the same, in batches of a size.

use std::time::Duration;

use rdkafka::{
    ClientConfig,
    producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer},
};

/// Bytes of each record's value.
pub const RECORD_BYTES: usize = 1_024;

const FLUSH_LIMIT: Duration = Duration::from_secs(60);
const QUEUE_FULL_PAUSE: Duration = Duration::from_millis(2);

/// Fills `partitions` partitions of `topic` with `records` records, in turn.
pub fn fill(bootstrap: &str, topic: &str, partitions: i32, records: u64, batch_bytes: usize) {
    let producer: ThreadedProducer<DefaultProducerContext> = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("linger.ms", "20")
        .set("batch.size", batch_bytes.to_string())
        .set("queue.buffering.max.kbytes", "262144")
        .create()
        .expect("a producer needs a bootstrap only");
    let value: Vec<u8> = (0..RECORD_BYTES).map(|at| (at * 31 % 251) as u8).collect();
    for number in 0..records {
        let partition = i32::try_from(number % partitions as u64).unwrap_or(0);
        let mut record = BaseRecord::<(), [u8]>::to(topic)
            .partition(partition)
            .payload(&value);
        while let Err((_, again)) = producer.send(record) {
            record = again;
            std::thread::sleep(QUEUE_FULL_PAUSE);
        }
    }
    producer
        .flush(FLUSH_LIMIT)
        .expect("the topic can be filled");
}
