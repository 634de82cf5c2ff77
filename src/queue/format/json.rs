//! Small records: JSON under a name.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::queue::QueueError;

pub(in crate::queue) fn json<T: Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).expect("BUG: a record of the queue cannot be written as JSON")
}

pub(in crate::queue) fn get_json<T: DeserializeOwned>(
    tree: &sled::Tree,
    name: &[u8],
) -> Result<Option<T>, QueueError> {
    let Some(bytes) = tree.get(name).map_err(QueueError::store("read"))? else {
        return Ok(None);
    };
    serde_json::from_slice(&bytes)
        .map(Some)
        .map_err(|e| QueueError::Damaged {
            what: format!("record {:?}: {e}", String::from_utf8_lossy(name)),
        })
}

pub(in crate::queue) fn put_json<T: Serialize>(
    tree: &sled::Tree,
    name: &[u8],
    value: &T,
) -> Result<(), QueueError> {
    tree.insert(name, json(value))
        .map(|_| ())
        .map_err(QueueError::store("write"))
}

pub(in crate::queue) fn read_all<T: DeserializeOwned>(
    tree: &sled::Tree,
    what: &str,
) -> Result<Vec<T>, QueueError> {
    tree.iter()
        .map(|entry| {
            let (key, value) = entry.map_err(QueueError::store("read"))?;
            serde_json::from_slice(&value).map_err(|e| QueueError::Damaged {
                what: format!("{what} {key:02x?}: {e}"),
            })
        })
        .collect()
}
