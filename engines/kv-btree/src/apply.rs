//! Apply: how a batch gets in. The commit log of `kv-io` calls these in order: wait until there is room, set pages
//! aside, change the tree, show.

use std::time::Duration;

use kv_api::{Batch, Error, Event, Result, SeqNo};
use kv_io::commit::{Apply, Room};

use crate::core::Core;
use crate::pressure::Wait;

impl Apply for Core {
    fn admit(&self, _bytes: usize, _ops: usize) -> Result<()> {
        let Some(wait) = self.must_wait() else {
            delay(self);
            return Ok(());
        };
        let start_ns = self.env.clock.now_ns();
        let outcome = self.executor.wait_until(self, None, &mut || {
            self.latch.check_writable()?;
            Ok(self.must_wait().is_none())
        });
        let wall_ns = self.env.clock.now_ns().saturating_sub(start_ns);
        self.waited(wait, wall_ns);
        self.listeners.tell(&Event::Stall { name: wait.name(), wall_ns });
        outcome.map(|_| ())
    }

    fn prepare(&self, bytes: usize, ops: usize) -> Result<Room> {
        let pager = &self.store.pager;
        // What may have to be written before the next checkpoint gets its place in the file now, while the batch
        // can still be refused: large values, and pages for which there is no room in memory.
        let mut writer = self.store.writer();
        let live = writer.space.pages() - writer.space.free();
        let pages = ops.min(live) + 2 * bytes / pager.page_bytes() + 16;
        let pressed = pager.pool.dirty() + pages > writer.dirty_max;
        if bytes > pager.page_bytes() / 4 {
            writer.reserve_runs(2 * bytes / pager.page_bytes() + 4)?;
        }
        if pressed {
            writer.reserve(pages)?;
        }
        Ok(Room::Ready)
    }

    fn apply(&self, _first_seq: SeqNo, batches: &[&Batch]) -> Result<()> {
        let mut writer = self.store.writer();
        writer.begin();
        for batch in batches {
            batch.ops().try_for_each(|op| writer.apply(op))?;
            self.user.count_commit(batch);
        }
        Ok(())
    }

    fn publish(&self, last_seq: SeqNo) {
        self.store.writer().publish(last_seq);
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

/// Holds a commit back a little while the log outgrows a running checkpoint.
fn delay(core: &Core) {
    let delay_ns = core.pressure().delay_ns();
    if delay_ns == 0 || !core.is_checkpointing() {
        return;
    }
    core.env.clock.sleep(Duration::from_nanos(delay_ns));
    core.waited(Wait::WriteDelay, delay_ns);
}
