//! A copy-on-write B+tree behind a logical write-ahead log
