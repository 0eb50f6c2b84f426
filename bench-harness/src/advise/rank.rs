//! Who is first, by how much, what would change it, and how well each holds when the mix is not what it was said to be.

use super::bound::{Bound, Clients, bound, reads_per_op};
use super::candidates::{Candidate, all};
use super::cpu::Cpu;
use super::device::Device;
use crate::model::{Load, Predicted};

/// Bounds that differ by less than this factor are no choice: the model's own errors are of that size.
pub const TOO_CLOSE: f64 = 1.3;
/// How far an input is changed in search of another winner: a doubling each time.
const DOUBLINGS_MAX: i32 = 6;
const BISECTIONS: u32 = 10;
/// Shares of the operations that the neighbourhood of a mix moves from one kind to another.
const MOVED_SHARES: [f64; 2] = [0.1, 0.2];

/// What is asked.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    /// The workload.
    pub load: Load,
    /// The memory of each engine, in bytes.
    pub memory_bytes: u64,
    /// How operations are issued.
    pub clients: Clients,
    /// The device.
    pub device: Device,
    /// The processor.
    pub cpu: Cpu,
}

/// One setting, weighed.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Weighed {
    /// As in `--engine`.
    pub label: String,
    /// The engine's name.
    pub engine: &'static str,
    /// What theory says of it.
    pub predicted: Predicted,
    /// Blocks read from the device by an operation.
    pub reads_per_op: f64,
    /// How fast it can be at most.
    pub bound: Bound,
    /// Its bound over that of the next one; `None` for the last.
    pub margin: Option<f64>,
    /// The least it reaches of the best one's bound over the neighbourhood of the mix, 0 to 1.
    pub worst_share: f64,
}

/// What would change the winning engine.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Flip {
    /// The input.
    pub input: &'static str,
    /// Its unit; empty for a count.
    pub unit: &'static str,
    /// What it is.
    pub now: f64,
    /// From which value on, upwards or downwards, another engine is first.
    pub at: f64,
    /// Who that is.
    pub to: String,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Advice {
    /// Every setting, the fastest first.
    pub ranking: Vec<Weighed>,
    /// The bound of the first over that of the best one of another engine; `None` without one.
    pub lead: Option<f64>,
    /// True if that is less than [`TOO_CLOSE`].
    pub too_close: bool,
    /// What would change the engine that is first, the smallest change first.
    pub flips: Vec<Flip>,
    /// The setting that loses least over the neighbourhood of the mix.
    pub most_robust: String,
    /// Mixes in that neighbourhood.
    pub neighbours: usize,
    /// Settings without a formula for this workload, and why.
    pub left_out: Vec<(String, String)>,
}

impl Question {
    /// Weighs one setting, if there are formulas for it.
    fn weigh(&self, candidate: &Candidate) -> Result<Weighed, String> {
        let predicted = candidate.settings.predict(&self.load)?;
        let bound =
            bound(&self.load, &candidate.settings, &predicted, &self.clients, &self.device, &self.cpu);
        Ok(Weighed {
            label: candidate.label.clone(),
            engine: candidate.engine,
            predicted,
            reads_per_op: reads_per_op(&self.load, &predicted),
            bound,
            margin: None,
            worst_share: 1.0,
        })
    }

    /// Every setting that there are formulas for, the fastest first. Among equals, which one resource binds alike, the one
    /// that writes least.
    fn weighed(&self) -> Vec<Weighed> {
        let mut found: Vec<_> =
            all(self.memory_bytes).iter().filter_map(|candidate| self.weigh(candidate).ok()).collect();
        let wa = |weighed: &Weighed| weighed.predicted.wa.unwrap_or(0.0);
        found.sort_by(|a, b| b.bound.ops_per_s.total_cmp(&a.bound.ops_per_s).then(wa(a).total_cmp(&wa(b))));
        found
    }

    /// The answer; `None` if no setting has formulas for this workload.
    pub fn advise(&self) -> Option<Advice> {
        let mut ranking = self.weighed();
        let first = ranking.first()?.clone();
        for place in 1..ranking.len() {
            ranking[place - 1].margin =
                Some(ranking[place - 1].bound.ops_per_s / ranking[place].bound.ops_per_s);
        }
        let rival = ranking.iter().find(|weighed| weighed.engine != first.engine);
        let lead = rival.map(|rival| first.bound.ops_per_s / rival.bound.ops_per_s);
        let neighbours = self.neighbours();
        for mix in &neighbours {
            let there = mix.weighed();
            let best = there.first().map_or(0.0, |best| best.bound.ops_per_s);
            for weighed in &mut ranking {
                let own = there.iter().find(|other| other.label == weighed.label);
                let share = own.map_or(0.0, |own| own.bound.ops_per_s / best);
                weighed.worst_share = weighed.worst_share.min(share);
            }
        }
        // Among equals the faster one, which comes first.
        let most_robust = ranking.iter().rev().max_by(|a, b| a.worst_share.total_cmp(&b.worst_share));
        let most_robust = most_robust.map(|weighed| weighed.label.clone()).unwrap_or_default();
        let left_out = all(self.memory_bytes).into_iter().filter_map(|candidate| {
            let why = self.weigh(&candidate).err()?;
            Some((candidate.label, why))
        });
        Some(Advice {
            lead,
            too_close: lead.is_some_and(|lead| lead < TOO_CLOSE),
            flips: self.flips(first.engine),
            most_robust,
            neighbours: neighbours.len(),
            left_out: left_out.collect(),
            ranking,
        })
    }

    /// The mixes a little beside this one: a tenth and a fifth of the operations are of another kind.
    fn neighbours(&self) -> Vec<Question> {
        let mut out = Vec::new();
        let kinds = [Kind::Gets, Kind::Scans, Kind::Writes];
        for from in kinds {
            for to in kinds.into_iter().filter(|to| *to != from) {
                for moved in MOVED_SHARES.into_iter().filter(|moved| from.share(&self.load) >= *moved) {
                    let mut other = self.clone();
                    *from.share_mut(&mut other.load) -= moved;
                    *to.share_mut(&mut other.load) += moved;
                    if other.load.scan_entries == 0.0 {
                        other.load.scan_entries = SCAN_ENTRIES;
                    }
                    out.push(other);
                }
            }
        }
        out
    }

    /// What makes another engine than `winner` the first, each input changed alone. Where there are no formulas for the
    /// winner any more, nothing is said to beat it.
    fn flips(&self, winner: &str) -> Vec<Flip> {
        let is_other = |question: &Question| {
            let weighed = question.weighed();
            let is_first = weighed.first().is_some_and(|first| first.engine == winner);
            !is_first && weighed.iter().any(|other| other.engine == winner)
        };
        let mut found: Vec<(f64, Flip)> = Vec::new();
        for input in INPUTS {
            let Some(now) = (input.read)(self) else { continue };
            let with = |factor: f64| (input.write)(self, factor);
            for direction in [1.0, -1.0] {
                let steps = (1..=DOUBLINGS_MAX).map(|step| f64::from(step) * direction);
                let Some(beyond) = steps.into_iter().find(|step| is_other(&with(step.exp2()))) else {
                    continue;
                };
                let (mut same, mut other) = (beyond - direction, beyond);
                for _ in 0..BISECTIONS {
                    let middle = f64::midpoint(same, other);
                    if is_other(&with(middle.exp2())) { other = middle } else { same = middle }
                }
                let there = with(other.exp2());
                let to = there.weighed().first().map(|first| first.label.clone()).unwrap_or_default();
                let at = (input.read)(&there).unwrap_or(now);
                found.push((other.abs(), Flip { input: input.name, unit: input.unit, now, at, to }));
            }
        }
        found.sort_by(|a, b| a.0.total_cmp(&b.0));
        found.into_iter().map(|(_, flip)| flip).collect()
    }
}

/// Entries of a scan in the neighbourhood of a mix that has none.
const SCAN_ENTRIES: f64 = 100.0;

/// Kinds of operations that a neighbourhood moves shares between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Gets,
    Scans,
    Writes,
}

impl Kind {
    fn share(self, load: &Load) -> f64 {
        let mut load = *load;
        *self.share_mut(&mut load)
    }

    fn share_mut(self, load: &mut Load) -> &mut f64 {
        match self {
            Kind::Gets => &mut load.gets,
            Kind::Scans => &mut load.scans,
            Kind::Writes => &mut load.writes,
        }
    }
}

/// An input of the question that a user may have wrong.
struct Input {
    name: &'static str,
    unit: &'static str,
    /// What it is; `None` if it is unknown or plays no part.
    read: fn(&Question) -> Option<f64>,
    /// The question with it that many times as large; of a share, its odds.
    write: fn(&Question, f64) -> Question,
}

const INPUTS: &[Input] = &[
    Input {
        name: "value",
        unit: "B",
        read: |question| Some(question.load.value_bytes as f64),
        write: |question, factor| {
            let mut other = question.clone();
            other.load.value_bytes = ((question.load.value_bytes as f64 * factor) as u64).max(1);
            other
        },
    },
    Input {
        name: "records",
        unit: "",
        read: |question| Some(question.load.records as f64),
        write: |question, factor| {
            let mut other = question.clone();
            other.load.records = ((question.load.records as f64 * factor) as u64).max(1);
            other
        },
    },
    Input {
        name: "memory",
        unit: "MiB",
        read: |question| Some(question.memory_bytes as f64 / f64::from(1 << 20)),
        write: |question, factor| {
            let bytes = (question.memory_bytes as f64 * factor) as u64;
            Question { memory_bytes: bytes.max(1 << 20), ..question.clone() }
        },
    },
    Input {
        name: "share of writes",
        unit: "%",
        read: |question| Some(question.load.writes * 100.0).filter(|share| *share > 0.0 && *share < 100.0),
        write: |question, factor| {
            let mut other = question.clone();
            let (writes, rest) = (question.load.writes, 1.0 - question.load.writes);
            other.load.writes = writes * factor / (writes * factor + rest);
            let scale = (1.0 - other.load.writes) / rest;
            other.load.gets *= scale;
            other.load.scans *= scale;
            other
        },
    },
    Input {
        name: "clients",
        unit: "",
        read: |question| Some(question.clients.threads),
        write: |question, factor| {
            let mut other = question.clone();
            other.clients.threads = (question.clients.threads * factor).max(1.0);
            other
        },
    },
    Input {
        name: "cores",
        unit: "",
        read: |question| Some(question.clients.cores),
        write: |question, factor| {
            let mut other = question.clone();
            other.clients.cores = (question.clients.cores * factor).max(1.0);
            other
        },
    },
    Input {
        name: "random reads",
        unit: "IOPS",
        read: |question| question.device.read_iops[0],
        write: |question, factor| {
            let mut other = question.clone();
            other.device.read_iops = question.device.read_iops.map(|rate| rate.map(|rate| rate * factor));
            other
        },
    },
    Input {
        name: "writes of the device",
        unit: "MB/s",
        read: |question| question.device.write_bytes_per_s.map(|rate| rate / 1e6),
        write: |question, factor| {
            let mut other = question.clone();
            let device = &mut other.device;
            device.write_bytes_per_s = device.write_bytes_per_s.map(|rate| rate * factor);
            device.random_write_bytes_per_s = device.random_write_bytes_per_s.map(|rate| rate * factor);
            other
        },
    },
];

#[cfg(test)]
mod tests {
    use super::super::tests::load;
    use super::*;

    fn question() -> Question {
        Question {
            load: load(),
            memory_bytes: 32 << 20,
            clients: Clients { threads: 4.0, cores: 8.0, synced: false },
            device: Device {
                write_bytes_per_s: Some(200e6),
                random_write_bytes_per_s: Some(200e6),
                read_bytes_per_s: Some(500e6),
                read_iops: [Some(1e6), Some(1e6)],
                syncs_per_s: Some(1000.0),
            },
            cpu: Cpu::measured(),
        }
    }

    #[test]
    fn small_records_on_a_slow_disk_go_to_the_lsm_and_large_ones_to_the_tree() {
        let small = question().advise().unwrap();
        assert_eq!(small.ranking.len(), 16);
        assert_eq!(small.ranking[0].engine, "lsm", "{:?}", small.ranking[0]);
        assert!(small.lead.unwrap() > TOO_CLOSE && !small.too_close);
        let sorted = small
            .ranking
            .windows(2)
            .all(|pair| pair[0].bound.ops_per_s >= pair[1].bound.ops_per_s && pair[0].margin.unwrap() >= 1.0);
        assert!(sorted && small.ranking[15].margin.is_none());
        // The rule of the crossover: larger records are written for less by a B+tree.
        let flip = small.flips.iter().find(|flip| flip.input == "value").expect("some size changes it");
        assert!(flip.at > flip.now && flip.to.starts_with("btree"), "{flip:?}");
        let mut large = question();
        large.load.value_bytes = flip.at as u64 + 1;
        assert_eq!(large.advise().unwrap().ranking[0].engine, "btree");
        large.load.value_bytes = (flip.at * 0.9) as u64;
        assert_eq!(large.advise().unwrap().ranking[0].engine, "lsm");
    }

    #[test]
    fn what_no_resource_tells_apart_is_too_close_to_call() {
        let mut few_syncs = question();
        few_syncs.clients.synced = true;
        few_syncs.device.syncs_per_s = Some(10.0);
        let advice = few_syncs.advise().unwrap();
        assert!(advice.too_close && advice.lead == Some(1.0), "{:?}", advice.lead);
        assert_eq!(advice.ranking[0].bound.binding, super::super::Resource::Syncs);
    }

    #[test]
    fn the_neighbourhood_moves_shares_and_keeps_their_sum() {
        let neighbours = question().neighbours();
        // From gets and from writes, a tenth and a fifth, to two others each; there are no scans to take from.
        assert_eq!(neighbours.len(), 8);
        for other in &neighbours {
            assert!((other.load.gets + other.load.scans + other.load.writes - 1.0).abs() < 1e-12);
        }
        let advice = question().advise().unwrap();
        assert_eq!(advice.neighbours, 8);
        assert!(advice.ranking.iter().all(|weighed| (0.0..=1.0).contains(&weighed.worst_share)));
        let robust = advice.ranking.iter().find(|weighed| weighed.label == advice.most_robust).unwrap();
        assert!(advice.ranking.iter().all(|weighed| weighed.worst_share <= robust.worst_share));
    }

    #[test]
    fn a_setting_without_formula_is_named_and_left_out() {
        let mut large = question();
        large.load.value_bytes = 2000;
        let advice = large.advise().unwrap();
        let out: Vec<_> = advice.left_out.iter().map(|(label, _)| label.as_str()).collect();
        assert_eq!(out, ["btree:page_size=4KiB"]);
        assert_eq!(advice.ranking.len(), 15);
    }
}
