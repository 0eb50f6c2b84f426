//! A power cut on a simulated disk: which acknowledged writes are gone, by what the acknowledgement promised. And what the
//! weaker promises are worth on this machine.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use kv_api::{Background, CommonOptions, Durability, Kv};
use kv_io::Env;
use kv_io::sim::{CrashPolicy, SimVfs};

use super::store::{Store, scattered, value};
use super::{Ground, Observed, case};
use crate::claims::case::{Case, Sample};
use crate::error::Result;
use crate::registry;
use crate::stats::rng;
use crate::units::{count, three};

const ENGINES: [&str; 2] = ["btree", "lsm"];
const VALUE_BYTES: usize = 100;
/// Acknowledged writes before the cut, at most.
const WRITES: usize = 2000;
/// Cuts for each level, each at another moment. One seed is one schedule, so nothing is left to chance.
const CUTS: u64 = 12;
const MEMORY_BYTES: u64 = 256 << 10;
const SEED: u64 = 0x6b76_6c61_6200_0024;
/// Writes that time an acknowledgement on the real disk.
const TIMED: u64 = 300;

/// What a cut leaves, from its seed.
type Policy = fn(u64) -> CrashPolicy;

/// Levels that acknowledge before the disk has it.
pub fn unsynced(ground: &Ground<'_>) -> Result<Observed> {
    let cases = cuts(&[Durability::Memory, Durability::Os], ground)?;
    Ok(Observed { cases, facts: bought(ground)?, ..Observed::default() })
}

/// The level that does not.
pub fn synced(ground: &Ground<'_>) -> Result<Observed> {
    Ok(Observed { cases: cuts(&[Durability::Disk], ground)?, ..Observed::default() })
}

fn cuts(levels: &[Durability], ground: &Ground<'_>) -> Result<Vec<Case>> {
    let policies: [(&str, Policy); 2] = [
        ("all unsynced lost", |_| CrashPolicy::DropUnsynced),
        ("any part of it lost", |seed| CrashPolicy::Tear { seed }),
    ];
    let mut cases = Vec::new();
    for engine in ENGINES {
        for level in levels {
            for (name, policy) in policies {
                let mut most = 0.0_f64;
                for cut in 0..CUTS {
                    if ground.interrupt.is_set() {
                        return Ok(Vec::new());
                    }
                    let acknowledged = 1 + rng::below(SEED, cut, WRITES) as u64;
                    let lost = lost(engine, *level, acknowledged, policy(SEED ^ cut), cut)?;
                    most = most.max(lost as f64 / acknowledged as f64);
                }
                cases.push(case(format!("{engine}, {level}, {name}"), Sample::Exact(most)));
            }
        }
    }
    Ok(cases)
}

/// Acknowledged writes that are not there after a power cut behind the last of them.
fn lost(engine: &str, level: Durability, acknowledged: u64, policy: CrashPolicy, seed: u64) -> Result<u64> {
    let disk = SimVfs::new(seed);
    let db = open(engine, &disk, seed)?;
    for record in 0..acknowledged {
        db.put(&scattered(record), &value(record, VALUE_BYTES), level)?;
    }
    let left = disk.crash(policy);
    let again = open(engine, &left, seed)?;
    let mut lost = 0;
    for record in 0..acknowledged {
        let found = again.get(&scattered(record))?;
        lost += u64::from(found.as_deref() != Some(value(record, VALUE_BYTES).as_slice()));
    }
    Ok(lost)
}

/// One seed is one schedule: upkeep runs on the caller.
fn open(engine: &str, disk: &Arc<SimVfs>, seed: u64) -> Result<Arc<dyn Kv>> {
    let common = CommonOptions {
        memory_budget: MEMORY_BYTES,
        background: Background::Inline,
        ..CommonOptions::default()
    };
    let env = Env::simulated(Arc::clone(disk) as _, seed);
    Ok(registry::open_over(env, engine, Path::new("/db"), common)?)
}

/// Acknowledged writes a second on the real disk, by level.
fn bought(ground: &Ground<'_>) -> Result<Vec<String>> {
    let mut facts = Vec::new();
    for engine in ENGINES {
        let mut rates = Vec::new();
        for level in [Durability::Memory, Durability::Os, Durability::Disk] {
            let store = Store::new(ground, engine, ground.memory_bytes, Background::Threads(1))?;
            let start = Instant::now();
            for record in 0..TIMED {
                store.db.put(&scattered(record), &value(record, VALUE_BYTES), level)?;
            }
            rates.push(TIMED as f64 / start.elapsed().as_secs_f64());
        }
        let said: Vec<_> = rates.iter().map(|rate| count(*rate as u64)).collect();
        facts.push(format!(
            "{engine}, {TIMED} single writes here: memory {}/s, os {}/s, disk {}/s; os is worth {} times disk",
            said[0],
            said[1],
            said[2],
            three(rates[1] / rates[2])
        ));
    }
    Ok(facts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_synced_survives_and_what_was_not_is_lost() {
        for engine in ENGINES {
            assert_eq!(lost(engine, Durability::Disk, 50, CrashPolicy::DropUnsynced, 1).unwrap(), 0);
            assert!(lost(engine, Durability::Os, 50, CrashPolicy::DropUnsynced, 1).unwrap() > 0);
            // The end of the process alone takes nothing that the operating system has.
            assert_eq!(lost(engine, Durability::Os, 50, CrashPolicy::KeepAll, 1).unwrap(), 0);
        }
    }
}
