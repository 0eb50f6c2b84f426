//! The ground both engines stand on: files, meter, clock, jobs, write-ahead log.
//!
//! Engines reach files, time, randomness and threads through this crate only. That gives three things at once:
//! bytes are counted exactly and by cause where they leave the engine (`meter`), a simulated disk can cut the
//! power at any call (`sim`), and with inline upkeep one seed is one schedule (`executor`).
//!
//! # Where to look
//!
//! | module | job |
//! |---|---|
//! | [`vfs`] | the file layer: two object-safe traits |
//! | [`os`], [`aligned`], `mapped` | real files: buffered, direct, mapped; locks; buffers that direct I/O takes; maps of sealed files |
//! | [`sim`] | a disk in memory: crash images, faults, power cut at any call |
//! | [`meter`], [`counters`] | bytes by cause and files by length; what users asked for, what was read, who waited |
//! | [`layout`], [`identity`], [`home`] | names in a directory; what a database is; opening and creating one |
//! | [`cache`] | recently read blocks under a byte budget |
//! | [`codec`], [`checksum`] | integers and a reader that cannot panic; the one checksum |
//! | [`wal`], [`commit`] | the write-ahead log; commits through it, one order for both engines |
//! | [`ingest`] | sorted entries from outside: order and sizes |
//! | [`executor`], [`sync`] | background jobs and the one way to wait for them; locks that outlive a panic |
//! | [`latch`], [`listeners`] | closed, poisoned or read-only: what a handle still takes; who is told what happens |
//! | [`seeded`] | bugs planted on purpose, in builds of the tests alone |
//! | [`clock`], [`env`](mod@env) | time, randomness, and the bundle an engine is opened with |
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::print_stdout,
        clippy::print_stderr
    )
)]

pub mod aligned;
pub mod cache;
pub mod checksum;
pub mod clock;
pub mod codec;
pub mod commit;
pub mod counters;
pub mod env;
pub mod executor;
pub mod home;
pub mod identity;
pub mod ingest;
pub mod latch;
pub mod layout;
pub mod listeners;
mod mapped;
pub mod meter;
pub mod os;
pub mod seeded;
pub mod sim;
pub mod sync;
pub mod vfs;
pub mod wal;

#[cfg(test)]
mod test_disk;

pub use clock::Clock;
pub use env::Env;
pub use home::Home;
pub use identity::Identity;
pub use meter::{Meter, MeteredVfs};
pub use os::RealVfs;
pub use sim::SimVfs;
pub use vfs::{Vfs, VfsFile};
