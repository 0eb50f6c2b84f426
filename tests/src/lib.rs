//! Suites that hold every engine to the contract
