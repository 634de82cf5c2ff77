//! Is a partition read on whatever becomes of the client? On librdkafka's mock cluster.

use std::sync::atomic::{AtomicBool, AtomicI64};
use std::thread;

use crossbeam_channel::{Receiver, unbounded};
use rdkafka::error::KafkaError;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer as _};

use super::*;
use crate::kafka::ConsumerOptions;

#[path = "../../tests/support/held_ports.rs"]
mod held_ports;
use held_ports::hold_ports;

const TOPIC: &str = "http_log";
const PATIENCE: Duration = Duration::from_secs(120);
const PLAIN: &[u8] = include_bytes!("../../data/golden/plain.capnp");

struct World {
    cluster: MockCluster<'static, DefaultProducerContext>,
    feedback: Feedback,
    shutdown: Shutdown,
    stats: Stats,
    seen: Seen,
}

/// What the store thread would know.
#[derive(Default)]
struct Seen {
    /// Messages below were read.
    next: AtomicI64,
    /// How often the partition was taken, let go, and lost.
    taken: AtomicI64,
    let_go: AtomicI64,
    lost: AtomicI64,
}

impl Seen {
    /// In the place of the store thread.
    fn answer(&self, from_ingest: &Receiver<ToStore>) {
        for message in from_ingest {
            match message {
                ToStore::Block(_, block) => {
                    assert_eq!(block.first, self.next.load(Ordering::SeqCst));
                    self.next.store(block.next, Ordering::SeqCst);
                }
                ToStore::Append { reply } => reply.send(()).unwrap(),
                ToStore::Look { reply } => reply.send(true).unwrap(),
                ToStore::Assign { partitions, reply } => {
                    let start = |partition| Start {
                        partition,
                        lane: LaneId(1),
                        offset: self.next.load(Ordering::SeqCst),
                        epoch: None,
                    };
                    let taken = partitions.len() as i64;
                    reply
                        .send(partitions.into_iter().map(start).collect())
                        .unwrap();
                    self.taken.fetch_add(taken, Ordering::SeqCst);
                }
                ToStore::Revoke { lost, reply, .. } => {
                    self.let_go.fetch_add(1, Ordering::SeqCst);
                    self.lost.fetch_add(i64::from(lost), Ordering::SeqCst);
                    reply.send(()).unwrap();
                }
            }
        }
    }
}

impl World {
    fn new() -> World {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic(TOPIC, 1, 1).unwrap();
        World {
            cluster,
            feedback: Feedback::default(),
            shutdown: Shutdown::default(),
            stats: Stats::default(),
            seen: Seen::default(),
        }
    }

    fn consumer(&self) -> Consumer {
        // The mock cluster does not know a member again by its instance id.
        let properties = [("session.timeout.ms".to_owned(), "6000".to_owned())].into();
        Consumer::subscribe(&ConsumerOptions {
            brokers: &self.cluster.bootstrap_servers(),
            topic: TOPIC,
            group: "group",
            installation: "one",
            properties: &properties,
            password_file: None,
            tokens: None,
        })
        .unwrap()
    }

    fn produce(&self, count: usize) {
        let producer: BaseProducer = rdkafka::ClientConfig::new()
            .set("bootstrap.servers", self.cluster.bootstrap_servers())
            .create()
            .unwrap();
        for _ in 0..count {
            let record = BaseRecord::<(), [u8]>::to(TOPIC).payload(PLAIN);
            producer.send(record).map_err(|(e, _)| e).unwrap();
        }
        producer.flush(PATIENCE).unwrap();
    }

    /// Reads with this client while `during` goes on.
    fn reading(&self, consumer: &Consumer, during: impl FnOnce()) {
        let _close = CloseAtTheEnd(consumer);
        let (to_store, from_ingest) = unbounded();
        let ingest = Ingest {
            consumer,
            to_store,
            sync_interval: Duration::from_millis(50),
            policy: &Policy::default(),
            feedback: &self.feedback,
            shutdown: &self.shutdown,
            stats: &self.stats,
            in_doubt: false,
        };
        thread::scope(|scope| {
            let seen = &self.seen;
            scope.spawn(move || seen.answer(&from_ingest));
            let ended = scope.spawn(move || ingest.run());
            let stop = StopAtTheEnd(&self.shutdown);
            during();
            drop(stop);
            ended.join().unwrap().unwrap();
        });
    }

    fn wait(&self, what: &str, holds: impl Fn(&Seen) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !holds(&self.seen) {
            assert!(Instant::now() < deadline, "waited in vain: {what}");
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn wait_taken(&self, times: i64) {
        self.wait("the partition is taken", |s| {
            s.taken.load(Ordering::SeqCst) >= times
        });
    }

    fn wait_read(&self, next: i64) {
        self.wait("all is read", |s| s.next.load(Ordering::SeqCst) == next);
    }

    /// Pauses reading, and waits until nothing comes any more.
    fn pause(&self) {
        self.feedback.pause.store(true, Ordering::Relaxed);
        thread::sleep(Duration::from_millis(500));
    }

    fn go_on(&self) {
        self.feedback.pause.store(false, Ordering::Relaxed);
    }

    fn renew(&self) {
        self.feedback.renew.store(true, Ordering::Relaxed);
    }
}

/// Also where the test fails, or the client would wait for ever for an answer to its last rebalance.
struct CloseAtTheEnd<'a>(&'a Consumer);

impl Drop for CloseAtTheEnd<'_> {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Also where the test fails, or its threads would never end.
struct StopAtTheEnd<'a>(&'a Shutdown);

impl Drop for StopAtTheEnd<'_> {
    fn drop(&mut self) {
        self.0.request();
    }
}

#[test]
fn a_partition_whose_client_was_made_anew_while_paused_is_read_once_the_pause_ends() {
    let w = World::new();
    let consumer = w.consumer();
    w.produce(10);
    w.reading(&consumer, || {
        w.wait_read(10);
        w.pause();
        w.produce(10);
        w.renew();
        w.wait_taken(2);
        // The pause goes on with the new client.
        w.pause();
        let read = w.seen.next.load(Ordering::SeqCst);
        w.produce(10);
        thread::sleep(Duration::from_secs(1));
        assert_eq!(w.seen.next.load(Ordering::SeqCst), read, "it is not paused");
        w.go_on();
        w.wait_read(30);
    });
}

/// The broker is away for longer than the session lasts.
#[test]
fn a_partition_that_was_lost_while_paused_is_read_after_it_returns() {
    let w = World::new();
    let consumer = w.consumer();
    w.produce(10);
    w.reading(&consumer, || {
        w.wait_read(10);
        w.pause();
        w.produce(10);
        w.cluster.broker_down(1).unwrap();
        let held = hold_ports(&w.cluster.bootstrap_servers());
        w.wait("the partition is lost", |s| {
            s.lost.load(Ordering::SeqCst) > 0
        });
        // The pause ends while it is not ours.
        w.go_on();
        drop(held);
        w.cluster.broker_up(1).unwrap();
        w.wait_taken(2);
        w.wait_read(20);
    });
}

/// As when the system has no threads left, or the file of a certificate is away for a moment.
#[test]
fn a_client_that_cannot_be_made_is_tried_again_and_nothing_stands_still_for_it() {
    static FAILS: AtomicBool = AtomicBool::new(true);
    let w = World::new();
    let consumer = w.consumer().made_by(|config, context| {
        if FAILS.load(Ordering::SeqCst) {
            return Err(KafkaError::ClientCreation("no threads left".to_owned()));
        }
        config.create_with_context(context)
    });
    w.produce(10);
    w.reading(&consumer, || {
        w.wait_read(10);
        w.renew();
        w.wait("it is tried again", |_| {
            w.stats.ingest.kafka_clients_failed.get() >= 2
        });
        let words = w.stats.kafka.get().unwrap().words;
        assert!(words.contains("no threads left"), "{words}");
        w.produce(10);
        w.wait_read(20);
        assert_eq!(w.seen.let_go.load(Ordering::SeqCst), 0, "nothing is let go");
        FAILS.store(false, Ordering::SeqCst);
        w.wait_taken(2);
        w.produce(10);
        w.wait_read(30);
        assert_eq!(w.stats.kafka.get(), None);
    });
}

#[test]
fn a_stop_does_not_wait_for_a_client_that_cannot_be_made() {
    let w = World::new();
    let consumer = w
        .consumer()
        .made_by(|_, _| Err(KafkaError::ClientCreation("no threads left".to_owned())));
    let mut asked = Instant::now();
    w.reading(&consumer, || {
        w.wait_taken(1);
        w.renew();
        // The next pause is 8 s.
        w.wait("it is tried again", |_| {
            w.stats.ingest.kafka_clients_failed.get() == 4
        });
        asked = Instant::now();
    });
    assert!(asked.elapsed() < Duration::from_secs(5), "{asked:?}");
}
