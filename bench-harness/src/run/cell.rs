//! One cell: a fresh directory, one engine, one workload from its first phase to its last, and the checks.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use kv_api::stats::IoTotal;
use kv_api::{EngineInfo, IoStats, Kv, Shape};
use workloads::rng::mix64;
use workloads::{OpDigest, Oracle, Spec};

use super::checks::{self, Check, Verdict};
use super::phase::{Carried, Expected, Outcome, Stage};
use super::plan::{Workload, durability};
use super::truth::{DeviceSeen, DeviceWatch, NotSeen};
use super::verify::Scanned;
use crate::calibrate::probes::clock_ns;
use crate::calibrate::trust::Trust;
use crate::error::{Failure, Result};
use crate::metrics::formulas;
use crate::metrics::record::sum;
use crate::metrics::{Derived, Moved, PhaseRecord, drain_behind};
use crate::model::Beside;
use crate::registry::{EngineSpec, Opener};
use crate::sys::ack::AckLog;
use crate::sys::cgroup::CgroupRecord;
use crate::sys::interrupt::Interrupt;
use crate::sys::proc::OwnFile;
use crate::sys::threads::{ThreadCpu, ThreadTimes};
use crate::sys::{disk, proc};
use crate::trace::RecordingKv;

/// How often byte counts that differ are looked at again, [`FILES_PAUSE`] apart.
const REST_LOOKS_MAX: u32 = 100;
/// How often files that differ from the engine's list are looked at again, and how long after.
const FILES_LOOKS_MAX: u32 = 5;
const FILES_PAUSE: Duration = Duration::from_millis(50);

/// Everything kept of one cell.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub struct CellRecord {
    /// What tells it from every other cell.
    pub id: String,
    /// The repetition it belongs to, from 0: the cells of a block ran next to each other.
    #[serde(default)]
    pub block: u32,
    /// True if it ran in a process of its own.
    #[serde(default)]
    pub own_process: bool,
    /// The control group that bounded its memory, if one did.
    #[serde(default)]
    pub cgroup: Option<CgroupRecord>,
    /// The name of the workload.
    pub workload: String,
    /// The engine, as `--engine` takes it.
    pub engine: EngineSpec,
    /// What the engine said it is, with every setting in force.
    pub info: Option<EngineInfo>,
    /// The workload with every default and amount written out.
    pub spec: serde_json::Value,
    /// The phases, in order.
    pub phases: Vec<PhaseRecord>,
    /// The measured phases in numbers.
    pub measures: Vec<Measure>,
    /// Digest of the operations of all phases: equal digests ran the same stream.
    pub op_digest: String,
    /// What the store held at the end.
    pub contents: Option<String>,
    /// The cross-checks.
    pub checks: Vec<Check>,
    /// The structure on disk at the end.
    pub shape: Option<Shape>,
    /// Anonymous memory of the process before the engine was opened: what earlier cells left behind. Taken off
    /// nothing.
    #[serde(default)]
    pub rss_anon_before_bytes: Option<u64>,
    /// What the device and the kernel counted; `None` if nobody watched, and X3 says why.
    #[serde(default)]
    pub device: Option<DeviceSeen>,
    /// CPU time by thread; `None` if the process was not its own, or the kernel does not tell.
    #[serde(default)]
    pub threads_cpu: Option<ThreadCpu>,
    /// The clock probe before and after, in nanoseconds: to compare with that of the calibration.
    #[serde(default)]
    pub clock_ns: Option<[u64; 2]>,
    /// Wall time of the whole cell, in nanoseconds.
    pub wall_ns: u64,
    /// Why it did not finish, if it did not.
    pub failure: Option<String>,
    /// True if the user interrupted it.
    pub interrupted: bool,
}

/// One measured phase in numbers.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub struct Measure {
    /// Its name.
    pub name: String,
    /// Its place among the phases.
    pub phase: usize,
    /// How keys were chosen.
    pub dist: String,
    /// The numbers.
    pub derived: Derived,
    /// What theory says of them.
    #[serde(default)]
    pub model: Beside,
}

impl CellRecord {
    /// The record of a cell of which nothing is known but why it has none.
    pub fn lost(id: String, block: u32, workload: &Workload, engine: &EngineSpec, why: String) -> CellRecord {
        CellRecord {
            id,
            block,
            own_process: true,
            cgroup: None,
            workload: workload.name.clone(),
            engine: engine.clone(),
            info: None,
            spec: serde_json::to_value(&workload.spec).unwrap_or_default(),
            phases: Vec::new(),
            measures: Vec::new(),
            op_digest: String::new(),
            contents: None,
            checks: Vec::new(),
            shape: None,
            rss_anon_before_bytes: None,
            device: None,
            threads_cpu: None,
            clock_ns: None,
            wall_ns: 0,
            failure: Some(why),
            interrupted: false,
        }
    }

    /// The workload again, read from what was written of it; `None` if this version cannot read that.
    pub fn workload_spec(&self) -> Option<Spec> {
        let text = toml::to_string(&self.spec).ok()?;
        workloads::toml_file::parse(&self.workload, &text).ok()
    }

    /// True if every phase ran to its end or to its cap.
    pub fn is_complete(&self) -> bool {
        self.failure.is_none() && !self.interrupted
    }

    /// True if a check failed.
    pub fn is_invalid(&self) -> bool {
        self.checks.iter().any(|check| check.verdict == Verdict::Fail)
    }

    /// True if the engine's own check found damage.
    pub fn is_damaged(&self) -> bool {
        self.checks.iter().any(|check| check.id == "sound" && check.verdict == Verdict::Fail)
    }

    /// True if a phase that was to end at a steady state did not reach it.
    pub fn is_unsteady(&self) -> bool {
        self.phases.iter().filter_map(|phase| phase.steady.as_ref()).any(|steady| !steady.ok)
    }

    /// True if a time cap ended a phase with operations before its counts did.
    pub fn was_cut(&self) -> bool {
        let ops = |phase: &&PhaseRecord| matches!(phase.kind.as_str(), "load" | "age" | "measure" | "replay");
        self.phases.iter().filter(ops).any(|phase| phase.capped.is_some())
    }

    /// True if every client did all its operations, so that the contents do not depend on speed.
    pub fn did_whole_stream(&self) -> bool {
        self.is_complete() && !self.was_cut() && self.phases.iter().all(|phase| !phase.by_clock)
    }
}

/// Where and how cells are run.
pub struct CellContext<'a> {
    /// The data directory; each cell has its own below it.
    pub data_dir: &'a Path,
    /// Set by the user.
    pub interrupt: &'a Interrupt,
    /// Whether progress lines are wanted.
    pub draw: bool,
    /// Whether to leave the database behind.
    pub keep: bool,
    /// Where acknowledged operations are noted, if they are.
    pub acks: Option<&'a AckLog>,
    /// The trace into which the requests of the clients are written down, if they are.
    pub record: Option<&'a Path>,
    /// What calibration found the counters worth; `None`: not calibrated.
    pub trust: Option<Trust>,
    /// Whether this process does nothing else.
    pub own_process: bool,
}

/// What the phases of a cell gave beside their records.
#[derive(Default)]
struct Ran {
    digests: Vec<OpDigest>,
    wrong: Vec<String>,
    scanned: Option<Scanned>,
    error: Option<kv_api::Error>,
    io_at_open: Option<IoStats>,
    io_at_end: Option<IoStats>,
}

/// The directory of a cell below that of the data.
pub fn dir_of(data_dir: &Path, workload: &Workload, engine: &EngineSpec) -> PathBuf {
    // The label of a matrix cell has signs that a file name should not have.
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let name: String = workload.name.chars().map(|c| if plain(c) { c } else { '-' }).collect();
    data_dir.join(format!("{name}-{}", engine.dir_name()))
}

impl CellContext<'_> {
    /// Runs one cell. A failing engine gives a record that says so.
    ///
    /// # Errors
    /// The directory cannot be made, or the engine does not open.
    pub fn run(
        &self,
        id: String,
        block: u32,
        workload: &Workload,
        engine: &EngineSpec,
        open: &Opener,
    ) -> Result<CellRecord> {
        let start = Instant::now();
        let dir = dir_of(self.data_dir, workload, engine);
        if dir.exists() {
            remove(&dir)?;
        }
        fs::create_dir_all(&dir).map_err(|error| Failure::io("create the directory", &dir, &error))?;
        let clock_before = clock_ns();
        let device = DeviceWatch::begin(&dir, &workload.spec, self.trust.as_ref());
        let threads = ThreadTimes::begin();
        let rss_before = proc::rss_anon_bytes();
        let kernel = proc::io();
        let opened =
            open(&dir).map_err(|error| Failure::from(error).within(format!("engine `{}`", engine.label)))?;
        let db: &dyn Kv = &*opened;
        let mut record = CellRecord {
            own_process: false,
            info: Some(db.info()),
            rss_anon_before_bytes: rss_before,
            failure: None,
            ..CellRecord::lost(id, block, workload, engine, String::new())
        };
        let recorder = self.record.map(|path| begin_trace(Arc::clone(&opened), path)).transpose()?;
        let asked: &dyn Kv = recorder.as_ref().map_or(db, |recorder| recorder);
        let stage = Stage {
            engine: db,
            asked,
            label: &engine.label,
            dir: &dir,
            spec: &workload.spec,
            durability: durability(&workload.spec),
            interrupt: self.interrupt,
            draw: self.draw,
            acks: self.acks,
            threads: &threads,
        };
        let ran = run_phases(&stage, &mut record);
        if let (Some(recorder), Some(path)) = (&recorder, self.record) {
            recorder.finish().map_err(|error| Failure::io("write the trace", path, &error))?;
        }
        record.interrupted = self.interrupt.is_set();
        record.op_digest = fold(&ran.digests);
        record.contents = ran
            .scanned
            .as_ref()
            .map(|scanned| format!("{} entries, digest {:016x}", scanned.found.entries, scanned.found.xor));
        if ran.error.is_none() && !record.interrupted {
            record.threads_cpu = threads.total().filter(|_| self.own_process);
            let seen = device.and_then(|device| device.end(&dir, db));
            finish_checks(&stage, &mut record, &ran, kernel);
            self.device_checks(&mut record, &seen);
            record.device = seen.ok();
            record.shape = db.shape().ok();
        }
        let closed = db.close();
        record.failure = ran.error.or(closed.err()).map(|error| error.to_string());
        record.measures = measures(workload, record.info.as_ref(), &record.phases);
        record.clock_ns = Some([clock_before, clock_ns()]);
        record.wall_ns = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        drop(opened);
        if !self.keep {
            remove(&dir)?;
        }
        Ok(record)
    }

    /// X3, X4 and the half of X5 that needs the device, in their places among the others.
    fn device_checks(&self, record: &mut CellRecord, seen: &Result<DeviceSeen, NotSeen>) {
        let found = checks::device::x3_x4_x5_device(seen.as_ref(), self.trust.as_ref(), self.own_process);
        record.checks.extend(found);
        record.checks.sort_by(|a, b| place(&a.id).cmp(&place(&b.id)));
    }
}

/// X1 to X8 in order, and what has no number behind them.
fn place(id: &str) -> (bool, &str) {
    (!id.starts_with('X'), if id.starts_with('X') { id } else { "" })
}

/// Begins a trace of what clients ask `engine`.
fn begin_trace(engine: Arc<dyn Kv>, path: &Path) -> Result<RecordingKv<OwnFile>> {
    let out =
        OwnFile::create(path).map_err(|error| Failure::io("create the trace", path, &error).of_argument())?;
    RecordingKv::new(engine, out).map_err(|error| Failure::io("write the trace", path, &error))
}

fn run_phases(stage: &Stage<'_, dyn Kv>, record: &mut CellRecord) -> Ran {
    let threads = stage.spec.run.threads.max(1);
    let oracles = (0..threads).map(|thread| Oracle::new(&stage.spec.data, thread, threads)).collect();
    let mut expected = Expected { oracles, replayed: None };
    let io_at_open = stage.engine.stats().io;
    let mut ran = Ran { io_at_open, io_at_end: io_at_open, ..Ran::default() };
    let mut max_per_second = None;
    for (index, spec) in stage.spec.phases.iter().enumerate() {
        let Outcome { record: phase, digests, wrong, error, scanned, io_after } =
            stage.run(index, &mut expected, Carried { io: ran.io_at_end, max_per_second });
        if spec.is_closed_measure() {
            max_per_second =
                formulas::ops_per_second(phase.moved.completed, phase.moved.wall_ns).or(max_per_second);
        }
        ran.io_at_end = io_after;
        record.phases.push(phase);
        ran.digests.extend(digests);
        ran.wrong.extend(wrong);
        ran.scanned = scanned.or(ran.scanned);
        ran.error = error;
        if ran.error.is_some() || stage.interrupt.is_set() {
            break;
        }
    }
    ran
}

fn finish_checks(
    stage: &Stage<'_, dyn Kv>,
    record: &mut CellRecord,
    ran: &Ran,
    kernel: Option<proc::ProcIo>,
) {
    let total = total(&record.phases);
    let stats = stage.engine.stats();
    // The kernel is read last: what a background thread still moves makes it larger, never smaller.
    let kernel = proc::io().zip(kernel).map(|(now, before)| now.since(before));
    let phases = sum(&ran.io_at_open.unwrap_or_default(), &total.io.unwrap_or_default());
    let mapped = record
        .info
        .as_ref()
        .is_some_and(|info| info.settings.iter().any(|(name, value)| name == "read_mode" && value == "mmap"));
    let totals = totals_at_rest(stage);
    record.checks.push(checks::x1_causes_add_up(&phases, ran.io_at_end.as_ref(), totals));
    let [x2, x5] = checks::x2_x5_meter_against_kernel(stats.io.as_ref(), kernel, mapped);
    record.checks.extend([x2, x5]);
    record.checks.push(files_check(stage));
    record.checks.push(checks::x7_contents(ran.scanned.as_ref()));
    record.checks.push(checks::x8_counts(&total, Some(stats.user.written_bytes)));
    record.checks.push(checks::cpu::x8_cpu(record.threads_cpu.as_ref()));
    record.checks.push(checks::answers(total.wrong_answers, total.gets + total.scans, &ran.wrong));
    match stage.engine.verify() {
        Ok(report) => {
            let first = report.problems.first().map(|problem| {
                format!("{} at byte {}: {}", problem.path.display(), problem.offset, problem.what)
            });
            record.checks.push(checks::sound(report.problems.len() as u64, first, report.blocks));
        }
        Err(error) => record.checks.push(checks::sound(1, Some(error.to_string()), 0)),
    }
}

/// The sum over the causes and the count of the system calls. A call in flight is in one of them alone, so those
/// that differ are read again; two that differ for good stay different.
fn totals_at_rest(stage: &Stage<'_, dyn Kv>) -> Option<(IoTotal, IoTotal)> {
    let look = || {
        let stats = stage.engine.stats();
        let causes = stats.io?.total();
        let calls = IoTotal { write_page_bytes: 0, ..stats.io_total? };
        Some((IoTotal { read_bytes: causes.read_bytes, write_bytes: causes.write_bytes, ..calls }, calls))
    };
    let mut seen = look();
    for _ in 0..REST_LOOKS_MAX {
        if seen.is_none_or(|(causes, calls)| causes == calls) {
            break;
        }
        thread::sleep(FILES_PAUSE);
        seen = look();
    }
    seen
}

/// X6. A background thread may create or remove a file between the two looks, so an odd answer is asked for again.
fn files_check(stage: &Stage<'_, dyn Kv>) -> Check {
    let look = || checks::x6_files(&stage.engine.stats().files, &disk::walk(stage.dir));
    let mut check = look();
    for _ in 0..FILES_LOOKS_MAX {
        if check.verdict != Verdict::Fail {
            break;
        }
        thread::sleep(FILES_PAUSE);
        check = look();
    }
    check
}

fn total(phases: &[PhaseRecord]) -> Moved {
    let mut total = Moved::default();
    phases.iter().for_each(|phase| total.add(&phase.moved));
    total
}

fn measures(workload: &Workload, info: Option<&EngineInfo>, phases: &[PhaseRecord]) -> Vec<Measure> {
    let measured = phases.iter().enumerate().filter(|(_, phase)| phase.is_reported());
    let made = measured.map(|(index, phase)| {
        let drain = drain_behind(phases, index);
        let derived = Derived::of(index.checked_sub(1).map(|before| &phases[before]), phase, drain);
        Measure {
            name: workload.measure_name(index),
            phase: index,
            dist: workloads::generator::dist_name(&workload.spec, index).to_owned(),
            model: Beside::of(&workload.spec, index, info, phase, &derived),
            derived,
        }
    });
    made.collect()
}

/// One word for the streams of all clients in all phases, in order.
fn fold(digests: &[OpDigest]) -> String {
    let word = digests.iter().fold(0, |word, digest| mix64(mix64(word ^ digest.hash) ^ digest.ops));
    format!("{word:016x}")
}

/// Removes the directory of a cell.
///
/// # Errors
/// The system refuses.
pub fn remove(dir: &Path) -> Result<()> {
    fs::remove_dir_all(dir).map_err(|error| Failure::io("remove the directory", dir, &error))
}
