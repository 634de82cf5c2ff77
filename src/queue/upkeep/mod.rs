//! What sled needs to stay small and quick: opened anew, its files written anew.

pub mod compact;
pub mod reopen;
