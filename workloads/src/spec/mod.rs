//! What a workload file says, with every default filled in: the data, how to run, and the phases in order.

use std::collections::BTreeMap;
use std::path::Path;

use crate::arrivals::{Arrivals, Rate};
use crate::keys::KeyKind;
use crate::op::OpKind;
use crate::sizes::Sizes;
use crate::values::Values;

mod amount;
mod phase;

pub use amount::{Amount, Base};
pub use phase::{Loop, Mix, OPEN_DRAIN_SHARE, Order, PhaseKind, PhaseSpec, ReadsFrom, ScanSpec, Until};

/// The least memory budget that a share of the data comes to, in bytes: engines need some whatever the data.
pub const MEMORY_SHARE_MIN: u64 = 1 << 20;

/// A workload. Amounts may still be relative ("10x_memory"); [`Spec::resolved`] turns them into counts.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Spec {
    /// The version of the file format, 1.
    pub schema: u32,
    /// The name, as `kvlab run` takes it.
    pub name: String,
    /// What tells it from the other cells of its matrix, such as "value.size=100"; empty without one.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "String::is_empty"))]
    pub label: String,
    /// What question the workload answers, in one sentence.
    pub purpose: String,
    /// The claims it gives evidence for, such as "C01".
    pub claims: Vec<String>,
    /// The records.
    pub data: DataSpec,
    /// How to run.
    pub run: RunSpec,
    /// The phases, in order.
    #[cfg_attr(feature = "serde", serde(rename = "phase"))]
    pub phases: Vec<PhaseSpec>,
    /// What a phase of kind verify does.
    pub verify: VerifySpec,
}

/// The records of a workload.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct DataSpec {
    /// How many.
    pub records: Amount,
    /// Their keys.
    pub key: KeySpec,
    /// Their values.
    pub value: ValueSpec,
}

/// The keys of a workload.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KeySpec {
    /// The kind.
    pub kind: KeyKind,
}

/// The values of a workload.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct ValueSpec {
    /// How sizes are drawn, in bytes.
    #[cfg_attr(feature = "serde", serde(flatten))]
    pub sizes: Sizes,
    /// The share of a value that is zeros, 0 to 1.
    pub compressibility: f64,
}

#[cfg(feature = "serde")]
impl serde::Serialize for KeySpec {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("kind", self.kind.name())?;
        map.serialize_entry("order", if self.kind.is_ordered() { "ordered" } else { "hashed" })?;
        if let KeyKind::Series16 { series } = self.kind {
            map.serialize_entry("series", &series)?;
        }
        map.end()
    }
}

/// How to run a workload; the command line may override each.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct RunSpec {
    /// The memory each engine gets, in bytes.
    pub memory_budget: Amount,
    /// The durability of every write.
    pub durability: Durability,
    /// The number of client threads.
    pub threads: u32,
    /// The seed of all randomness.
    pub seed: u64,
    /// How often the whole run is repeated.
    pub repeats: u32,
    /// Whether files are synced and the page cache is asked to forget them between phases.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "is_false"))]
    pub drop_caches: bool,
    /// Options by the engine they are for, as `--engine` takes them: "filter=classic:filter_bits=5".
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "BTreeMap::is_empty"))]
    pub engine: BTreeMap<String, String>,
}

#[cfg(feature = "serde")]
fn is_false(flag: &bool) -> bool {
    !*flag
}

/// What a write survives once it is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "lowercase"))]
pub enum Durability {
    /// Nothing: it may be lost with the process.
    Memory,
    /// The end of the process.
    Os,
    /// A loss of power.
    Disk,
}

impl Durability {
    /// The words of the file format, weakest first.
    pub const WORDS: [&str; 3] = ["memory", "os", "disk"];
    /// The levels, in the order of [`Durability::WORDS`].
    pub const ALL: [Durability; 3] = [Durability::Memory, Durability::Os, Durability::Disk];

    /// The word of the file format.
    pub const fn name(self) -> &'static str {
        Durability::WORDS[self as usize]
    }
}

impl std::str::FromStr for Durability {
    type Err = String;

    /// Reads `memory`, `os` or `disk`.
    fn from_str(word: &str) -> Result<Durability, String> {
        let found = Durability::ALL.into_iter().find(|level| level.name() == word);
        found.ok_or_else(|| format!("unknown durability \"{word}\"; known: {}", Durability::WORDS.join(", ")))
    }
}

/// What a phase of kind verify does.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct VerifySpec {
    /// The share of the records that is read back one by one, 0 to 1.
    pub read_sample: f64,
    /// Whether the whole store is scanned and compared with the oracle.
    pub final_scan: bool,
}

impl DataSpec {
    /// The maker of the values.
    pub fn values(&self) -> Values {
        Values::drawn(self.value.sizes, self.value.compressibility)
    }

    /// Key and value bytes of one record, on average where sizes are drawn.
    pub fn entry_bytes(&self) -> u64 {
        self.key.kind.len_bytes() as u64 + self.value.sizes.mean().round() as u64
    }
}

impl Spec {
    /// The memory each engine gets, in bytes. A share of the data comes to [`MEMORY_SHARE_MIN`] at least.
    pub fn memory_budget(&self) -> u64 {
        match self.run.memory_budget {
            Amount::Count(bytes) => bytes,
            Amount::Times { factor, .. } => {
                let entries = match self.data.records {
                    Amount::Count(count) => count,
                    // The reader refuses two amounts that hang on each other.
                    Amount::Times { .. } => 0,
                };
                let data = entries.saturating_mul(self.data.entry_bytes()) as f64;
                ((data * factor).round() as u64).max(MEMORY_SHARE_MIN)
            }
        }
    }

    /// The number of records, at least 1.
    pub fn records(&self) -> u64 {
        match self.data.records {
            Amount::Count(count) => count.max(1),
            Amount::Times { factor, .. } => {
                let bytes = self.memory_budget() as f64 * factor;
                ((bytes / self.data.entry_bytes() as f64).round() as u64).max(1)
            }
        }
    }

    /// Key and value bytes of all records.
    pub fn data_bytes(&self) -> u64 {
        self.records().saturating_mul(self.data.entry_bytes())
    }

    /// An amount as a count, at least 1.
    pub fn count(&self, amount: Amount) -> u64 {
        match amount {
            Amount::Count(count) => count.max(1),
            Amount::Times { factor, of } => {
                let base = match of {
                    Base::Memory => self.memory_budget(),
                    Base::Records => self.records(),
                    Base::Data => self.data_bytes(),
                };
                ((base as f64 * factor).round() as u64).max(1)
            }
        }
    }

    /// The same workload with every amount as a count: what a result file keeps.
    pub fn resolved(&self) -> Spec {
        let mut spec = self.clone();
        spec.data.records = Amount::Count(self.records());
        spec.run.memory_budget = Amount::Count(self.memory_budget());
        let count = |amount: Option<Amount>| amount.map(|amount| Amount::Count(self.count(amount)));
        for phase in &mut spec.phases {
            phase.until.records = count(phase.until.records);
            phase.until.ops = count(phase.until.ops);
            phase.until.user_bytes = count(phase.until.user_bytes);
            phase.until.debt_below = count(phase.until.debt_below);
            if phase.ops.share(OpKind::DeleteRange) > 0.0 {
                phase.retain = Amount::Count(self.count(phase.retain));
            }
        }
        spec
    }

    /// Looks for traces with relative names in `folder`, that of the workload file.
    pub fn find_traces_in(&mut self, folder: &Path) {
        let find = |file: &mut String| *file = folder.join(&*file).to_string_lossy().into_owned();
        for phase in &mut self.phases {
            phase.trace.iter_mut().for_each(find);
            if let Loop::Open(Arrivals::Trace { file }) = &mut phase.arrival {
                find(file);
            }
        }
    }

    /// What makes the workload impossible, in one line: an open loop needs an end and a known rate, a range delete must
    /// find the records of a thread side by side in key order. Ask again after changing the number of threads.
    pub fn problem(&self) -> Option<String> {
        self.open_problem().or_else(|| self.replay_problem()).or_else(|| self.range_problem())
    }

    /// A share of a capacity needs one, and a timetable an end.
    fn open_problem(&self) -> Option<String> {
        let mut is_known = false;
        for phase in &self.phases {
            is_known |= phase.is_closed_measure();
            let Loop::Open(arrivals) = &phase.arrival else { continue };
            if matches!(arrivals.rate(), Some(Rate::TimesMax(_))) && !is_known {
                return Some(format!(
                    "the rate of phase \"{}\" is a share of a capacity that no closed loop before it measures; put a \
                     measured phase before it, or give requests a second",
                    phase.name
                ));
            }
            if phase.batch > 1 {
                return Some(format!(
                    "the open loop of phase \"{}\" sends requests one by one as they are due; leave its batch out",
                    phase.name
                ));
            }
            if phase.until.ops.is_none() && phase.until.cap_s().is_none() {
                return Some(format!("the open loop of phase \"{}\" needs an end by ops or s", phase.name));
            }
        }
        None
    }

    /// A replay empties the store, and what it leaves no generator knows.
    fn replay_problem(&self) -> Option<String> {
        let replay = self.phases.iter().position(|phase| phase.kind == PhaseKind::Replay)?;
        let after = self.phases[replay..].iter().find(|phase| phase.kind.has_ops())?;
        Some(format!(
            "phase \"{}\" follows a replay, whose records it does not know; put it before, or leave it out",
            after.name
        ))
    }

    fn range_problem(&self) -> Option<String> {
        let phase = self.phases.iter().find(|phase| phase.ops.share(OpKind::DeleteRange) > 0.0)?;
        let (kind, threads) = (self.data.key.kind, self.run.threads.max(1));
        let wanted = match kind {
            KeyKind::Series16 { series } if series.is_multiple_of(threads) => return None,
            KeyKind::Series16 { series } => {
                format!("a number of threads that divides {series} series, not {threads}")
            }
            _ if !kind.is_ordered() => format!("keys in record order, not {} in hashed order", kind.name()),
            _ if threads > 1 => format!("one thread, not {threads}, where keys are no series"),
            _ => return None,
        };
        Some(format!("delete_range in phase \"{}\" needs {wanted}", phase.name))
    }

    /// The workload as one engine sees it: without the options of the others and without the label that may name
    /// them. Two cells that look the same to an engine need one run.
    pub fn seen_by(&self, engine: &str) -> Spec {
        let mut spec = self.clone();
        spec.run.engine.retain(|name, _| name == engine);
        spec.label.clear();
        spec
    }
}
