//! An open engine that is verified when its test lets go of it; nobody has to remember.

use std::ops::Deref;
use std::sync::Arc;

use kv_api::{ErrorKind, Kv};

/// An open engine. Dropping it verifies it, unless the test failed already or closed it.
#[derive(Clone)]
pub struct Checked {
    kv: Arc<dyn Kv>,
}

impl Checked {
    /// Watches over `kv`.
    pub fn new(kv: Arc<dyn Kv>) -> Checked {
        Checked { kv }
    }

    /// The engine, for those who keep it longer than its check.
    pub fn kv(&self) -> &Arc<dyn Kv> {
        &self.kv
    }

    /// Reads everything and stops the test if anything does not hold.
    pub fn verify_now(&self) {
        match self.kv.verify() {
            Ok(report) => assert!(report.is_sound(), "the engine broke its own invariants: {report:#?}"),
            Err(error) if error.kind() == ErrorKind::Closed => {}
            Err(error) => panic!("verify could not look: {error}"),
        }
    }
}

impl Deref for Checked {
    type Target = dyn Kv;

    fn deref(&self) -> &Self::Target {
        &*self.kv
    }
}

impl Drop for Checked {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.verify_now();
        }
    }
}
