//! The queue, its offsets, batches and counts against a plain model, on a real sled, with a crash
//! between any two steps.
//!
//! The driver does what the program does, in its order: a commit after its sync, an attempt after its
//! mark. Kafka's offsets, ClickHouse and what another instance read survive a crash; the queue comes
//! back from a copy of its files as they were, in **any state since the last sync**, and the model
//! must have been in that state. In the end everything is resolved, committed and delivered: then each
//! row below the committed offsets is in ClickHouse once, or was read by the other instance, or lies
//! in quarantine; the counts say the same, and `verify` finds all of it whole.
//!
//! `PROPTEST_CASES=3000 cargo test --lib queue::tests::model` for longer.

mod batches;
mod driver;
mod plain;

use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

use driver::World;

const PARTITIONS: i32 = 2;

#[derive(Clone, Debug)]
enum Op {
    /// Takes a partition, as an assignment does: resolves its tails and reads on.
    Take(i32),
    /// Reads so many messages of a partition into one block.
    Append(i32, u8),
    Sync,
    /// Syncs and commits all that is held.
    Commit(Fate),
    /// Lets a partition go.
    LetGo(i32),
    /// Another instance reads so many messages of a partition that is not held, and commits.
    Other(i32, u8),
    Seal(u8),
    /// Sends what is sealed, or what can be.
    Attempt(Answer),
    /// A person retries what was rejected.
    Retry,
    /// Sends delivered batches once more, or forgets them.
    Redeliver,
    Release,
    /// Decodes what is in quarantine again.
    RetryQuarantined,
    /// What was written reaches the files without a sync.
    Spill,
    /// sled is opened anew under the queue.
    Renew,
    Compact,
    /// The process dies.
    Crash,
    /// It stops in good order and starts again.
    Restart,
}

#[derive(Clone, Copy, Debug)]
enum Fate {
    Answered,
    AnswerLost,
    RequestLost,
}

#[derive(Clone, Copy, Debug)]
enum Answer {
    Stored,
    /// And the batch is kept.
    Delivered,
    /// The process dies after the acknowledgement is durable and before the blocks go.
    StoredThenCrash,
    StoredAnswerLost,
    Refused,
    TooLarge,
    Rejected,
}

fn op() -> impl Strategy<Value = Op> {
    let partition = 0..PARTITIONS;
    let fate = prop_oneof![
        4 => Just(Fate::Answered),
        1 => Just(Fate::AnswerLost),
        1 => Just(Fate::RequestLost),
    ];
    let answer = prop_oneof![
        4 => Just(Answer::Stored),
        2 => Just(Answer::Delivered),
        1 => Just(Answer::StoredThenCrash),
        2 => Just(Answer::StoredAnswerLost),
        1 => Just(Answer::Refused),
        1 => Just(Answer::TooLarge),
        1 => Just(Answer::Rejected),
    ];
    prop_oneof![
        4 => partition.clone().prop_map(Op::Take),
        10 => (partition.clone(), 1..9u8).prop_map(|(p, n)| Op::Append(p, n)),
        3 => Just(Op::Sync),
        6 => fate.prop_map(Op::Commit),
        2 => partition.clone().prop_map(Op::LetGo),
        2 => (partition, 1..20u8).prop_map(|(p, n)| Op::Other(p, n)),
        4 => (1..40u8).prop_map(Op::Seal),
        5 => answer.prop_map(Op::Attempt),
        2 => Just(Op::Retry),
        1 => Just(Op::Redeliver),
        1 => Just(Op::Release),
        1 => Just(Op::RetryQuarantined),
        2 => Just(Op::Spill),
        2 => Just(Op::Renew),
        1 => Just(Op::Compact),
        3 => Just(Op::Crash),
        1 => Just(Op::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(24),
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct("tests/corpus/regressions/queue.txt"))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_queue_is_what_the_plain_model_says_whenever_it_dies(
        ops in prop::collection::vec(op(), 0..80)
    ) {
        let mut world = World::new();
        (0..PARTITIONS).for_each(|p| world.step(&Op::Take(p)));
        for op in &ops {
            world.step(op);
        }
        world.settle_down();
    }
}
