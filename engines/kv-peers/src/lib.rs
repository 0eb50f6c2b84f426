//! Adapters that put engines made by others behind the contract (none in the default build)
