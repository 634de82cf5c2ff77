//! A body that is read by another thread is the same body.

use std::io::{self, Read as _};

use super::*;

/// What arrives of a batch's body in pieces of so many bytes, and the queue's error.
fn read(f: &Fixture, batch: &Batch, piece: usize) -> (io::Result<Vec<u8>>, Option<QueueError>) {
    std::thread::scope(|scope| {
        let mut body = Ahead::start(scope, f.q().body(batch)).unwrap();
        let (mut all, mut out) = (Vec::new(), vec![0; piece]);
        let read = loop {
            match body.read(&mut out) {
                Ok(0) => break Ok(all),
                Ok(n) => all.extend_from_slice(&out[..n]),
                Err(e) => break Err(e),
            }
        };
        (read, body.take_error())
    })
}

#[test]
fn all_frames_arrive_in_order_whatever_the_pieces() {
    let f = Fixture::new();
    f.lane(0, 40, 40);
    f.lane(1, 7, 7);
    let batch = f.seal_all().unwrap();
    let whole = f.frames(&batch).concat();
    for piece in [1, 49, 50, 51, 1000, 1 << 20] {
        let (body, error) = read(&f, &batch, piece);
        assert_eq!(body.unwrap(), whole, "pieces of {piece}");
        assert!(error.is_none());
    }
}

#[test]
fn a_damaged_block_ends_the_body_with_the_queues_error() {
    let f = Fixture::new();
    let lane = f.lane(0, 40, 40);
    let batch = f.seal_all().unwrap();
    f.put_block(block::key(lane, 300), b"no block");
    for piece in [1, 1 << 20] {
        let (body, error) = read(&f, &batch, piece);
        assert!(body.is_err(), "it must never look whole");
        assert!(matches!(error, Some(QueueError::Damaged { .. })));
    }
}

#[test]
fn a_body_that_nobody_wants_any_more_is_read_no_further() {
    let f = Fixture::new();
    f.lane(0, 200, 200);
    let batch = f.seal_all().unwrap();
    std::thread::scope(|scope| {
        let mut body = Ahead::start(scope, f.q().body(&batch)).unwrap();
        assert!(body.read(&mut [0; 10]).unwrap() > 0);
    });
}
