//! `verify DIR`: reads everything and checks every invariant. With an ack log it also regenerates the operations that
//! were acknowledged and looks for each of them: what was acknowledged must be there, the one operation or batch in
//! flight per client may be there whole or not at all, and nothing else may be there.

use std::collections::BTreeSet;
use std::path::Path;

use kv_api::{Durability, KeyRange, Kv, KvRead, ScanOptions};
use serde_json::json;
use workloads::{OpStream, Oracle, Spec};

use super::open::{Access, Target};
use crate::error::{Exit, Failure, Result};
use crate::output::Output;
use crate::registry::Registry;
use crate::run::Workload;
use crate::run::plan::durability;
use crate::run::verify::owner;
use crate::sys::ack::Acks;
use crate::units::count;

/// Findings that are shown word for word.
const SHOWN_MAX: usize = 10;

/// Checks the directory, and the ack log if one is given.
///
/// # Errors
/// The directory or the log cannot be used.
pub fn verify(
    registry: &Registry,
    target: &Target,
    acks: Option<&Path>,
    out: &mut Output,
) -> Result<Option<Exit>> {
    let acks = acks.map(Acks::read).transpose()?;
    let db = target.open(registry, Access::Read)?;
    let report = db.verify()?;
    for problem in &report.problems {
        out.text(format!("damage: {} at byte {}: {}", problem.path.display(), problem.offset, problem.what))?;
    }
    let state = if report.is_sound() { "sound" } else { "DAMAGED" };
    out.text(format!(
        "{}: {state}; {} entries, {} blocks, {} bytes looked at",
        target.dir.display(),
        count(report.entries),
        count(report.blocks),
        count(report.bytes)
    ))?;
    let checked = acks.map(|acks| check_acks(&*db, &acks)).transpose()?;
    db.close()?;
    if let Some(checked) = &checked {
        checked.show(out)?;
    }
    out.json(&json!({ "verify": report, "acks": checked }))?;
    let lost = checked.is_some_and(|checked| !checked.holds());
    Ok(if report.is_sound() { lost.then_some(Exit::Check) } else { Some(Exit::Damage) })
}

/// What the comparison with an ack log found.
#[derive(Debug, Clone, Default, serde::Serialize)]
struct Checked {
    /// Operations acknowledged, over all phases and clients.
    acknowledged: u64,
    /// Records that must exist.
    expected: u64,
    /// Entries found.
    found: u64,
    /// Clients whose operation in flight took effect.
    in_flight_present: u64,
    /// Entries that are wrong, missing, or torn out of a batch.
    wrong: u64,
    /// The first of them.
    shown: Vec<String>,
    /// True if the level of the run promises nothing after a kill.
    promises_nothing: bool,
}

impl Checked {
    fn holds(&self) -> bool {
        self.wrong == 0 || self.promises_nothing
    }

    fn wrong(&mut self, what: String) {
        self.wrong += 1;
        if self.shown.len() < SHOWN_MAX {
            self.shown.push(what);
        }
    }

    fn show(&self, out: &mut Output) -> Result<()> {
        for line in &self.shown {
            out.text(format!("acks: {line}"))?;
        }
        out.text(format!(
            "acks: {} acknowledged operations, {} records expected, {} found, {} in flight took effect, {} wrong{}",
            count(self.acknowledged),
            count(self.expected),
            count(self.found),
            self.in_flight_present,
            count(self.wrong),
            if self.promises_nothing { " (durability memory promises nothing after a kill)" } else { "" }
        ))
    }
}

/// One client: what must be there, and what may be there instead.
struct Client {
    before: Oracle,
    /// The state with the operation or batch in flight applied, and the records it touches.
    after: Oracle,
    touched: BTreeSet<u64>,
}

fn check_acks<E: Kv + ?Sized>(db: &E, acks: &Acks) -> Result<Checked> {
    let header = &acks.header;
    let workload = Workload::parse(&header.workload, &header.workload_text, &header.overrides)?;
    let spec = &workload.spec;
    if spec.phases.len() != header.phases as usize {
        return Err(Failure::usage(
            "the ack log and its workload disagree; it was written by another version",
        ));
    }
    let mut checked =
        Checked { promises_nothing: durability(spec) == Durability::Memory, ..Checked::default() };
    let clients: Vec<_> =
        (0..header.threads).map(|thread| replay(spec, acks, thread, &mut checked)).collect();
    let before: Vec<_> = clients.iter().map(|client| client.before.clone()).collect();
    let mut seen: Vec<Vec<bool>> = before.iter().map(|o| vec![false; o.population() as usize + 1]).collect();
    let mut scan = db.scan(KeyRange::ALL, ScanOptions::FORWARD)?;
    while let Some(entry) = scan.next()? {
        checked.found += 1;
        let oracle = owner(&before, entry.key);
        let (thread, threads) = oracle.part();
        let record = oracle.key_kind().decode(entry.key).map(|id| id.record);
        let touched = record.is_some_and(|record| clients[thread as usize].touched.contains(&record));
        if let Some(slot) =
            record.and_then(|r| seen[thread as usize].get_mut((r / u64::from(threads)) as usize))
        {
            *slot = true;
        }
        // Records of an operation in flight are looked at below, all together.
        let outcome = if touched { Ok(0) } else { oracle.check_entry(entry.key, entry.value) };
        if let Err(mismatch) = outcome {
            checked.wrong(format!("key {}: {mismatch}", entry.key.escape_ascii()));
        }
    }
    drop(scan);
    for (client, seen) in clients.iter().zip(&seen) {
        missing(client, seen, &mut checked);
        in_flight(db, client, &mut checked)?;
    }
    Ok(checked)
}

/// Draws and acknowledges again what one client was acknowledged, and then what it had in flight.
fn replay(spec: &Spec, acks: &Acks, thread: u32, checked: &mut Checked) -> Client {
    let mut oracle = Oracle::new(&spec.data, thread, acks.header.threads);
    let (mut after, mut touched) = (oracle.clone(), BTreeSet::new());
    for phase in 0..=acks.phase {
        let mut stream = OpStream::new(spec, phase, &oracle);
        let count = acks.count(thread as usize, phase);
        for _ in 0..count {
            let Some(op) = stream.next(&oracle) else { break };
            oracle.acknowledge(op);
            checked.acknowledged += 1;
        }
        if phase == acks.phase {
            after = oracle.clone();
            for _ in 0..spec.phases[phase].batch.max(1) {
                let Some(op) = stream.next(&after) else { break };
                after.acknowledge(op);
                if op.kind().writes() {
                    touched.extend(after.records_of(op));
                }
            }
        }
    }
    checked.expected += oracle.live_count();
    Client { before: oracle, after, touched }
}

fn missing(client: &Client, seen: &[bool], checked: &mut Checked) {
    let (_, threads) = client.before.part();
    for (record, version) in client.before.iter() {
        let is_seen = seen.get((record / u64::from(threads)) as usize).copied().unwrap_or(false);
        if !is_seen && !client.touched.contains(&record) {
            checked.wrong(format!("record {record} is missing, version {version} was acknowledged"));
        }
    }
}

/// What was in flight must have taken effect whole or not at all.
fn in_flight<E: KvRead + ?Sized>(db: &E, client: &Client, checked: &mut Checked) -> Result<()> {
    let (mut as_before, mut as_after) = (true, true);
    for record in &client.touched {
        let found = db.get(&client.before.key_kind().encode(*record))?;
        as_before &= client.before.check_get(*record, found.as_deref()).is_ok();
        as_after &= client.after.check_get(*record, found.as_deref()).is_ok();
    }
    if client.touched.is_empty() || as_before {
        return Ok(());
    }
    if as_after {
        checked.in_flight_present += 1;
    } else {
        let (thread, _) = client.before.part();
        checked.wrong(format!(
            "client {thread}: the write in flight ({} records) is there in part",
            client.touched.len()
        ));
    }
    Ok(())
}
