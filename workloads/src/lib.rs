//! What is asked: deterministic operation streams and the workload file format
