//! What a workload file says, with every default filled in: the data, how to run, and the phases in order.

use crate::dist::Dist;
use crate::keys::KeyKind;
use crate::op::OpKind;
use crate::values::Values;

/// A workload. Amounts may still be relative ("10x_memory"); [`Spec::resolved`] turns them into counts.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Spec {
    /// The version of the file format, 1.
    pub schema: u32,
    /// The name, as `kvlab run` takes it.
    pub name: String,
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
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct KeySpec {
    /// The kind.
    pub kind: KeyKind,
}

/// The values of a workload.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct ValueSpec {
    /// How sizes are drawn. Distributions of sizes will join `Fixed` here.
    pub dist: ValueDist,
    /// The size of every value, in bytes.
    pub size: u32,
    /// The share of a value that is zeros, 0 to 1.
    pub compressibility: f64,
}

/// How the sizes of values are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "lowercase"))]
pub enum ValueDist {
    /// All alike.
    Fixed,
}

/// How to run a workload; the command line may override each.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct RunSpec {
    /// The memory each engine gets, in bytes.
    pub memory_budget: u64,
    /// The durability of every write.
    pub durability: Durability,
    /// The number of client threads.
    pub threads: u32,
    /// The seed of all randomness.
    pub seed: u64,
    /// How often the whole run is repeated.
    pub repeats: u32,
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

/// One phase. Serialised with the keys that have an effect in its kind alone, so that what a result shows can be
/// read again.
#[derive(Clone, Debug, PartialEq)]
pub struct PhaseSpec {
    /// What it does.
    pub kind: PhaseKind,
    /// Its name in results, the kind unless the file gives one.
    pub name: String,
    /// How requests arrive.
    pub arrival: Loop,
    /// The shares of the operations; empty in phases without.
    pub ops: Mix,
    /// How records are chosen.
    pub dist: Dist,
    /// The lengths of scans.
    pub scan: ScanSpec,
    /// The order in which a load writes.
    pub order: Order,
    /// How many writes make one batch, in load and age.
    pub batch: u32,
    /// When it ends.
    pub until: Until,
}

/// What a phase does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "lowercase"))]
pub enum PhaseKind {
    /// Writes the records for the first time.
    Load,
    /// Brings the store into the state it has after long use; not part of the headline.
    Age,
    /// Waits until the engine has no debt left.
    Settle,
    /// Runs operations and reports them.
    Measure,
    /// Works off the debt of the measured phases, so that their bytes are counted whole.
    Drain,
    /// Compares the store with what was acknowledged.
    Verify,
}

impl PhaseKind {
    /// Whether the phase draws operations from an [`crate::generator::OpStream`].
    pub const fn has_ops(self) -> bool {
        matches!(self, PhaseKind::Load | PhaseKind::Age | PhaseKind::Measure)
    }

    /// The keys of the file format that have an effect in a phase of this kind, besides `kind` and `name`.
    pub const fn keys(self) -> &'static [&'static str] {
        match self {
            PhaseKind::Load => &["order", "batch", "until"],
            PhaseKind::Age => &["ops", "dist", "scan", "batch", "until"],
            PhaseKind::Measure => &["loop", "ops", "dist", "scan", "until"],
            PhaseKind::Settle | PhaseKind::Drain => &["until"],
            PhaseKind::Verify => &[],
        }
    }

    /// The word of the file format.
    pub const fn name(self) -> &'static str {
        match self {
            PhaseKind::Load => "load",
            PhaseKind::Age => "age",
            PhaseKind::Settle => "settle",
            PhaseKind::Measure => "measure",
            PhaseKind::Drain => "drain",
            PhaseKind::Verify => "verify",
        }
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for PhaseSpec {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("kind", &self.kind)?;
        map.serialize_entry("name", &self.name)?;
        for key in self.kind.keys() {
            match *key {
                "loop" => map.serialize_entry(key, &self.arrival)?,
                "ops" => map.serialize_entry(key, &self.ops)?,
                "dist" => map.serialize_entry(key, &self.dist)?,
                "scan" => map.serialize_entry(key, &self.scan)?,
                "order" => map.serialize_entry(key, &self.order)?,
                "batch" => map.serialize_entry(key, &self.batch)?,
                "until" => map.serialize_entry(key, &self.until)?,
                other => unreachable!("{other} is a key of some phase and is serialised here"),
            }
        }
        map.end()
    }
}

/// How requests arrive. An open loop, with its arrival kinds, will join `Closed` here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "lowercase"))]
pub enum Loop {
    /// Each thread sends its next request when the last is answered.
    Closed,
}

/// The lengths of scans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct ScanSpec {
    /// How lengths are drawn.
    pub dist: ScanDist,
    /// The longest scan, in entries.
    pub limit: u32,
}

/// How the lengths of scans are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "lowercase"))]
pub enum ScanDist {
    /// Always `limit`.
    Fixed,
    /// Evenly from 1 to `limit`.
    Uniform,
}

/// The order in which a load writes the records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "lowercase"))]
pub enum Order {
    /// By record number; with int8 keys that is key order.
    Sequential,
    /// In a seeded random order.
    Random,
    /// By record number, downwards.
    Reverse,
}

/// When a phase ends: at whatever comes first.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Until {
    /// After so many records are loaded, all threads together.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub records: Option<Amount>,
    /// After so many operations, all threads together.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub ops: Option<Amount>,
    /// After so many key and value bytes were given to writes, all threads together.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub user_bytes: Option<Amount>,
    /// After so many seconds: a cap when a count stands beside it.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub s: Option<f64>,
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

/// A count, or a multiple of something that is known once the run is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Amount {
    /// A plain number.
    Count(u64),
    /// Written as in "10x_memory".
    Times {
        /// How many times.
        factor: f64,
        /// What.
        of: Base,
    },
}

/// What an [`Amount`] may be a multiple of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base {
    /// The memory budget, in bytes; for records, as many as fill it.
    Memory,
    /// The number of records.
    Records,
    /// Key and value bytes of all records.
    Data,
}

impl std::fmt::Display for Amount {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Amount::Count(count) => write!(f, "{count}"),
            Amount::Times { factor, of: Base::Memory } => write!(f, "{factor}x_memory"),
            Amount::Times { factor, of: Base::Records } => write!(f, "{factor}x_records"),
            Amount::Times { factor, of: Base::Data } => write!(f, "{factor}x_data"),
        }
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for Amount {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Amount::Count(count) => serializer.serialize_u64(*count),
            Amount::Times { .. } => serializer.collect_str(self),
        }
    }
}

/// The shares of the operations in a phase; they sum to 1, or all are 0.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Mix {
    shares: [f64; OpKind::ALL.len()],
}

impl Mix {
    /// A mix of one operation alone.
    pub fn only(kind: OpKind) -> Mix {
        Mix::default().with(kind, 1.0)
    }

    /// The same mix with the share of `kind` set.
    pub fn with(mut self, kind: OpKind, share: f64) -> Mix {
        self.shares[kind as usize] = share;
        self
    }

    /// The share of `kind`, 0 to 1.
    pub fn share(&self, kind: OpKind) -> f64 {
        self.shares[kind as usize]
    }

    /// The operations with a share, in the order of [`OpKind::ALL`].
    pub fn iter(&self) -> impl Iterator<Item = (OpKind, f64)> {
        OpKind::ALL.into_iter().zip(self.shares).filter(|(_, share)| *share > 0.0)
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for Mix {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl DataSpec {
    /// The maker of the values.
    pub fn values(&self) -> Values {
        Values::new(self.value.size, self.value.compressibility)
    }

    /// Key and value bytes of one record.
    pub fn entry_bytes(&self) -> u64 {
        self.key.kind.len_bytes() as u64 + u64::from(self.value.size)
    }
}

impl Spec {
    /// The number of records, at least 1.
    pub fn records(&self) -> u64 {
        match self.data.records {
            Amount::Count(count) => count.max(1),
            Amount::Times { factor, .. } => {
                let bytes = self.run.memory_budget as f64 * factor;
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
                    Base::Memory => self.run.memory_budget,
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
        let count = |amount: Option<Amount>| amount.map(|amount| Amount::Count(self.count(amount)));
        for phase in &mut spec.phases {
            phase.until.records = count(phase.until.records);
            phase.until.ops = count(phase.until.ops);
            phase.until.user_bytes = count(phase.until.user_bytes);
        }
        spec
    }
}
