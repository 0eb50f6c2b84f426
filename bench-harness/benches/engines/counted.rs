//! The same operations counted: criterion tells how long a call takes, this tells what it moved.
//!
//! For each group and engine that criterion ran, the laboratory runs a workload of the same operations: the same
//! records, keys and values of the same size, budget and durability, a fixed number of operations, every answer checked.
//! Criterion's own loop cannot be counted instead, for how often it turns depends on the machine, and two results with
//! unequal work have no ratio.

use std::io;
use std::path::{Path, PathBuf};

use bench_harness::calibrate::{self, When};
use bench_harness::error::{Exit, Failure, Result};
use bench_harness::output::Output;
use bench_harness::report::criterion::{self, CriterionTime, Estimate};
use bench_harness::report::result::{FILE_NAME, ResultFile};
use bench_harness::report::table::wrap;
use bench_harness::run::child::Runner;
use bench_harness::run::plan::{Ground, Plan};
use bench_harness::run::{Overrides, Workload};
use bench_harness::sys::disk;
use bench_harness::sys::host::Host;
use bench_harness::sys::interrupt::Interrupt;
use bench_harness::{EngineSpec, Registry};
use kv_api::CommonOptions;

use super::asked::{Asked, Mode};
use super::{BATCH_OPS, MEMORY_BUDGET, RECORDS, SCAN_ENTRIES, VALUE_BYTES};

/// The engine that does nothing: it has no answers to check and no bytes to count.
const NULL: &str = "null";
/// Runs of each engine in each group: error bars need several.
const REPEATS: u32 = 5;
/// When only trying whether everything works, one run of this share of the records and operations.
const TRIAL_SHARE: u64 = 100;

/// Operations that are timed by criterion and counted here.
#[derive(Debug, PartialEq, Eq)]
pub struct Group {
    /// The name of criterion's group.
    pub name: &'static str,
    /// Puts, gets and scans in one iteration of criterion.
    pub ops: u64,
    /// What the throughput that criterion prints counts, for one iteration.
    pub elements: u64,
    /// The operations of the measured phase, as a workload file says them.
    mix: &'static str,
    /// Writes in one batch.
    batch: u64,
    /// How many operations are counted.
    counted: u64,
}

const ONE: Group = Group { name: "", ops: 1, elements: 1, mix: "", batch: 1, counted: 200_000 };

pub const GET_HIT: Group = Group { name: "get hit", mix: "get = 1.0", counted: 500_000, ..ONE };
pub const GET_MISS: Group = Group { name: "get miss", mix: "get_absent = 1.0", counted: 500_000, ..ONE };
pub const SCAN: Group = Group {
    name: "scan of 100 entries",
    mix: "scan = 1.0",
    elements: SCAN_ENTRIES as u64,
    counted: 20_000,
    ..ONE
};
pub const PUT: Group = Group { name: "put", mix: "update = 1.0", ..ONE };
pub const BATCH: Group = Group {
    name: "batch of 100 puts",
    mix: "update = 1.0",
    ops: BATCH_OPS,
    elements: BATCH_OPS,
    batch: BATCH_OPS,
    ..ONE
};
pub const MIXED: Group =
    Group { name: "half gets, half puts", mix: "get = 0.5, update = 0.5", ops: 2, elements: 2, ..ONE };

impl Group {
    /// The name of the workload: a file's has neither spaces nor commas.
    fn workload_name(&self) -> String {
        self.name.replace(", ", "-").replace(' ', "-")
    }

    /// The workload that counts the operations of this group; every record is read before, as before criterion's loop.
    fn workload(&self, share: u64, repeats: u32) -> Result<Workload> {
        let Group { mix, batch, .. } = self;
        let (name, records, counted) = (self.workload_name(), RECORDS / share, self.counted / share);
        let text = format!(
            r#"schema = 1
name = "{name}"
purpose = "What the operations of a benchmark move: {}"
data = {{ records = {records}, key = {{ kind = "hash16" }}, value = {{ size = {VALUE_BYTES} }} }}
run = {{ memory_budget = {MEMORY_BUDGET}, durability = "os", repeats = {repeats} }}
phase = [
  {{ kind = "load", batch = 1000, until = {{ s = 60 }} }},
  {{ kind = "settle", until = {{ s = 60 }} }},
  {{ kind = "age", name = "warm up", ops = {{ get = 1.0 }}, dist = {{ kind = "permutation" }}, until = {{ ops = {records} }} }},
  {{ kind = "measure", ops = {{ {mix} }}, scan = {{ limit = {SCAN_ENTRIES} }}, batch = {batch}, until = {{ ops = {counted}, s = 60 }} }},
  {{ kind = "drain", until = {{ s = 60 }} }},
  {{ kind = "verify" }},
]
"#,
            self.name
        );
        Workload::parse(self.name, &text, &Overrides::default())
    }
}

/// Groups and engines that criterion ran, in order.
pub type Ran = Vec<(&'static Group, &'static str)>;

/// Counts what `ran`, keeps the result, and prints it beside criterion's times. Nothing if nothing ran, or if only a
/// list or a profile is wanted.
pub fn after(asked: &Asked, ran: &Ran) -> Result<Option<Exit>> {
    if ran.is_empty() || asked.mode == Mode::Other {
        return Ok(None);
    }
    let mut out = Output::new(Box::new(io::stdout()), false);
    let data = tempfile::tempdir()
        .map_err(|error| Failure::io("make a directory in", std::env::temp_dir(), &error))?;
    if asked.mode == Mode::Trial {
        let kept = data.path().join("results");
        return count(ran, asked, TRIAL_SHARE, data.path(), &kept).map(|result| result.exit());
    }
    let kept = asked.results();
    out.text(format!("\ncounting the same operations, {REPEATS} runs each"))?;
    out.flush()?;
    let result = count(ran, asked, 1, data.path(), &kept)?;
    show(&result, asked, &kept, &mut out)?;
    Ok(result.exit())
}

/// Runs the workloads of the groups that ran, on the engines that ran in each, one of `share` of their size.
fn count(ran: &Ran, asked: &Asked, share: u64, data: &Path, kept: &Path) -> Result<ResultFile> {
    let is_trial = asked.mode == Mode::Trial;
    let CommonOptions { io, background, .. } = CommonOptions::default();
    let ground = Ground { io, background };
    let (registry, interrupt) = (Registry::standard(), Interrupt::install()?);
    disk::usable(kept)?;
    let mut result = ResultFile::new(Host::of(data), ground);
    let file_system = disk::file_system(data);
    result
        .notes
        .extend(file_system.as_deref().and_then(disk::warning).map(|warning| format!("note: {warning}")));
    let when = if is_trial { When::Never } else { When::Daily };
    match calibrate::calibrate(data, when, &interrupt) {
        Ok(found) => result.calibration = found,
        Err(failure) => result.notes.push(format!("note: not calibrated: {}", failure.message)),
    }
    let program = std::env::current_exe().ok();
    let runner = Runner {
        trust: result.trust(),
        program: program.as_deref(),
        ground,
        data_dir: &data.join("db"),
        reply_dir: kept,
        keep: false,
        acks: None,
        record: None,
        limit: None,
        interrupt: &interrupt,
    };
    for plan in plans(ran, ground, share, if is_trial { 1 } else { REPEATS })? {
        for run in plan.cells() {
            if interrupt.is_set() {
                break;
            }
            let opener = registry.prepare(&run.engine, &ground.common(&run.workload.spec))?;
            result.cells.push(runner.run(plan.cell_id(&run), &run, &opener)?);
        }
    }
    result.criterion = times(ran, asked);
    result.seal(interrupt.is_set());
    result.write(kept)?;
    Ok(result)
}

/// One plan for each group: a filter may have left other engines in each.
fn plans(ran: &Ran, ground: Ground, share: u64, repeats: u32) -> Result<Vec<Plan>> {
    let mut plans: Vec<(&str, Plan)> = Vec::new();
    for (group, engine) in ran.iter().filter(|(_, engine)| *engine != NULL) {
        let engine = EngineSpec::plain(engine);
        match plans.iter_mut().find(|(name, _)| *name == group.name) {
            Some((_, plan)) => plan.engines.push(engine),
            None => {
                let workloads = vec![group.workload(share, repeats)?];
                plans.push((group.name, Plan { workloads, engines: vec![engine], ground }));
            }
        }
    }
    Ok(plans.into_iter().map(|(_, plan)| plan).collect())
}

/// What criterion left of each group and engine that ran.
fn times(ran: &Ran, asked: &Asked) -> Vec<CriterionTime> {
    let of = |(group, engine): &(&Group, &str)| CriterionTime {
        workload: group.workload_name(),
        engine: (*engine).to_owned(),
        estimate: Estimate::read(&asked.criterion_home(), group.name, engine, group.ops, asked.started),
    };
    ran.iter().map(of).collect()
}

fn show(result: &ResultFile, asked: &Asked, kept: &Path, out: &mut Output) -> Result<()> {
    out.text("")?;
    criterion::lines(result).iter().try_for_each(|line| out.text(line))?;
    for cell in &result.cells {
        if let Some(why) = &cell.failure {
            out.text(format!("FAILED {} on {}: {why}", cell.workload, cell.engine.label))?;
        }
    }
    for note in &result.notes {
        wrap(note, 2).iter().try_for_each(|line| out.text(line))?;
    }
    if !result.stamps.is_empty() {
        out.text(format!("*** {} ***", result.stamps.join(", ")))?;
    }
    out.text(format!("written: {}", kept.join(FILE_NAME).display()))?;
    let shown = |dir: &PathBuf| dir.display().to_string();
    let earlier = asked.earlier_results().filter(|dir| dir.join(FILE_NAME).is_file());
    if let Some(earlier) = earlier.filter(|dir| dir != kept) {
        out.text(format!(
            "bytes and times of the two: kvlab compare {} {}",
            shown(&earlier),
            kept.display()
        ))?;
    }
    out.flush()
}
