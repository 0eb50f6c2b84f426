//! `kvlab run`, and `kvlab` alone: plan, check the ground, run the cells, show and keep the result.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use kv_api::IoMode;

use crate::error::{Exit, Failure, Result};
use crate::output::{Output, complain};
use crate::registry::{EngineSpec, Opener, Registry};
use crate::report::{ResultFile, table};
use crate::run::cell::CellRecord;
use crate::run::child::{Order, Runner};
use crate::run::overhead;
use crate::run::plan::{Ground, Plan, Run, Workload, durability};
use crate::sys::ack::{AckHeader, AckLog};
use crate::sys::cgroup::Place;
use crate::sys::disk;
use crate::sys::host::{self, Host};
use crate::sys::interrupt::Interrupt;
use crate::units::{bytes, count};

use super::args::{RunArgs, RunOptions};

/// The workloads of the main job.
const MAIN: [&str; 2] = ["read-heavy", "write-heavy"];

/// What a run needs beside the memory budget of its engine: the program, the oracle, and some page cache.
const CGROUP_MARGIN: u64 = 32 << 20;
/// A run that took so long is told when it ends.
const TOLD_AFTER: Duration = Duration::from_secs(2);

/// What is being run beside the plan itself.
struct Job<'a> {
    registry: &'a Registry,
    /// What runs a cell in a process of its own; `None`: this process does.
    program: Option<PathBuf>,
    options: &'a RunOptions,
    plan: Plan,
    notes: Vec<String>,
    ack_log: Option<&'a Path>,
    record: Option<&'a Path>,
}

/// The main job: both engines, a read-heavy and a write-heavy workload.
///
/// # Errors
/// A wrong option, or a directory that cannot be used. A failed run is in the result.
pub fn main_job(
    registry: &Registry,
    program: Option<PathBuf>,
    options: &RunOptions,
    out: &mut Output,
) -> Result<Option<Exit>> {
    let overrides = options.overrides();
    let parts: Vec<_> = MAIN.iter().map(|name| Workload::find(name, &overrides)).collect::<Result<_>>()?;
    let mut notes = Vec::new();
    let workloads = match Workload::chain("main", &parts) {
        Some(chained) => {
            notes.push(
                "note: each engine was loaded, overwritten once and settled, then served both workloads in turn \
                 on that one database"
                    .to_owned(),
            );
            vec![chained]
        }
        None => parts,
    };
    let engines = engines(registry, options)?;
    let plan = Plan { workloads, engines, ground: ground(options, IoMode::Buffered) };
    Job { registry, program, options, plan, notes, ack_log: None, record: None }.run(out)
}

/// `kvlab run FILE|NAME...`.
///
/// # Errors
/// A wrong option or workload, or a directory that cannot be used. A failed run is in the result.
pub fn run(
    registry: &Registry,
    program: Option<PathBuf>,
    args: &RunArgs,
    out: &mut Output,
) -> Result<Option<Exit>> {
    let options = &args.options;
    let overrides = options.overrides();
    let found = args.workloads.iter().map(|name| Workload::find_all(name, &overrides));
    let workloads: Vec<Workload> = found.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect();
    for name in workloads.iter().flat_map(|workload| workload.spec.run.engine.keys()) {
        registry.parse_specs(name).map_err(|failure| failure.within("run.engine of the workload"))?;
    }
    let plan =
        Plan { workloads, engines: engines(registry, options)?, ground: ground(options, IoMode::Direct) };
    let (ack_log, record) = (args.ack_log.as_deref(), args.record.as_deref());
    for (flag, _) in [("--ack-log", ack_log), ("--record", record)].iter().filter(|(_, path)| path.is_some())
    {
        let runs = plan.cells().count();
        if runs != 1 {
            return Err(Failure::usage(format!(
                "{flag} is for one workload on one engine, this is {runs} runs; name one of each"
            )));
        }
    }
    let note =
        |path: &Path| format!("note: requests were written down in {}: times include it", path.display());
    let notes = record.map(note).into_iter().collect();
    // Whoever kills a run to see what survives means the process that he started.
    let program = program.filter(|_| ack_log.is_none() && record.is_none());
    Job { registry, program, options, plan, notes, ack_log, record }.run(out)
}

/// Runs `workloads` as `options` say, past the page cache or through it as `io` says where they do not.
///
/// # Errors
/// A wrong option, or a directory that cannot be used. A failed run is in the result.
pub fn given(
    registry: &Registry,
    program: Option<PathBuf>,
    options: &RunOptions,
    workloads: Vec<Workload>,
    io: IoMode,
    out: &mut Output,
) -> Result<Option<Exit>> {
    let plan = Plan { workloads, engines: engines(registry, options)?, ground: ground(options, io) };
    Job { registry, program, options, plan, notes: Vec::new(), ack_log: None, record: None }.run(out)
}

/// `kvlab cell`: one run, as ordered on standard input.
///
/// # Errors
/// There is no order there, or its reply cannot be written.
pub fn cell(registry: &Registry) -> Result<Option<Exit>> {
    let order: Order = serde_json::from_reader(std::io::stdin().lock()).map_err(|error| {
        Failure::usage(format!("`kvlab cell` is for `kvlab run` to call: no order: {error}"))
    })?;
    order.run(registry).map(|()| None)
}

fn engines(registry: &Registry, options: &RunOptions) -> Result<Vec<EngineSpec>> {
    let engines = match &options.engine {
        Some(text) => registry.parse_specs(text)?,
        None => registry.headline(),
    };
    let is_here = |name: &str| engines.iter().any(|engine| engine.label == name.trim());
    let baselines = options.baseline.as_deref().into_iter().flat_map(|names| names.split(','));
    if let Some(baseline) = baselines.into_iter().find(|name| !is_here(name)) {
        let labels: Vec<_> = engines.iter().map(|engine| engine.label.as_str()).collect();
        return Err(Failure::usage(format!(
            "--baseline {baseline} is not among the engines of this run: {}",
            labels.join(", ")
        )));
    }
    Ok(engines)
}

fn ground(options: &RunOptions, io: IoMode) -> Ground {
    Ground { io: options.io.unwrap_or(io), background: options.background }
}

impl Job<'_> {
    fn run(mut self, out: &mut Output) -> Result<Option<Exit>> {
        // Every option is checked before anything is written.
        let openers: Vec<Opener> = self
            .plan
            .cells()
            .map(|run| self.registry.prepare(&run.engine, &self.plan.ground.common(&run.workload.spec)))
            .collect::<Result<_>>()?;
        self.check_memory()?;
        if self.options.dry_run {
            return self.dry_run(out);
        }
        let place = self.cgroup_place()?;
        let file_system = disk::file_system(&self.options.dir);
        if let Some(warning) = file_system.as_deref().and_then(disk::warning) {
            complain(format!("warning: {warning}"));
            self.notes.push(format!("note: {warning}"));
        }
        self.name_leftovers();
        let need = self.plan.workloads.iter().map(Workload::space_needed).max().unwrap_or(0);
        disk::check_free(&self.options.dir, need)?;
        let earlier = if self.options.resume { ResultFile::read(&self.options.out)? } else { None };
        for dir in [&self.options.out, &self.options.dir] {
            disk::usable(dir)?;
        }
        let acks = self.ack_log().inspect_err(|_| {
            // The directory is empty if it was made just now, and then it goes again.
            let _ = fs::remove_dir(&self.options.dir);
        })?;
        let interrupt = Interrupt::install()?;
        let mut result = ResultFile::new(Host::of(&self.options.dir), self.plan.ground);
        result.notes = self.notes.clone();
        result.baseline = self.options.baseline.clone();
        self.calibrate(&interrupt, &mut result);
        result.harness = overhead::costs(&self.plan.workloads, &interrupt);
        let grounds = (&interrupt, place.as_ref());
        let ran = self.cells(&openers, acks.as_ref(), earlier.as_ref(), grounds, &mut result);
        // What was done is kept even when a later cell could not begin; a run that did nothing replaces nothing.
        if ran.is_ok() || !result.cells.is_empty() {
            result.seal(interrupt.is_set());
            result.write(&self.options.out)?;
        }
        ran?;
        self.show(&result, out)?;
        Ok(result.exit())
    }

    /// Finds out what this machine's counters are worth. A run that could not is worth having all the same.
    fn calibrate(&self, interrupt: &Interrupt, result: &mut ResultFile) {
        match super::calibrated(&self.options.dir, self.options.calibrate, interrupt) {
            Ok(found) => result.calibration = found,
            Err(failure) => result.notes.push(format!("note: not calibrated: {}", failure.message)),
        }
    }

    fn cells(
        &self,
        openers: &[Opener],
        acks: Option<&AckLog>,
        earlier: Option<&ResultFile>,
        (interrupt, place): (&Interrupt, Option<&Place>),
        result: &mut ResultFile,
    ) -> Result<()> {
        let runner = Runner {
            program: self.program.as_deref(),
            ground: self.plan.ground,
            data_dir: &self.options.dir,
            reply_dir: &self.options.out,
            keep: self.options.keep,
            acks,
            record: self.record,
            limit: place.zip(self.options.cgroup),
            trust: result.trust(),
            interrupt,
        };
        let all = self.plan.cells().count();
        for ((run, open), number) in self.plan.cells().zip(openers).zip(1..) {
            let start = Instant::now();
            let id = self.plan.cell_id(&run);
            let known = earlier.and_then(|file| file.cells.iter().find(|cell| cell.id == id));
            if let Some(done) = known.filter(|cell| cell.is_complete()) {
                let (workload, engine) = (&run.workload.name, &run.engine.label);
                complain(format!("{workload} on {engine}: taken from the earlier result"));
                result.cells.push(done.clone());
                continue;
            }
            result.cells.push(runner.run(id, &run, open)?);
            // Whoever waits for an hour wants to know how far it is, on a terminal or in a log.
            if all > 1 && start.elapsed() >= TOLD_AFTER {
                let (workload, engine) = (&run.workload.name, &run.engine.label);
                complain(format!(
                    "{number} of {all}: {workload} on {engine}, block {}, took {:.0} s",
                    run.block,
                    start.elapsed().as_secs_f64()
                ));
            }
            if interrupt.is_set() {
                break;
            }
        }
        if !self.options.keep {
            // The directory may hold what is not ours; then it stays.
            let _ = fs::remove_dir(&self.options.dir);
        }
        Ok(())
    }

    /// A budget that the machine does not have would measure its swap, or end the process.
    fn check_memory(&self) -> Result<()> {
        let Some(ram) = host::ram_bytes() else { return Ok(()) };
        let budget = self.plan.workloads.iter().map(|workload| workload.spec.memory_budget()).max();
        match budget.filter(|budget| *budget > ram) {
            Some(budget) => Err(Failure::usage(format!(
                "the memory budget is {} and this machine has {}; give less with --memory",
                bytes(budget),
                bytes(ram)
            ))),
            None => Ok(()),
        }
    }

    /// Where the groups of the runs can be made, if their memory is to be limited.
    fn cgroup_place(&self) -> Result<Option<Place>> {
        let Some(limit) = self.options.cgroup else { return Ok(None) };
        if self.program.is_none() {
            return Err(Failure::usage(
                "--cgroup needs a process for each run; leave --ack-log and --record out",
            ));
        }
        let budget =
            self.plan.workloads.iter().map(|workload| workload.spec.memory_budget()).max().unwrap_or(0);
        if limit < budget + CGROUP_MARGIN {
            return Err(Failure::usage(format!(
                "--cgroup {} leaves no room beside the memory budget of {}; give {} or more",
                bytes(limit),
                bytes(budget),
                bytes(budget + CGROUP_MARGIN)
            )));
        }
        Place::find(limit).map(Some)
    }

    fn ack_log(&self) -> Result<Option<AckLog>> {
        let (Some(path), Some(Run { workload, engine, .. })) = (self.ack_log, self.plan.cells().next())
        else {
            return Ok(None);
        };
        let header = AckHeader {
            engine: engine.label.clone(),
            workload: workload.name.clone(),
            workload_text: workload.text.clone(),
            overrides: self.options.overrides(),
            threads: workload.spec.run.threads.max(1),
            phases: u32::try_from(workload.spec.phases.len()).unwrap_or(u32::MAX),
        };
        AckLog::create(path, &header).map(Some)
    }

    /// Databases that an earlier run left are named, not removed: they may hold evidence.
    fn name_leftovers(&self) {
        let Ok(entries) = fs::read_dir(&self.options.dir) else { return };
        let mut names: Vec<_> =
            entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        if !names.is_empty() {
            complain(format!(
                "note: {} holds {} from an earlier run ({}); those of this run's names are replaced",
                self.options.dir.display(),
                names.join(", "),
                bytes(disk::size(&self.options.dir).allocated_bytes)
            ));
        }
    }

    fn dry_run(&self, out: &mut Output) -> Result<Option<Exit>> {
        let mut all = 0.0;
        for Run { workload, engine, .. } in self.plan.cells() {
            let (rough, caps) = workload.seconds();
            all += rough;
            let spec = &workload.spec;
            let most = caps.map_or("no cap".to_owned(), |caps| format!("{caps:.0} s at most"));
            let phases: Vec<_> = spec.phases.iter().map(|phase| phase.name.as_str()).collect();
            out.text(format!("{} on {}", workload.name, engine.label))?;
            out.text(format!(
                "  {} records, {} of data, {} memory, durability {}, {} client(s), io {}, background {}",
                count(spec.records()),
                bytes(spec.data_bytes()),
                bytes(spec.memory_budget()),
                durability(spec),
                spec.run.threads,
                self.plan.ground.io,
                self.plan.ground.background
            ))?;
            out.text(format!("  phases: {}", phases.join(", ")))?;
            out.text(format!(
                "  needs up to {} of disk, about {rough:.0} s ({most})",
                bytes(workload.space_needed())
            ))?;
            out.json(&serde_json::json!({
                "workload": spec, "engine": engine, "disk_bytes_max": workload.space_needed(),
                "seconds_rough": rough, "seconds_max": caps,
            }))?;
        }
        out.text(format!(
            "{} runs, about {all:.0} s in all; nothing was written",
            self.plan.cells().count()
        ))?;
        Ok(None)
    }

    fn show(&self, result: &ResultFile, out: &mut Output) -> Result<()> {
        for line in table::lines(result) {
            out.text(line)?;
        }
        let incomplete = result.cells.iter().filter(|cell| !CellRecord::is_complete(cell)).count();
        if incomplete > 0 {
            out.text(format!(
                "{incomplete} of {} runs did not finish; --resume repeats them",
                self.plan.cells().count()
            ))?;
        }
        for name in [crate::report::result::FILE_NAME, crate::report::html::FILE_NAME] {
            out.text(format!("written: {}", self.options.out.join(name).display()))?;
        }
        out.json(result)
    }
}
