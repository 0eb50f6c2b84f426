//! What is measured: runs workloads on engines and accounts for every byte
