//! What the harness asks of the operating system: counters, host facts, directories, signals, one shared map.

pub mod ack;
pub mod build;
pub mod cgroup;
pub mod device;
pub mod disk;
pub mod host;
pub mod interrupt;
pub mod limits;
pub mod map;
pub mod mount;
pub mod page_cache;
pub mod proc;
pub mod threads;
