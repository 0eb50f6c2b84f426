//! Adapters that put engines made by others behind the contract of `kv-api`.
//!
//! The default build has none: they will come behind the features `peers` and `rocksdb`, so that a plain build
//! never compiles them. An adapter implements [`kv_api::Kv`] and says in its `info()` which durability levels
//! its engine really has; the harness's registry then gives it a name for `--engine`.
