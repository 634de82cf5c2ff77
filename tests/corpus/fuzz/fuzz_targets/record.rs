//! Any bytes are a small record of the queue, or of a commit in Kafka, or damaged; one that is read is
//! written as it was.
#![no_main]

use std::fmt::Debug;

use anonymizer::observe::history::Sample;
use anonymizer::ownership::Note;
use anonymizer::queue::{Batch, DroppedBatch, Lane, LostRange, Trail, reads_record};
use serde::{Serialize, de::DeserializeOwned};

fn json<T: Serialize + DeserializeOwned + PartialEq + Debug>(data: &[u8]) {
    if let Ok(record) = serde_json::from_slice::<T>(data) {
        let text = serde_json::to_vec(&record).unwrap();
        assert_eq!(serde_json::from_slice::<T>(&text).unwrap(), record);
    }
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    json::<Batch>(data);
    json::<Lane>(data);
    json::<Vec<LostRange>>(data);
    json::<Vec<DroppedBatch>>(data);
    json::<Trail>(data);
    // A key, and what may lie under it: a message in quarantine, or counts.
    let at = data
        .first()
        .map_or(0, |len| usize::from(*len % 32).min(data.len()));
    let (key, value) = data.split_at(at);
    let _ = reads_record(key.get(1..).unwrap_or_default(), value);
    if let Some(sample) = Sample::read(data) {
        assert_eq!(sample.write(), data[..sample.write().len()]);
    }
    // Anybody may have committed this.
    if let Some(note) = std::str::from_utf8(data).ok().and_then(Note::parse) {
        assert_eq!(Note::parse(&note.text()).as_ref(), Some(&note));
        let next = Note::succeed("me", Some(7), Some(&note));
        assert!(next.text().len() <= 4096);
        assert_eq!(Note::parse(&next.text()), Some(next));
    }
});
