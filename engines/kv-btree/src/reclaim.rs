//! When a page number may be used again: the only way back for one.
//!
//! A page that a commit replaced is dead, but somebody may still need it:
//! 1. readers that began before the commit and hold the root of that time, for the length of one call;
//! 2. pins: snapshots and scans, the last durable checkpoint, the checkpoint that is being written.
//!
//! Dead pages queue behind the root they belonged to. Once nobody holds that root (roots go oldest first), each
//! goes to the newest pin p with birth <= p < death, where death is the generation that replaced it; without one
//! it is free. When a pin goes, its pages move to the next older pin that needs them, or become free. So a long
//! snapshot holds what it can see, not all that died since (ZFS dead lists; Bonwick and Ahrens, 2003).
//!
//! Numbers that became free wait in `ready` until the writer takes them: no one else changes the free list.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use arc_swap::ArcSwap;
use kv_api::SeqNo;
use kv_io::seeded::{self, Bug};
use kv_io::sync::Mutex;
use kv_io::sync::atomic::{AtomicUsize, Ordering};
use kv_io::sync::lock;

use crate::page::PageId;

/// One state of the tree.
#[derive(Debug, Clone)]
pub struct Root {
    /// The root page.
    pub page: PageId,
    /// Levels: 1 is a single leaf.
    pub height: u8,
    /// Number of the commit that made this state.
    pub generation: u64,
    /// The last operation in it.
    pub seq: SeqNo,
    /// Values stored apart.
    pub values: u64,
}

impl Root {
    /// Level of the root page.
    pub fn level(&self) -> u8 {
        self.height.saturating_sub(1)
    }
}

/// A page that left the newest tree.
#[derive(Debug, Clone, Copy)]
pub struct Dead {
    /// Its number.
    pub page: PageId,
    /// The generation that made it; 0 if it was never read, which holds it longest.
    pub birth: u64,
}

#[derive(Debug, Default)]
struct Pin {
    holders: usize,
    seq: SeqNo,
    dead: Vec<Dead>,
}

/// Dead pages behind the last root that had them.
#[derive(Debug)]
struct Retired {
    root: Arc<Root>,
    dead: Vec<Dead>,
    death: u64,
}

#[derive(Debug, Default)]
struct State {
    pins: BTreeMap<u64, Pin>,
    retired: VecDeque<Retired>,
    ready: Vec<Dead>,
    dead_count: usize,
    snapshots: u64,
    /// Generation of the newest checkpoint, done or not.
    frozen: u64,
}

impl State {
    /// Hands a dead page to the newest pin below `before` that needs it, or frees it.
    fn settle(&mut self, dead: Dead, before: u64) {
        let first = dead.birth + u64::from(seeded::is(Bug::PinAtBirthIgnored));
        let pin = if first < before { self.pins.range_mut(first..before).next_back() } else { None };
        match pin {
            Some((_, pin)) => pin.dead.push(dead),
            None => self.ready.push(dead),
        }
    }

    fn sweep(&mut self) {
        while let Some(front) = self.retired.front_mut() {
            // The root was replaced, so its count only falls; at one there is no reader left.
            if Arc::get_mut(&mut front.root).is_none() {
                break;
            }
            let Some(Retired { dead, death, .. }) = self.retired.pop_front() else { break };
            dead.into_iter().for_each(|dead| self.settle(dead, death));
        }
    }

    fn unpin(&mut self, generation: u64) {
        let Some(pin) = self.pins.get_mut(&generation) else { return };
        pin.holders -= 1;
        if pin.holders == 0 {
            let dead = self.pins.remove(&generation).map(|pin| pin.dead).unwrap_or_default();
            dead.into_iter().for_each(|dead| self.settle(dead, generation));
        }
    }
}

/// The newest root, the pins, and the dead.
#[derive(Debug)]
pub struct Reclaim {
    newest: ArcSwap<Root>,
    state: Mutex<State>,
    /// Dead pages that the newest checkpoint holds.
    held_by_checkpoint: AtomicUsize,
}

impl Reclaim {
    /// Starts with `root` as the newest state.
    pub fn new(root: Root) -> Reclaim {
        Reclaim {
            newest: ArcSwap::from_pointee(root),
            state: Mutex::default(),
            held_by_checkpoint: AtomicUsize::new(0),
        }
    }

    /// The newest state. No page of it is reused while the guard lives, which should be for one call.
    #[inline]
    pub fn newest(&self) -> arc_swap::Guard<Arc<Root>> {
        self.newest.load()
    }

    /// Shows `root` to readers and takes the pages that died with it.
    pub fn publish(&self, root: Root, dead: Vec<Dead>) {
        let mut state = lock(&self.state);
        let death = root.generation;
        let old = self.newest.swap(Arc::new(root));
        state.dead_count += dead.len();
        state.retired.push_back(Retired { root: old, dead, death });
        state.sweep();
        let held = state.pins.get(&state.frozen).map_or(0, |pin| pin.dead.len());
        self.held_by_checkpoint.store(held, Ordering::Relaxed);
    }

    /// Numbers that became free since the last call.
    pub fn take_ready(&self, out: &mut Vec<Dead>) {
        let mut state = lock(&self.state);
        state.sweep();
        state.dead_count -= state.ready.len();
        out.append(&mut state.ready);
    }

    /// Takes pages that never were part of a tree.
    pub fn give_back(&self, pages: impl Iterator<Item = PageId>) {
        let mut state = lock(&self.state);
        let before = state.ready.len();
        state.ready.extend(pages.map(|page| Dead { page, birth: 0 }));
        state.dead_count += state.ready.len() - before;
    }

    /// Holds the newest state until the pin is dropped. About 50 ns.
    pub fn pin(self: &Arc<Self>) -> Pinned {
        let mut state = lock(&self.state);
        state.snapshots += 1;
        let root = Root::clone(&self.newest.load());
        self.hold(&mut state, root, true)
    }

    /// Holds `root` for a checkpoint: the newest state, or the one that will be. The commit lock keeps it so.
    pub fn pin_checkpoint(self: &Arc<Self>, root: Root) -> Pinned {
        let mut state = lock(&self.state);
        state.frozen = root.generation;
        self.held_by_checkpoint.store(0, Ordering::Relaxed);
        self.hold(&mut state, root, false)
    }

    /// Pages that died since the newest checkpoint began, and wait for the one after it. No lock.
    pub fn held_by_checkpoint(&self) -> usize {
        self.held_by_checkpoint.load(Ordering::Relaxed)
    }

    fn hold(self: &Arc<Self>, state: &mut State, root: Root, is_snapshot: bool) -> Pinned {
        let pin = state.pins.entry(root.generation).or_default();
        pin.holders += 1;
        pin.seq = root.seq;
        Pinned { reclaim: Arc::clone(self), root, is_snapshot }
    }

    /// Pages born after generation `since` that only pins hold: with those of the newest tree, all that a
    /// checkpoint must write so that nothing stays dirty.
    pub fn pinned_since(&self, since: u64) -> Vec<PageId> {
        let state = lock(&self.state);
        let dead = state.pins.values().flat_map(|pin| &pin.dead);
        dead.filter(|dead| dead.birth > since).map(|dead| dead.page).collect()
    }

    /// A holder on every pin that exists, so that no pinned page is reused until the guard is dropped.
    pub fn hold_pins(self: &Arc<Self>) -> HeldPins {
        let mut state = lock(&self.state);
        let generations = state.pins.keys().copied().collect();
        state.pins.values_mut().for_each(|pin| pin.holders += 1);
        HeldPins { reclaim: Arc::clone(self), generations }
    }

    /// Dead pages that wait, their bytes, open snapshots, and the operation the oldest of those saw last.
    pub fn gauges(&self) -> Gauges {
        let state = lock(&self.state);
        Gauges {
            dead_pages: state.dead_count,
            dead_bytes: state.dead_count as u64 * size_of::<Dead>() as u64,
            snapshots: state.snapshots,
            oldest_seq: state.pins.values().map(|pin| pin.seq).next(),
        }
    }

    /// Every dead page that waits.
    pub fn dead_pages(&self) -> Vec<PageId> {
        let state = lock(&self.state);
        let retired = state.retired.iter().flat_map(|retired| &retired.dead);
        let pinned = state.pins.values().flat_map(|pin| &pin.dead);
        retired.chain(pinned).chain(&state.ready).map(|dead| dead.page).collect()
    }
}

/// What waits and what for.
#[derive(Debug, Clone, Copy)]
pub struct Gauges {
    /// Dead pages whose numbers are not free yet.
    pub dead_pages: usize,
    /// Bytes of the lists that hold them.
    pub dead_bytes: u64,
    /// Snapshots and scans that are open.
    pub snapshots: u64,
    /// The last operation that the oldest pin sees.
    pub oldest_seq: Option<SeqNo>,
}

/// A state that is held; see [`Reclaim::pin`].
#[derive(Debug)]
pub struct Pinned {
    reclaim: Arc<Reclaim>,
    /// The state.
    pub root: Root,
    is_snapshot: bool,
}

impl Drop for Pinned {
    fn drop(&mut self) {
        let mut state = lock(&self.reclaim.state);
        state.snapshots -= u64::from(self.is_snapshot);
        state.unpin(self.root.generation);
    }
}

/// See [`Reclaim::hold_pins`].
#[derive(Debug)]
pub struct HeldPins {
    reclaim: Arc<Reclaim>,
    generations: Vec<u64>,
}

impl Drop for HeldPins {
    fn drop(&mut self) {
        let mut state = lock(&self.reclaim.state);
        self.generations.iter().for_each(|generation| state.unpin(*generation));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(generation: u64) -> Root {
        Root { page: PageId(9), height: 1, generation, seq: generation, values: 0 }
    }

    fn ready(reclaim: &Reclaim) -> Vec<u32> {
        let mut out = Vec::new();
        reclaim.take_ready(&mut out);
        out.iter().map(|dead| dead.page.0).collect()
    }

    fn dead(page: u32, birth: u64) -> Vec<Dead> {
        vec![Dead { page: PageId(page), birth }]
    }

    #[test]
    fn a_page_waits_for_the_reader_of_its_root() {
        let reclaim = Reclaim::new(root(1));
        let guard = reclaim.newest();
        reclaim.publish(root(2), dead(10, 1));
        reclaim.publish(root(3), dead(11, 2));
        assert!(ready(&reclaim).is_empty());
        drop(guard);
        assert_eq!(ready(&reclaim), [10, 11]);
    }

    #[test]
    fn a_pin_holds_what_it_sees_and_nothing_else() {
        let reclaim = Arc::new(Reclaim::new(root(1)));
        let old = reclaim.pin();
        reclaim.publish(root(2), dead(10, 1));
        let young = reclaim.pin();
        // Born and dead between the pins, then seen by the young one only, then by both.
        reclaim.publish(root(3), dead(11, 2));
        reclaim.publish(root(4), dead(12, 3));
        reclaim.publish(root(5), dead(13, 1));
        assert_eq!(ready(&reclaim), [12]);
        drop(young);
        assert_eq!(ready(&reclaim), [11]);
        drop(old);
        let mut freed = ready(&reclaim);
        freed.sort_unstable();
        assert_eq!(freed, [10, 13]);
        assert_eq!(reclaim.gauges().dead_pages, 0);
    }

    #[test]
    fn a_page_of_unknown_birth_is_held_by_any_older_pin() {
        let reclaim = Arc::new(Reclaim::new(root(5)));
        let pin = reclaim.pin();
        reclaim.publish(root(6), dead(10, 0));
        let held = reclaim.hold_pins();
        drop(pin);
        assert!(ready(&reclaim).is_empty());
        drop(held);
        assert_eq!(ready(&reclaim), [10]);
    }
}
