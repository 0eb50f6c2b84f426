//! The file of verdicts: for each claim the runs and observations behind its verdict, in the schema of the result file, so
//! that the verdict can be derived from it again. Histograms and samples over time are left out: no claim rests on them
//! that is not in the summaries already.

use std::fs;
use std::path::Path;

use super::builtin::Observed;
use super::case::Case;
use super::format::{Claim, Experiment};
use super::select;
use super::verdict::{Outcome, Tested, Verdict, decide};
use crate::calibrate::Calibration;
use crate::error::{Failure, Result};
use crate::report::result::write_whole;
use crate::run::CellRecord;
use crate::sys::build::Build;
use crate::sys::host::Host;

/// The version of the document's shape.
pub const SCHEMA: u32 = 1;
/// The name of the file in `--out`.
pub const FILE_NAME: &str = "claims.json";

/// Verdicts, and what they rest on.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub struct ClaimsFile {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The claims, by number.
    pub claims: Vec<ClaimRecord>,
}

/// One claim: its verdict, and what it rests on.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub struct ClaimRecord {
    /// Its number.
    pub id: String,
    /// What it says.
    pub claim: String,
    /// The texts that make it, by number.
    pub seeds: Vec<String>,
    /// The verdict that was expected.
    pub prior: String,
    /// What the experiment leaves out.
    #[serde(default)]
    pub note: String,
    /// smoke or lab.
    pub scale: String,
    /// When it began, UTC.
    pub started: String,
    /// Wall time of its experiments, in nanoseconds.
    pub wall_ns: u64,
    /// The command line, program name first.
    pub command: Vec<String>,
    /// The program.
    pub build: Build,
    /// The machine.
    pub host: Host,
    /// What its counters and its device are worth; `None`: not calibrated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibration: Option<Calibration>,
    /// The verdict.
    pub outcome: Outcome,
    /// What the experiments that are built in found.
    pub observed: Vec<Observed>,
    /// The runs of its workloads.
    pub runs: Vec<CellRecord>,
}

/// A verdict that is not what it was.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Change {
    /// The claim.
    pub id: String,
    /// What it was.
    pub was: Verdict,
    /// What it is.
    pub is: Verdict,
}

/// The verdict over `claim` from what was run and observed: the one way to it, new or from a file.
pub fn derive(claim: &Claim, runs: &[CellRecord], observed: &[Observed]) -> Outcome {
    let cases: Vec<Vec<Case>> = claim
        .tests
        .iter()
        .map(|test| match &test.experiment {
            Experiment::Runs(of) => select::cases(test, of, runs),
            Experiment::Builtin(_) => observed
                .iter()
                .filter(|seen| seen.test == test.name)
                .flat_map(|seen| seen.cases.clone())
                .collect(),
        })
        .collect();
    let tested: Vec<Tested<'_>> = claim
        .tests
        .iter()
        .zip(&cases)
        .map(|(test, cases)| Tested {
            name: &test.name,
            predicate: test.predicate,
            axis: test.axis.as_ref(),
            cases,
        })
        .collect();
    decide(&tested)
}

/// A run without what no verdict rests on and what would make the file large.
pub fn slim(mut cell: CellRecord) -> CellRecord {
    for phase in &mut cell.phases {
        phase.samples.clear();
        phase.ops.iter_mut().for_each(|op| op.histogram = None);
        let summaries = phase.ops.iter_mut().filter_map(|op| op.latency.as_mut());
        let summaries = summaries.chain(phase.reads.as_mut()).chain(phase.writes.as_mut());
        summaries.for_each(|latency| latency.curve.clear());
    }
    cell
}

impl ClaimsFile {
    /// A file without claims.
    pub fn empty() -> ClaimsFile {
        ClaimsFile { schema: SCHEMA, claims: Vec::new() }
    }

    /// Puts `record` in the place of what was known of its claim.
    pub fn put(&mut self, record: ClaimRecord) {
        self.claims.retain(|known| known.id != record.id);
        let at = self.claims.partition_point(|known| known.id < record.id);
        self.claims.insert(at, record);
    }

    /// Which verdicts differ from those of `earlier`, of the claims that both have at the same size.
    pub fn changes(&self, earlier: &ClaimsFile) -> Vec<Change> {
        let changed = self.claims.iter().filter_map(|record| {
            let same = |known: &&ClaimRecord| known.id == record.id && known.scale == record.scale;
            let before = earlier.claims.iter().find(same)?;
            let (was, is) = (before.outcome.verdict, record.outcome.verdict);
            (was != is).then(|| Change { id: record.id.clone(), was, is })
        });
        changed.collect()
    }

    /// Reads `path`: the file, or a directory that has one. `None` if there is none.
    ///
    /// # Errors
    /// There is one and it cannot be used.
    pub fn read(path: &Path) -> Result<Option<ClaimsFile>> {
        let path = if path.is_dir() { path.join(FILE_NAME) } else { path.to_path_buf() };
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Failure::io("read", &path, &error).of_argument()),
        };
        let remedy = "remove it or use another --out";
        let parsed: ClaimsFile = serde_json::from_str(&text).map_err(|error| {
            Failure::usage(format!("{} is no file of claims: {error}; {remedy}", path.display()))
        })?;
        if parsed.schema != SCHEMA {
            return Err(Failure::usage(format!(
                "{} has schema {}, this version reads {SCHEMA}; {remedy}",
                path.display(),
                parsed.schema
            )));
        }
        Ok(Some(parsed))
    }

    /// Writes the file into `dir`, whole or not at all: one line a claim, so that two of them can be compared line by line.
    ///
    /// # Errors
    /// The system refuses.
    pub fn write(&self, dir: &Path) -> Result<()> {
        let lines: std::result::Result<Vec<String>, _> =
            self.claims.iter().map(serde_json::to_string).collect();
        let lines =
            lines.map_err(|error| Failure::failed(format!("cannot write the verdicts as JSON: {error}")))?;
        let text = format!("{{\"schema\":{SCHEMA},\"claims\":[\n{}\n]}}\n", lines.join(",\n"));
        fs::create_dir_all(dir).map_err(|error| Failure::io("create the directory", dir, &error))?;
        write_whole(&dir.join(FILE_NAME), &text)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::super::case::Sample;
    use super::super::verdict::{Finding, Judged};
    use super::*;

    /// A record with this verdict and nothing behind it.
    pub fn record(id: &str, verdict: Verdict) -> ClaimRecord {
        let judged = Judged {
            test: "t".into(),
            label: "a <b>".into(),
            estimate: None,
            repetitions: Some(0),
            finding: Finding::Invalid("no run".into()),
        };
        ClaimRecord {
            id: id.into(),
            claim: "it is so".into(),
            seeds: vec!["004".into()],
            prior: "it may be".into(),
            note: String::new(),
            scale: "smoke".into(),
            started: "then".into(),
            wall_ns: 1,
            command: vec!["kvlab".into()],
            build: Build::of_this_program(),
            host: Host::of(Path::new(".")),
            calibration: None,
            outcome: Outcome { verdict, reason: "because".into(), cases: vec![judged] },
            observed: vec![Observed {
                test: "t".into(),
                cases: vec![Case {
                    test: "t".into(),
                    label: "a".into(),
                    group: String::new(),
                    at: None,
                    sample: Sample::Paired(vec![(1.0, 2.0)]),
                }],
                facts: vec!["seen".into()],
            }],
            runs: Vec::new(),
        }
    }

    #[test]
    fn what_is_written_is_read_again_and_stays_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = ClaimsFile::empty();
        for id in ["C10", "C03", "C27"] {
            file.put(record(id, Verdict::Depends));
        }
        file.put(record("C10", Verdict::Confirmed));
        file.write(dir.path()).unwrap();
        let again = ClaimsFile::read(dir.path()).unwrap().unwrap();
        let shape: Vec<_> =
            again.claims.iter().map(|claim| (claim.id.as_str(), claim.outcome.verdict)).collect();
        assert_eq!(
            shape,
            [("C03", Verdict::Depends), ("C10", Verdict::Confirmed), ("C27", Verdict::Depends)]
        );
        assert_eq!(again.claims[0].observed, file.claims[0].observed);
        assert_eq!(again.claims[0].outcome, file.claims[0].outcome);
        assert!(ClaimsFile::read(&dir.path().join("none")).unwrap().is_none());
        fs::write(dir.path().join(FILE_NAME), "{}").unwrap();
        assert_eq!(ClaimsFile::read(dir.path()).unwrap_err().exit.code(), 2);
    }

    #[test]
    fn changes_are_told_between_runs_of_the_same_size() {
        let (mut before, mut after) = (ClaimsFile::empty(), ClaimsFile::empty());
        before.put(record("C03", Verdict::Depends));
        before.put(record("C10", Verdict::Depends));
        before.put(ClaimRecord { scale: "lab".into(), ..record("C27", Verdict::Depends) });
        for id in ["C03", "C10", "C27", "C20"] {
            let verdict = if id == "C10" { Verdict::Depends } else { Verdict::Refuted };
            after.put(record(id, verdict));
        }
        let changes = after.changes(&before);
        assert_eq!(changes, [Change { id: "C03".into(), was: Verdict::Depends, is: Verdict::Refuted }]);
    }
}
