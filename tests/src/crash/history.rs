//! The commits of a run, and which of the states between them a crash may leave.

use std::sync::Arc;

use kv_api::Durability;

use crate::map::Map;

/// What ended a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Death {
    /// The process: what it had written is there.
    Process,
    /// The power, and with it what was not synced.
    Power,
}

/// The commits of a run: which states a crash may leave.
#[derive(Debug, Clone)]
pub struct History {
    /// The state after each commit, the one at the beginning first; the last may be in flight.
    states: Vec<Arc<Map>>,
    /// Index of the newest state acknowledged at `Os` or above.
    os: usize,
    /// Index of the newest state acknowledged at `Disk`.
    disk: usize,
}

impl Default for History {
    fn default() -> History {
        History::from(Map::new())
    }
}

/// A run begins with what is durable.
impl From<Map> for History {
    fn from(map: Map) -> History {
        History { states: vec![Arc::new(map)], os: 0, disk: 0 }
    }
}

impl History {
    /// The newest state, whether or not it was acknowledged.
    pub fn last(&self) -> &Arc<Map> {
        self.states.last().expect("the state at the beginning is always there")
    }

    /// A commit begins: a crash may leave its state from now on.
    pub fn push(&mut self, change: impl FnOnce(&mut Map)) {
        let mut next = Arc::clone(self.last());
        change(Arc::make_mut(&mut next));
        self.states.push(next);
    }

    /// The newest commit never was, or nobody knows: returns the state it would have led to.
    ///
    /// # Panics
    /// If there was none.
    pub fn pop(&mut self) -> Arc<Map> {
        assert!(self.os.max(self.disk) + 1 < self.states.len(), "what was acknowledged cannot be taken back");
        self.states.pop().expect("the state at the beginning is always there")
    }

    /// The state that `found` is, so that it need not be kept twice.
    pub fn shared(&self, found: Map) -> Arc<Map> {
        let same = self.states.iter().rev().find(|state| ***state == found).map(Arc::clone);
        same.unwrap_or_else(|| Arc::new(found))
    }

    /// True if this was the state at some time.
    pub fn had(&self, found: &Map) -> bool {
        self.states.iter().any(|state| **state == *found)
    }

    /// The newest commit, and so every one before it, survives what `level` promises.
    pub fn acknowledge(&mut self, level: Durability) {
        let newest = self.states.len() - 1;
        if level >= Durability::Os {
            self.os = newest;
        }
        if level >= Durability::Disk {
            self.disk = newest;
        }
    }

    /// A handle was let go of in good order, and this was found: newer states are gone, which only those may be that
    /// were acknowledged at `Memory` alone.
    ///
    /// # Panics
    /// If it is no state of the run, or acknowledged ones are gone.
    pub fn go_on_from(&mut self, found: &Map, context: &str) {
        self.check(found, Death::Process, context);
        let at = self.states.iter().rposition(|state| **state == *found).expect("it was just found");
        self.states.truncate(at + 1);
    }

    /// The oldest state that a crash may leave.
    fn least(&self, death: Death) -> usize {
        if death == Death::Process { self.os } else { self.disk }
    }

    /// What may be found after one more crash of what a crash left, if nothing was acknowledged in between.
    #[must_use]
    pub fn after(&self, death: Death) -> History {
        History { os: self.least(death), ..self.clone() }
    }

    /// A crash left this, and nothing later: a crash while it is recovered leaves nothing later either.
    pub fn ends_at(&mut self, found: &Map) {
        if let Some(at) = self.states.iter().rposition(|state| **state == *found) {
            self.states.truncate(at + 1);
            self.os = self.os.min(at);
            self.disk = self.disk.min(at);
        }
    }

    /// Stops the test unless a crash may leave what was found.
    ///
    /// # Panics
    /// If acknowledged writes are lost, or the state never was.
    pub fn check(&self, found: &Map, death: Death, context: &str) {
        let least = self.least(death);
        let newest = self.states.len() - 1;
        if self.states[least..].iter().rev().any(|state| **state == *found) {
            return;
        }
        let lost = self.states[..least].iter().rposition(|state| **state == *found);
        let acknowledged = &self.states[least];
        let missing = acknowledged.keys().find(|key| !found.contains_key(*key));
        let extra = found.keys().find(|key| !acknowledged.contains_key(*key));
        let other = acknowledged.iter().find(|(key, value)| found.get(*key).is_some_and(|now| now != *value));
        let verdict = match lost {
            Some(at) => format!("acknowledged writes are lost: found the state after commit {at}"),
            None => "found a state that never was".to_owned(),
        };
        panic!(
            "{context}: {verdict}; allowed are {least} to {newest}. Against state {least}: missing {:?}, extra {:?}, \
             other value {:?}; {} entries found, {} expected",
            missing.map(|key| key.escape_ascii().to_string()),
            extra.map(|key| key.escape_ascii().to_string()),
            other.map(|(key, _)| key.escape_ascii().to_string()),
            found.len(),
            acknowledged.len(),
        );
    }
}
