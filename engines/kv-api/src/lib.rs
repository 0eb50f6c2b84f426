//! The contract: what every storage engine of the laboratory promises
