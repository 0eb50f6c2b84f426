//! Tools for one database directory: read and write keys (`keys.rs`), dump and load (`transfer.rs`, in the line format
//! of `lines.rs`), and check everything (`verify.rs`). The engine is read from the directory (`open.rs`).

pub mod keys;
pub mod lines;
pub mod open;
pub mod transfer;
pub mod verify;
