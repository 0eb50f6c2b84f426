//! How fast an engine can be at most: what each resource allows, and the one that allows least.
//!
//! X = min(write MB/s / (f_put r WA), read MB/s / bytes merged, IOPS / reads, cores / CPU per operation, syncs / s * g). The
//! bytes that a B+tree writes are pages anywhere in its file, those of an LSM tree are files front to back: each is set
//! against what the device does in that manner.

use crate::model::{Load, Predicted, Settings};

use super::cpu::Cpu;
use super::device::Device;

/// What an engine can run out of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Resource {
    /// Bytes a second that the device takes.
    Writes,
    /// Bytes a second that it gives in order, for merges.
    MergeReads,
    /// Blocks a second that it gives from anywhere.
    Reads,
    /// Time of all cores.
    Cores,
    /// Time of the clients' own threads.
    Clients,
    /// Syncs a second.
    Syncs,
}

impl Resource {
    /// In words, for tables.
    pub fn words(self) -> &'static str {
        match self {
            Resource::Writes => "write MB/s",
            Resource::MergeReads => "merge MB/s",
            Resource::Reads => "read IOPS",
            Resource::Cores => "cores",
            Resource::Clients => "client CPU",
            Resource::Syncs => "syncs",
        }
    }
}

/// What operations are asked for beside those that the model knows: how they are issued.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Clients {
    /// Threads that each wait for their answer.
    pub threads: f64,
    /// Cores of the machine.
    pub cores: f64,
    /// True if each commit waits for a sync.
    pub synced: bool,
}

/// What the resources allow.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Bound {
    /// Operations a second: the least of them all.
    pub ops_per_s: f64,
    /// The resource that allows least.
    pub binding: Resource,
    /// What each allows, in operations a second; those that an operation does not use are not here.
    pub each: Vec<(Resource, f64)>,
}

/// Blocks read from the device by an operation on average.
pub fn reads_per_op(load: &Load, predicted: &Predicted) -> f64 {
    load.gets * predicted.misses_per_get
        + load.writes * predicted.misses_per_write
        + load.scans * predicted.scan_blocks(load.scan_entries) * predicted.miss_share
}

/// The bound of one engine.
pub fn bound(
    load: &Load,
    settings: &Settings,
    predicted: &Predicted,
    clients: &Clients,
    device: &Device,
    cpu: &Cpu,
) -> Bound {
    let user_bytes = load.writes * load.write_bytes();
    let written = user_bytes * predicted.wa.unwrap_or(0.0);
    let cost = cpu.per_op(load, settings, predicted);
    let mut each = Vec::new();
    let mut allow = |resource: Resource, supply: Option<f64>, demand: f64| {
        if let Some(supply) = supply.filter(|_| demand > 0.0) {
            each.push((resource, supply / demand));
        }
    };
    let is_ordered = matches!(settings, Settings::Lsm(_));
    allow(Resource::Writes, device.write_bytes_per_s(is_ordered, predicted.block_bytes), written);
    allow(Resource::MergeReads, device.read_bytes_per_s, user_bytes * predicted.merge_reads);
    let iops = device.reads_per_s(predicted.block_bytes, clients.threads);
    allow(Resource::Reads, iops, reads_per_op(load, predicted));
    allow(Resource::Cores, Some(clients.cores * 1e9), cost.client_ns + cost.background_ns);
    allow(Resource::Clients, Some(clients.threads.min(clients.cores) * 1e9), cost.client_ns);
    // Clients that wait at the same time share a sync.
    let syncs = device.syncs_per_s.filter(|_| clients.synced).map(|syncs| syncs * clients.threads);
    allow(Resource::Syncs, syncs, load.writes / load.batch.max(1) as f64);
    let least = each.iter().copied().min_by(|a, b| a.1.total_cmp(&b.1));
    let (binding, ops_per_s) = least.unwrap_or((Resource::Cores, f64::INFINITY));
    Bound { ops_per_s, binding, each }
}

/// The record size, in bytes, from which on the LSM tree writes more than the B+tree: r* = (1 + dw) P m / (WA - log), with
/// `pages_per_update` m, `double_write` 1 for engines that write each page twice, and `lsm_wa` without its log.
pub fn crossover_record_bytes(
    page_bytes: f64,
    pages_per_update: f64,
    double_write: f64,
    lsm_wa_without_log: f64,
) -> f64 {
    (1.0 + double_write) * page_bytes * pages_per_update / lsm_wa_without_log
}

/// The textbook's write amplification of a leveled tree without log: a flush, a merge of level 0 with the first level, and
/// alpha T for each of `lower_levels` below it.
pub fn textbook_leveled_wa(level_zero_bytes: f64, first_bytes: f64, dragged: &[f64]) -> f64 {
    1.0 + (level_zero_bytes + first_bytes) / level_zero_bytes + dragged.iter().sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{load, predicted, tree};
    use super::*;

    #[test]
    fn the_crossover_of_the_textbook_is_reproduced() {
        // 10 GiB under a 64 MiB memtable, S1 256 MiB, T = 10: two levels of 0.75 T below the first, the last of which is
        // 4 times the one above it: 1 + 2 + 7.5 + 0.75 * 4 = 13.5, 14.5 with the log.
        let mib = f64::from(1 << 20);
        let last_step = 10.0 * 1024.0 / 2560.0;
        let wa = textbook_leveled_wa(4.0 * 64.0 * mib, 256.0 * mib, &[0.75 * 10.0, 0.75 * last_step]);
        assert!((wa - 13.5).abs() < 1e-9, "{wa}");
        let at = |page: f64, double| crossover_record_bytes(page, 1.0, double, wa).round();
        assert_eq!((at(4096.0, 0.0), at(8192.0, 0.0), at(4096.0, 1.0)), (303.0, 607.0, 607.0));
        assert_eq!((at(16384.0, 0.0), at(16384.0, 1.0)), (1214.0, 2427.0));
        // So for 116 B records the B+tree writes 2.5 times more, and for 1 KB the LSM tree 2.9 times.
        let pages = |r: f64| 4096.0 / r + 1.0;
        assert!((pages(116.0) / (wa + 1.0) - 2.5).abs() < 0.06);
        assert!(((wa + 1.0) / pages(1024.0) - 2.9).abs() < 0.06);
    }

    #[test]
    fn the_scarcest_resource_binds() {
        let clients = Clients { threads: 1.0, cores: 2.0, synced: false };
        let rich = Device { read_iops: [Some(1e9); 2], ..Device::default() };
        let of = |device: &Device, clients: &Clients| {
            bound(&load(), &tree(), &predicted(), clients, device, &Cpu::measured())
        };
        assert_eq!(of(&rich, &clients).binding, Resource::Clients);
        let slow = Device { random_write_bytes_per_s: Some(1e6), ..rich.clone() };
        let found = of(&slow, &clients);
        // 1 MB/s over 0.5 writes of 116 B at an amplification of 10.
        assert_eq!(found.binding, Resource::Writes);
        assert!((found.ops_per_s - 1e6 / (0.5 * 116.0 * 10.0)).abs() < 1e-6, "{found:?}");
        let few = Device { read_iops: [Some(100.0), Some(100.0)], ..rich.clone() };
        // Half the operations are gets that miss half the time, half are writes that do.
        let found = of(&few, &clients);
        assert!(found.binding == Resource::Reads && (found.ops_per_s - 200.0).abs() < 1e-6, "{found:?}");
        let synced = Clients { synced: true, threads: 4.0, ..clients };
        let found = of(&Device { syncs_per_s: Some(50.0), ..rich }, &synced);
        assert!(found.binding == Resource::Syncs && (found.ops_per_s - 400.0).abs() < 1e-6, "{found:?}");
        assert_eq!(
            of(&Device::default(), &clients).binding,
            Resource::Clients,
            "an unknown device binds nothing"
        );
    }
}
