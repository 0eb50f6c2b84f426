//! The phases of a workload: what each does, with which operations, and when it ends.

use super::Amount;
#[cfg(feature = "serde")]
use super::is_false;
use crate::arrivals::Arrivals;
use crate::dist::Dist;
use crate::op::OpKind;
use crate::sizes::Sizes;

/// The share of its time that an open loop may go on for, to answer what waits when the arrivals end.
pub const OPEN_DRAIN_SHARE: f64 = 0.5;

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
    /// How many writes make one batch, in load, age and measure.
    pub batch: u32,
    /// Which state reads see.
    pub snapshot: ReadsFrom,
    /// How many of the newest records a range delete leaves.
    pub retain: Amount,
    /// When it ends.
    pub until: Until,
    /// The file of a trace to send again.
    pub trace: Option<String>,
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
    /// Sends the operations of a recorded trace again and reports them.
    Replay,
    /// Works off the debt of the measured phases, so that their bytes are counted whole.
    Drain,
    /// Compares the store with what was acknowledged.
    Verify,
}

impl PhaseKind {
    /// All kinds, in the order in which phases usually run.
    pub const ALL: [PhaseKind; 7] = [
        PhaseKind::Load,
        PhaseKind::Age,
        PhaseKind::Settle,
        PhaseKind::Measure,
        PhaseKind::Replay,
        PhaseKind::Drain,
        PhaseKind::Verify,
    ];

    /// Whether the phase draws operations from an [`crate::generator::OpStream`].
    pub const fn has_ops(self) -> bool {
        matches!(self, PhaseKind::Load | PhaseKind::Age | PhaseKind::Measure)
    }

    /// The keys of the file format that have an effect in a phase of this kind, besides `kind` and `name`.
    pub const fn keys(self) -> &'static [&'static str] {
        match self {
            PhaseKind::Load => &["order", "batch", "until"],
            PhaseKind::Age => &["ops", "dist", "scan", "batch", "retain", "until"],
            PhaseKind::Measure => {
                &["loop", "arrivals", "ops", "dist", "scan", "batch", "snapshot", "retain", "until"]
            }
            PhaseKind::Settle | PhaseKind::Drain => &["until"],
            PhaseKind::Replay => &["trace"],
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
            PhaseKind::Replay => "replay",
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
                "loop" => map.serialize_entry(key, self.arrival.name())?,
                "arrivals" => match &self.arrival {
                    Loop::Closed => {}
                    Loop::Open(arrivals) => map.serialize_entry(key, arrivals)?,
                },
                "ops" => map.serialize_entry(key, &self.ops)?,
                "dist" => map.serialize_entry(key, &self.dist)?,
                "scan" => map.serialize_entry(key, &self.scan)?,
                "order" => map.serialize_entry(key, &self.order)?,
                "batch" => map.serialize_entry(key, &self.batch)?,
                "snapshot" if self.snapshot == ReadsFrom::Newest => {}
                "snapshot" => map.serialize_entry(key, self.snapshot.name())?,
                "retain" if self.ops.share(OpKind::DeleteRange) == 0.0 => {}
                "retain" => map.serialize_entry(key, &self.retain)?,
                "trace" => map.serialize_entry(key, &self.trace)?,
                "until" => map.serialize_entry(key, &self.until)?,
                other => unreachable!("{other} is a key of some phase and is serialised here"),
            }
        }
        map.end()
    }
}

/// How requests arrive.
#[derive(Clone, Debug, PartialEq)]
pub enum Loop {
    /// Each thread sends its next request when the last is answered.
    Closed,
    /// Requests arrive by a schedule, answered or not, and response time counts from the arrival.
    Open(Arrivals),
}

impl Loop {
    /// Multiplies the times of bursts and tides, the rates staying as they are.
    pub fn stretch(&mut self, factor: f64) {
        match self {
            Loop::Open(Arrivals::OnOff { on_s, off_s, .. }) => {
                (*on_s, *off_s) = (*on_s * factor, *off_s * factor)
            }
            Loop::Open(Arrivals::Sine { period_s, .. }) => *period_s *= factor,
            Loop::Open(_) | Loop::Closed => {}
        }
    }

    /// The word of the file format.
    pub const fn name(&self) -> &'static str {
        match self {
            Loop::Closed => "closed",
            Loop::Open(_) => "open",
        }
    }
}

/// Which state the reads of a phase see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReadsFrom {
    /// The newest one.
    #[default]
    Newest,
    /// That of one snapshot, taken when the phase begins and held to its end.
    Held,
}

impl ReadsFrom {
    /// The word of the file format, the value of the key `snapshot`.
    pub const fn name(self) -> &'static str {
        match self {
            ReadsFrom::Newest => "none",
            ReadsFrom::Held => "held",
        }
    }
}

/// The lengths of scans, in entries.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(tag = "dist", rename_all = "lowercase"))]
pub enum ScanSpec {
    /// Always `limit`.
    Fixed {
        /// The length.
        limit: u32,
    },
    /// Evenly from 1 to `limit`.
    Uniform {
        /// The longest.
        limit: u32,
    },
    /// 1 plus a generalised Pareto number, `limit` at most.
    Pareto {
        /// The longest.
        limit: u32,
        /// The weight of the tail.
        k: f64,
        /// The scale.
        sigma: f64,
    },
}

impl ScanSpec {
    /// The lengths as sizes to draw.
    pub fn lengths(self) -> Sizes {
        match self {
            ScanSpec::Fixed { limit } => Sizes::Fixed { size: limit },
            ScanSpec::Uniform { limit } => Sizes::Uniform { min: 1, max: limit },
            ScanSpec::Pareto { limit, k, sigma } => Sizes::Pareto { k, sigma, min: 1, max: limit },
        }
    }
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
    /// When throughput, write amplification, space and the 99th percentile hold still, but not before `min_s` and not after `max_s`.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "is_false"))]
    pub steady: bool,
    /// The least time of a phase that ends when steady, in seconds.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub min_s: Option<f64>,
    /// The most time of a phase that ends when steady, in seconds.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub max_s: Option<f64>,
    /// The least length of the windows that are looked at, in seconds; none means 10.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub window_s: Option<f64>,
    /// How much debt, in bytes, may be left when a settle or drain ends; none means 0.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub debt_below: Option<Amount>,
}

impl Until {
    /// The longest the phase may take, in seconds.
    pub fn cap_s(&self) -> Option<f64> {
        self.s.or(self.max_s)
    }
}

impl PhaseSpec {
    /// The longest the phase may take, in seconds: an open loop gets half its time again for what waits at the end.
    pub fn cap_s(&self) -> Option<f64> {
        let drain = if self.arrival == Loop::Closed { 1.0 } else { 1.0 + OPEN_DRAIN_SHARE };
        self.until.cap_s().map(|cap| cap * drain)
    }

    /// The files of traces that it needs.
    pub fn trace_files(&self) -> impl Iterator<Item = &String> {
        let timed = match &self.arrival {
            Loop::Open(Arrivals::Trace { file }) => Some(file),
            _ => None,
        };
        self.trace.iter().chain(timed)
    }

    /// True if it finds out how much the engine takes when nobody waits: a measured phase in a closed loop.
    pub fn is_closed_measure(&self) -> bool {
        self.kind == PhaseKind::Measure && self.arrival == Loop::Closed
    }

    /// True if something else than a clock or a trend ends it: a count, or that its work is done.
    pub fn ends_by_itself(&self) -> bool {
        let until = &self.until;
        match self.kind {
            PhaseKind::Age | PhaseKind::Measure => until.records.or(until.ops).or(until.user_bytes).is_some(),
            PhaseKind::Load
            | PhaseKind::Replay
            | PhaseKind::Settle
            | PhaseKind::Drain
            | PhaseKind::Verify => true,
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
