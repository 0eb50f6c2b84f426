//! Back-pressure: what a writer waits for before its batch is logged, and how long it waited.

use std::sync::atomic::{AtomicU64, Ordering};

use kv_api::stats::Stall;
use kv_api::{Event, Result};

use crate::core::Core;
use crate::state::State;

/// How often and how long writers waited, by reason.
#[derive(Debug, Default)]
pub struct Pressure {
    slot: Waited,
    log: Waited,
}

#[derive(Debug, Default)]
struct Waited {
    count: AtomicU64,
    wall_ns: AtomicU64,
}

impl Waited {
    fn add(&self, wall_ns: u64) {
        self.count.fetch_add(1, Ordering::Relaxed);
        self.wall_ns.fetch_add(wall_ns, Ordering::Relaxed);
    }

    fn named(&self, name: &str) -> Stall {
        let (count, wall_ns) = (self.count.load(Ordering::Relaxed), self.wall_ns.load(Ordering::Relaxed));
        Stall { name: name.to_owned(), count, wall_ns }
    }
}

impl Pressure {
    /// All reasons, also those that nobody waited for.
    pub fn stalls(&self) -> Vec<Stall> {
        vec![self.slot.named("memtable slot"), self.log.named("log limit")]
    }
}

/// Waits until a batch of `bytes` may be logged.
pub fn admit(core: &Core, bytes: usize) -> Result<()> {
    if core.has_room(bytes, 1) {
        return Ok(());
    }
    let full = |state: &State| state.immutables.len() >= crate::core::IMMUTABLES_MAX;
    let (name, waited) = if full(&core.state()) {
        ("memtable slot", &core.pressure.slot)
    } else {
        ("log limit", &core.pressure.log)
    };
    let start_ns = core.env.clock.now_ns();
    let done = core.executor.wait_until(core, None, &mut || {
        core.latch.check_writable()?;
        Ok(core.has_room(bytes, 1))
    });
    let wall_ns = core.env.clock.now_ns().saturating_sub(start_ns);
    waited.add(wall_ns);
    core.tell(&Event::Stall { name, wall_ns });
    done.map(drop)
}
