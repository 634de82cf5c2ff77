use super::*;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

/// A reader that takes a line only when told to, and says when it is given one.
struct Slow {
    given: Sender<()>,
    may_read: Receiver<()>,
    read: Arc<Mutex<String>>,
}

impl Write for Slow {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let _ = self.given.send(());
        // Told no more: reads everything.
        let _ = self.may_read.recv();
        *self.read.lock().unwrap() += &String::from_utf8_lossy(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn lines_that_nobody_reads_are_dropped_counted_and_told_of_in_their_place() {
    let lines: &'static Lines = Box::leak(Box::new(Lines::new()));
    let (tell, may_read) = channel();
    let (given, begun) = channel();
    let read = Arc::new(Mutex::new(String::new()));
    let slow = Slow {
        given,
        may_read,
        read: Arc::clone(&read),
    };
    thread::spawn(move || lines.write_to(slow));
    let count = 2 * MOST_BYTES / 1000;
    for n in 0..count {
        lines.lock().push(format!("{n:0999}\n").into_bytes());
        // As whoever has something to say does.
        lines.changed.notify_all();
        if n == 0 {
            // A writer that began later would make room once more.
            begun.recv().unwrap();
        }
    }
    let dropped = lines.lock().dropped;
    assert!(dropped >= count as u64 / 2 - 1, "{dropped}");
    drop(tell);
    lines.drain(Duration::from_secs(60));
    lines.lock().push(b"the next\n".to_vec());
    lines.changed.notify_all();
    lines.drain(Duration::from_secs(60));
    let read = read.lock().unwrap();
    let told: Vec<&str> = read.lines().collect();
    let [.., last, missing, next] = told.as_slice() else {
        panic!("{read}");
    };
    assert!(last.ends_with('9') || last.starts_with("000"), "{last}");
    assert!(
        missing.contains(&format!("{dropped} lines of the log are missing here")),
        "{missing}"
    );
    assert_eq!(*next, "the next");
    assert_eq!(told.len() as u64, count as u64 - dropped + 2);
}

#[test]
fn other_crates_tell_no_details() {
    let told =
        |target, level| may_be_told(&Metadata::builder().target(target).level(level).build());
    assert!(told("anonymizer::flush", log::Level::Trace));
    assert!(told("librdkafka", log::Level::Debug));
    assert!(!told("librdkafka", log::Level::Trace));
    assert!(told("ureq_proto::util", log::Level::Info));
    for target in ["ureq_proto::util", "sled", "anonymizers", ""] {
        assert!(!told(target, log::Level::Debug), "{target}");
    }
}
