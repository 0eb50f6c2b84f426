//! Ctrl-C and SIGTERM: the first asks the run to stop where it is, the second ends the process.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use crate::error::{Exit, Failure, Result};

/// Whether the user wants the run to end.
#[derive(Debug, Clone, Default)]
pub struct Interrupt {
    flag: Arc<AtomicBool>,
}

impl Interrupt {
    /// Installs the handlers.
    ///
    /// # Errors
    /// The system refuses them.
    pub fn install() -> Result<Interrupt> {
        let interrupt = Interrupt::default();
        for signal in [SIGINT, SIGTERM] {
            // Order matters: the shutdown looks at the flag before the second line sets it.
            let code = i32::from(Exit::Interrupted.code());
            flag::register_conditional_shutdown(signal, code, Arc::clone(&interrupt.flag))
                .and_then(|_| flag::register(signal, Arc::clone(&interrupt.flag)))
                .map_err(|error| Failure::failed(format!("cannot listen for signals: {error}")))?;
        }
        Ok(interrupt)
    }

    /// One that was asked already, for tests.
    #[cfg(test)]
    pub fn asked() -> Interrupt {
        Interrupt { flag: Arc::new(AtomicBool::new(true)) }
    }

    /// True once the user asked to stop.
    #[inline]
    pub fn is_set(&self) -> bool {
        self.flag.load(Ordering::Relaxed)
    }
}
