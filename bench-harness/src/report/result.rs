//! The result file: everything needed to read a measurement and to repeat it, as one JSON document.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::criterion::CriterionTime;
use super::equal::{self, NOT_EQUAL, NotEqual};
use super::html;
use super::warnings::warnings;
use crate::calibrate::Calibration;
use crate::calibrate::trust::Trust;
use crate::claims::ClaimsFile;
use crate::compare;
use crate::error::{Exit, Failure, Result};
use crate::run::cell::CellRecord;
use crate::run::checks::{Check, Verdict, same_contents};
use crate::run::overhead::HarnessCost;
use crate::run::plan::Ground;
use crate::sys::build::{Build, command_line};
use crate::sys::host::Host;
use crate::units;

/// The version of the document's shape.
pub const SCHEMA: u32 = 2;
/// The name of the file in `--out`.
pub const FILE_NAME: &str = "result.json";
/// The stamp of a result with a failed check.
pub const INVALID: &str = "INVALID";
/// The stamp of a result whose run was interrupted.
pub const INTERRUPTED: &str = "INTERRUPTED";
/// The stamp of a result with a phase that was to end at a steady state and did not reach it.
pub const NOT_STEADY: &str = "NOT STEADY";
/// The stamp of a result with a run that failed.
pub const FAILED: &str = "FAILED";

/// One run of the program.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub struct ResultFile {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The program.
    pub build: Build,
    /// The command line, program name first.
    pub command: Vec<String>,
    /// When it began, in seconds since 1970.
    pub started_unix_s: u64,
    /// The same in words: date and time, UTC.
    pub started: String,
    /// When it ended, UTC.
    pub ended: String,
    /// INVALID, NOT EQUAL, NOT STEADY, INTERRUPTED, FAILED; empty for a good run.
    pub stamps: Vec<String>,
    /// The engines that the others are set against, with commas between; `None`: the first.
    #[serde(default)]
    pub baseline: Option<String>,
    /// What a reader must know to judge the numbers.
    pub notes: Vec<String>,
    /// The pitfalls that these runs are in.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// The machine.
    pub host: Host,
    /// What its counters and its device are worth; `None`: not calibrated.
    #[serde(default)]
    pub calibration: Option<Calibration>,
    /// What the harness itself costs in each measured phase.
    #[serde(default)]
    pub harness: Vec<HarnessCost>,
    /// Which way to the disk and who did the upkeep, as asked for.
    pub ground: Ground,
    /// One cell per workload and engine.
    pub cells: Vec<CellRecord>,
    /// Checks between the engines of a workload.
    pub between: Vec<(String, Check)>,
    /// Measured phases whose engines did not do the same work.
    pub not_equal: Vec<NotEqual>,
    /// What criterion found of the same kinds of operations; empty unless `cargo bench` made the result.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub criterion: Vec<CriterionTime>,
}

impl ResultFile {
    /// An empty result of this program on this machine.
    pub fn new(host: Host, ground: Ground) -> ResultFile {
        let started_unix_s = now_unix_s();
        ResultFile {
            schema: SCHEMA,
            build: Build::of_this_program(),
            // A name that is no UTF-8 is shown with marks in place of what cannot be.
            command: command_line(),
            started_unix_s,
            started: units::utc(started_unix_s),
            ended: String::new(),
            stamps: Vec::new(),
            baseline: None,
            notes: Vec::new(),
            host,
            warnings: Vec::new(),
            calibration: None,
            harness: Vec::new(),
            ground,
            cells: Vec::new(),
            between: Vec::new(),
            not_equal: Vec::new(),
            criterion: Vec::new(),
        }
    }

    /// Compares the engines of each workload and sets the stamps. `interrupted` says that cells are missing.
    pub fn seal(&mut self, interrupted: bool) {
        self.ended = units::utc(now_unix_s());
        self.host.ended();
        self.between.clear();
        self.not_equal.clear();
        for workload in self.workloads() {
            let done = self.cells.iter().filter(|cell| cell.workload == workload && cell.did_whole_stream());
            let digests: Vec<_> = done
                .filter_map(|cell| {
                    Some((cell.engine.label.clone(), cell.op_digest.clone(), cell.contents.clone()?))
                })
                .collect();
            self.between.push((workload.clone(), same_contents(&digests)));
            let cells: Vec<_> = self.cells.iter().filter(|cell| cell.workload == workload).collect();
            self.not_equal.extend(equal::unequal(&workload, &cells));
        }
        if self.host.was_busy() {
            let note = "note: the machine was busy before the run began: times are those of a shared machine";
            self.notes.push(note.to_owned());
        }
        self.warnings = warnings(&self.cells, self.calibration.as_ref());
        let invalid = self.cells.iter().any(CellRecord::is_invalid)
            || self.between.iter().any(|(_, check)| check.verdict == Verdict::Fail);
        let failed = self.cells.iter().any(|cell| cell.failure.is_some());
        let is_unequal = !self.not_equal.is_empty();
        let unsteady = self.cells.iter().any(CellRecord::is_unsteady);
        let stamps = [
            (invalid, INVALID),
            (is_unequal, NOT_EQUAL),
            (unsteady, NOT_STEADY),
            (interrupted, INTERRUPTED),
            (failed, FAILED),
        ];
        self.stamps = stamps.iter().filter(|(is, _)| *is).map(|(_, stamp)| (*stamp).to_owned()).collect();
    }

    /// Why the engines of a measured phase must not be compared, if they must not.
    pub fn unequal(&self, workload: &str, measure: &str) -> Option<&str> {
        let known = self.not_equal.iter();
        let mut known = known.filter(|known| known.workload == workload && known.measure == measure);
        known.next().map(|known| known.why.as_str())
    }

    /// What calibration found the counters of the machine worth; `None`: not calibrated.
    pub fn trust(&self) -> Option<Trust> {
        self.calibration.as_ref().map(|calibration| calibration.trust)
    }

    /// What the harness itself costs in a measured phase, in nanoseconds an operation.
    pub fn harness_ns(&self, workload: &str, measure: &str) -> Option<f64> {
        let is = |cost: &&HarnessCost| cost.workload == workload && cost.measure == measure;
        self.harness.iter().find(is).map(|cost| cost.ns_per_op)
    }

    /// The workloads, in the order they were run.
    pub fn workloads(&self) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for cell in &self.cells {
            if !names.contains(&cell.workload) {
                names.push(cell.workload.clone());
            }
        }
        names
    }

    /// Blocks that ran of `workload`.
    pub fn repetitions(&self, workload: &str) -> usize {
        let blocks = self.cells.iter().filter(|cell| cell.workload == workload).map(|cell| cell.block);
        blocks.collect::<BTreeSet<_>>().len()
    }

    /// Every other engine over each baseline in one measured phase, a sentence each: ratios with their intervals, or the
    /// rule that forbids them. Nothing with one repetition, or one engine.
    pub fn ratios(&self, workload: &str, measure: &str) -> Vec<String> {
        if self.repetitions(workload) < 2 {
            return Vec::new();
        }
        let groups = compare::groups(&self.cells);
        self.pairs(&groups, workload, measure)
            .into_iter()
            .map(|(group, baseline)| compare::ratio::sentence(group, baseline))
            .collect()
    }

    /// Who is set against whom in one measured phase: every other engine against each baseline in turn. Two baselines
    /// meet once.
    pub fn pairs<'g, 'r>(
        &self,
        groups: &'g [compare::Group<'r>],
        workload: &str,
        measure: &str,
    ) -> Vec<(&'g compare::Group<'r>, &'g compare::Group<'r>)> {
        let here: Vec<_> =
            groups.iter().filter(|group| group.workload == workload && group.measure == measure).collect();
        let named = self.baseline.iter().flat_map(|names| names.split(','));
        let mut baselines: Vec<_> =
            named.filter_map(|name| here.iter().find(|group| group.engine == name.trim()).copied()).collect();
        if baselines.is_empty() {
            baselines.extend(here.first());
        }
        let mut pairs: Vec<(&compare::Group<'_>, &compare::Group<'_>)> = Vec::new();
        for baseline in &baselines {
            for group in here.iter().copied().filter(|group| group.engine != baseline.engine) {
                let met = pairs.iter().any(|(a, b)| (a.engine, b.engine) == (baseline.engine, group.engine));
                if !met {
                    pairs.push((group, baseline));
                }
            }
        }
        pairs
    }

    /// What the process should end with: the gravest of what happened.
    pub fn exit(&self) -> Option<Exit> {
        let has = |stamp: &str| self.stamps.iter().any(|known| known == stamp);
        if has(INTERRUPTED) {
            Some(Exit::Interrupted)
        } else if has(FAILED) {
            Some(Exit::Failed)
        } else if self.cells.iter().any(CellRecord::is_damaged) {
            Some(Exit::Damage)
        } else {
            has(INVALID).then_some(Exit::Check)
        }
    }

    /// Reads the result file in `dir`, `None` if there is none.
    ///
    /// # Errors
    /// There is one and it cannot be used.
    pub fn read(dir: &Path) -> Result<Option<ResultFile>> {
        let path = dir.join(FILE_NAME);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Failure::io("read", &path, &error).of_argument()),
        };
        let parsed: ResultFile = serde_json::from_str(&text).map_err(|error| {
            Failure::usage(format!(
                "{} is no result file: {error}; remove it or use another --out",
                path.display()
            ))
        })?;
        if parsed.schema != SCHEMA {
            return Err(Failure::usage(format!(
                "{} has schema {}, this version reads {SCHEMA}; use another --out",
                path.display(),
                parsed.schema
            )));
        }
        Ok(Some(parsed))
    }

    /// Writes the result file and the page into `dir`, each whole or not at all.
    ///
    /// # Errors
    /// The system refuses.
    pub fn write(&self, dir: &Path) -> Result<()> {
        // The data directory may have been the same one, and it is removed when the run leaves nothing in it.
        fs::create_dir_all(dir).map_err(|error| Failure::io("create the directory", dir, &error))?;
        write_whole(&dir.join(FILE_NAME), &self.text()?)?;
        self.write_page(dir)
    }

    fn text(&self) -> Result<String> {
        serde_json::to_string_pretty(self)
            .map_err(|error| Failure::failed(format!("cannot write the result as JSON: {error}")))
    }

    /// Writes the page alone into `dir`, with the verdicts over claims that lie there.
    ///
    /// # Errors
    /// The system refuses, or the file of verdicts cannot be used.
    pub fn write_page(&self, dir: &Path) -> Result<()> {
        let claims = ClaimsFile::read(dir)?;
        write_whole(&dir.join(html::FILE_NAME), &html::page(self, &self.text()?, claims.as_ref()))
    }
}

/// Seconds since 1970.
pub fn now_unix_s() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |since| since.as_secs())
}

/// Writes `text` beside `path` and renames it into place.
///
/// # Errors
/// The system refuses.
pub fn write_whole(path: &Path, text: &str) -> Result<()> {
    let beside = path.with_extension("tmp");
    fs::write(&beside, text)
        .and_then(|()| fs::rename(&beside, path))
        .map_err(|error| Failure::io("write", path, &error))
}
