//! The ground both engines stand on: files, meter, clock, jobs, write-ahead log
