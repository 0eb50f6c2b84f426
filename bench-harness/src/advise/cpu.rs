//! What an operation costs the processor: constants that were measured, or those of a result file.
//!
//! The constants are solved from the README's results (two cores of an AMD EPYC, 2026-11-21, one client, buffered): the time
//! of an operation, less 350 ns of the harness, is what its share of gets, puts, blocks read and pages written costs. Scans
//! are from `scan-heavy` at smoke size, the median over its 100 entries. Times of system calls are in them.

use crate::model::{Load, Predicted, Settings};

use super::bound::reads_per_op;

/// Nanoseconds of processor time of one family of engines.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Costs {
    /// A get whose blocks are in memory.
    pub get_ns: f64,
    /// A write: log and memory.
    pub put_ns: f64,
    /// A block of 4 KiB that is read and checked.
    pub read_block_ns: f64,
    /// A byte that upkeep writes.
    pub written_byte_ns: f64,
    /// Where a scan begins, in each of its sources.
    pub seek_ns: f64,
    /// An entry that a scan returns.
    pub scan_entry_ns: f64,
    /// Times all of them: 1, or what a result file says.
    pub factor: f64,
}

/// The costs of both families.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Cpu {
    /// The B+tree.
    pub btree: Costs,
    /// The LSM tree.
    pub lsm: Costs,
}

/// What an operation takes of the processor, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Cost {
    /// In the client's thread.
    pub client_ns: f64,
    /// In the threads of upkeep.
    pub background_ns: f64,
}

/// Bytes of the block that `read_block_ns` is for.
const BLOCK_BYTES: f64 = 4096.0;

impl Cpu {
    /// The documented constants.
    pub fn measured() -> Cpu {
        Cpu {
            btree: Costs {
                get_ns: 700.0,
                put_ns: 1_600.0,
                read_block_ns: 2_500.0,
                written_byte_ns: 1.0,
                seek_ns: 700.0,
                scan_entry_ns: 25.0,
                factor: 1.0,
            },
            lsm: Costs {
                get_ns: 1_200.0,
                put_ns: 1_300.0,
                read_block_ns: 2_500.0,
                written_byte_ns: 4.0,
                seek_ns: 600.0,
                scan_entry_ns: 45.0,
                factor: 1.0,
            },
        }
    }

    /// The costs of the family that `settings` belong to.
    pub fn of(&self, settings: &Settings) -> &Costs {
        match settings {
            Settings::BTree(_) => &self.btree,
            Settings::Lsm(_) => &self.lsm,
        }
    }

    /// The same, to change.
    pub fn of_mut(&mut self, settings: &Settings) -> &mut Costs {
        match settings {
            Settings::BTree(_) => &mut self.btree,
            Settings::Lsm(_) => &mut self.lsm,
        }
    }

    /// What an operation of `load` costs on average.
    pub fn per_op(&self, load: &Load, settings: &Settings, predicted: &Predicted) -> Cost {
        let costs = self.of(settings);
        let block = costs.read_block_ns * (1.0 + predicted.block_bytes / BLOCK_BYTES) / 2.0;
        let client = load.gets * costs.get_ns
            + load.writes * costs.put_ns
            + load.scans * (predicted.scan_runs * costs.seek_ns + load.scan_entries * costs.scan_entry_ns)
            + reads_per_op(load, predicted) * block;
        let log = load.log_write_amplification();
        let upkeep = load.writes * load.write_bytes() * (predicted.wa.unwrap_or(log) - log).max(0.0);
        // A B+tree's writers write pages themselves while a checkpoint syncs, which is most of the time.
        let (own, others) = match settings {
            Settings::BTree(_) => (upkeep, 0.0),
            Settings::Lsm(_) => (0.0, upkeep),
        };
        Cost {
            client_ns: costs.factor * (client + own * costs.written_byte_ns),
            background_ns: costs.factor * others * costs.written_byte_ns,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{load, predicted, tree};
    use super::*;

    #[test]
    fn an_operation_costs_the_sum_of_its_parts() {
        let cpu = Cpu::measured();
        let cost = cpu.per_op(&load(), &tree(), &predicted());
        // Half gets, half writes; each misses half of the time; 116 B written at 10 less the log's 152 / 116.
        let pages = 0.5 * (116.0 * 10.0 - 152.0);
        let expected = 0.5 * 700.0 + 0.5 * 1600.0 + 0.5 * 2500.0 + pages;
        assert!((cost.client_ns - expected).abs() < 1e-6, "{cost:?} {expected}");
        let mut twice = cpu;
        twice.of_mut(&tree()).factor = 2.0;
        assert!((twice.per_op(&load(), &tree(), &predicted()).client_ns - 2.0 * expected).abs() < 1e-6);
    }
}
