//! Apply: how a batch gets in. The commit log of `kv-io` calls these in order: wait until there is room, seal a full
//! memtable, insert, show.

use std::sync::Arc;
use std::time::Duration;

use kv_api::{Background, Batch, Error, Event, Result, SeqNo};
use kv_io::commit::{Apply, Room};

use crate::core::{Core, IMMUTABLES_MAX};
use crate::num::to_u64;
use crate::pressure::Wait;

impl Apply for Core {
    fn admit(&self, bytes: usize, ops: usize) -> Result<()> {
        delay(self, bytes);
        wait_for_room(self, bytes, ops)
    }

    fn prepare(&self, bytes: usize, ops: usize) -> Result<Room> {
        if !self.has_room(bytes, ops) {
            return Ok(Room::Wait);
        }
        if self.must_seal(&self.state(), bytes, ops) {
            self.seal(self.log()?.last_seq());
        }
        Ok(Room::Ready)
    }

    fn apply(&self, first_seq: SeqNo, batches: &[&Batch]) -> Result<()> {
        let active = Arc::clone(&self.state().active);
        let mut seq = first_seq;
        for batch in batches {
            active.apply(seq, batch.ops());
            self.user.count_commit(batch);
            seq += to_u64(batch.len());
        }
        Ok(())
    }

    fn publish(&self, last_seq: SeqNo) {
        self.show(last_seq);
    }

    fn poison(&self, error: &Error) {
        if self.latch.poison(error) {
            self.executor.announce();
            self.listeners.keep(Event::Poisoned { cause: error.to_string() });
        }
    }

    fn check(&self) -> Result<()> {
        self.latch.check_writable()
    }
}

/// Waits for a slot for a memtable, or for a log that is not full, if a batch of `bytes` and `ops` operations needs
/// one.
///
/// # Errors
/// `NoSpace` while flushes are being abandoned; `Closed`, `Poisoned`.
fn wait_for_room(core: &Core, bytes: usize, ops: usize) -> Result<()> {
    if core.has_room(bytes, ops) {
        return Ok(());
    }
    let is_slot = core.state().immutables.len() >= IMMUTABLES_MAX;
    let wait = if is_slot { Wait::MemtableSlot } else { Wait::LogLimit };
    let start_ns = core.env.clock.now_ns();
    let done = core.executor.wait_until(core, None, &mut || {
        core.latch.check_writable()?;
        Ok(core.has_room(bytes, ops))
    });
    let wall_ns = core.env.clock.now_ns().saturating_sub(start_ns);
    core.pressure.waited(wait, wall_ns);
    core.listeners.tell(&Event::Stall { name: wait.name(), wall_ns });
    done.map(drop)
}

/// Pays the write delay. With inline upkeep there is none: the caller has done the work itself.
fn delay(core: &Core, bytes: usize) {
    if core.options.common.background == Background::Inline {
        return;
    }
    let pause = core.pressure.due_ns(to_u64(bytes));
    if pause == 0 {
        return;
    }
    let start_ns = core.env.clock.now_ns();
    // Whatever ends the pause early, want of space included, is met again by whoever waits for room.
    let _ = core.executor.wait_until(core, Some(Duration::from_nanos(pause)), &mut || {
        Ok(core.latch.check_writable().is_err())
    });
    let wall_ns = core.env.clock.now_ns().saturating_sub(start_ns);
    core.pressure.waited(Wait::WriteDelay, wall_ns);
    core.listeners.tell(&Event::Stall { name: Wait::WriteDelay.name(), wall_ns });
}
