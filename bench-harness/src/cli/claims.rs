//! `kvlab claims`: runs what settles each claim, and says what came out.

use std::path::{Path, PathBuf};
use std::time::Instant;

use kv_api::Background;
use serde_json::json;
use workloads::toml_file;

use super::args::ClaimsArgs;
use crate::calibrate::Calibration;
use crate::claims::builtin::{self, Builtin, Observed};
use crate::claims::file::{self, Change, ClaimRecord, ClaimsFile, derive, slim};
use crate::claims::format::{Claim, Experiment, Runs, Size, Test};
use crate::claims::select;
use crate::error::{Exit, Failure, Result};
use crate::output::{Output, complain};
use crate::registry::{Opener, Registry};
use crate::report::{ResultFile, claims as report};
use crate::run::CellRecord;
use crate::run::child::Runner;
use crate::run::plan::{Ground, Overrides, Plan, Workload};
use crate::sys::build::{Build, command_line};
use crate::sys::disk;
use crate::sys::host::Host;
use crate::sys::interrupt::Interrupt;
use crate::units::utc;

/// The memory budget of a built-in experiment whose claim names none.
const MEMORY_BYTES: u64 = 4 << 20;

/// What is being run.
struct Job<'a> {
    registry: &'a Registry,
    program: Option<PathBuf>,
    args: &'a ClaimsArgs,
    calibration: Option<Calibration>,
    interrupt: Interrupt,
}

/// The workloads of a claim on their engines, with what opens each run.
type Prepared = Vec<(Plan, Vec<Opener>)>;

/// `kvlab claims [ID...]`.
///
/// # Errors
/// A wrong number or option, or a directory that cannot be used. A failed run is in the file.
pub fn claims(
    registry: &Registry,
    program: Option<PathBuf>,
    args: &ClaimsArgs,
    out: &mut Output,
) -> Result<Option<Exit>> {
    let wanted = crate::claims::find(&args.ids)?;
    if let Some(from) = &args.from {
        return again(&wanted, from, out);
    }
    // Every option is checked before anything is written.
    let prepared = wanted.iter().map(|claim| prepare(registry, claim, args)).collect::<Result<Vec<_>>>()?;
    if args.dry_run {
        return dry_run(&wanted, &prepared, out);
    }
    if let Some(warning) = disk::file_system(&args.dir).as_deref().and_then(disk::warning) {
        complain(format!("warning: {warning}"));
    }
    let earlier = ClaimsFile::read(&args.out)?;
    for dir in [&args.out, &args.dir] {
        disk::usable(dir)?;
    }
    let need =
        prepared.iter().flatten().flat_map(|(plan, _)| &plan.workloads).map(Workload::space_needed).max();
    disk::check_free(&args.dir, need.unwrap_or(0))?;
    let interrupt = Interrupt::install()?;
    let calibration = super::calibrated(&args.dir, args.calibrate, &interrupt).unwrap_or_else(|failure| {
        complain(format!("note: not calibrated: {}", failure.message));
        None
    });
    let job = Job { registry, program, args, calibration, interrupt };
    let mut kept = earlier.clone().unwrap_or_else(ClaimsFile::empty);
    let mut done = Vec::new();
    for (claim, prepared) in wanted.iter().zip(&prepared) {
        let Some(record) = job.settle(claim, prepared)? else { break };
        for line in report::lines(&record) {
            out.text(line)?;
        }
        out.text("")?;
        done.push(record.id.clone());
        kept.put(record);
        // After each claim, so that an end in the middle loses one claim at most.
        kept.write(&args.out)?;
        page(&kept, &args.out)?;
        // A reader who follows the output sees a claim when it is settled.
        out.flush()?;
    }
    // The directory may hold what is not ours; then it stays.
    let _ = std::fs::remove_dir(&args.dir);
    finish(&kept, earlier.as_ref(), &done, job.interrupt.is_set(), args, out)
}

/// The last lines, and what the process ends with.
fn finish(
    kept: &ClaimsFile,
    earlier: Option<&ClaimsFile>,
    done: &[String],
    interrupted: bool,
    args: &ClaimsArgs,
    out: &mut Output,
) -> Result<Option<Exit>> {
    let of_this = |record: &&ClaimRecord| done.contains(&record.id);
    let now: Vec<ClaimRecord> = kept.claims.iter().filter(of_this).cloned().collect();
    let now = ClaimsFile { schema: kept.schema, claims: now };
    for line in report::summary(&now.claims) {
        out.text(line)?;
    }
    if !done.is_empty() {
        for name in [file::FILE_NAME, crate::report::html::FILE_NAME] {
            out.text(format!("written: {}", args.out.join(name).display()))?;
        }
    }
    let has_shared = |earlier: &&ClaimsFile| {
        let before = |record: &ClaimRecord| {
            earlier.claims.iter().any(|known| (&known.id, &known.scale) == (&record.id, &record.scale))
        };
        now.claims.iter().any(before)
    };
    let changes = earlier.filter(has_shared).map(|earlier| now.changes(earlier));
    out.json(&json!({ "claims": now.claims, "changes": changes, "interrupted": interrupted }))?;
    out.text(changed("since the previous run", changes.as_deref()))?;
    Ok(if interrupted { Some(Exit::Interrupted) } else { exit(&now.claims) })
}

/// The gravest of what happened to the runs.
fn exit(claims: &[ClaimRecord]) -> Option<Exit> {
    let runs = || claims.iter().flat_map(|claim| &claim.runs);
    if runs().any(|run| run.failure.is_some()) {
        Some(Exit::Failed)
    } else if runs().any(CellRecord::is_damaged) {
        Some(Exit::Damage)
    } else {
        runs().any(CellRecord::is_invalid).then_some(Exit::Check)
    }
}

/// The line that says which verdicts changed.
fn changed(since: &str, changes: Option<&[Change]>) -> String {
    match changes {
        None => "there is no previous run of these claims in --out to compare with".to_owned(),
        Some([]) => format!("no claim changed its verdict {since}"),
        Some(changes) => {
            let one =
                |change: &Change| format!("{} was {}, is {}", change.id, change.was.word(), change.is.word());
            format!("changed {since}: {}", changes.iter().map(one).collect::<Vec<_>>().join("; "))
        }
    }
}

/// `--from`: the verdicts of a file, derived again from what it holds by the claims of this program.
fn again(wanted: &[Claim], from: &Path, out: &mut Output) -> Result<Option<Exit>> {
    let known = ClaimsFile::read(from)?.ok_or_else(|| {
        Failure::usage(format!("there is no {}; give what `kvlab claims --out` wrote", from.display()))
    })?;
    let mut derived = ClaimsFile::empty();
    for record in &known.claims {
        if let Some(claim) = wanted.iter().find(|claim| claim.id == record.id) {
            let outcome = derive(claim, &record.runs, &record.observed);
            derived.put(ClaimRecord { outcome, ..record.clone() });
        }
    }
    if derived.claims.is_empty() {
        return Err(Failure::usage(format!("{} has none of the claims asked for", from.display())));
    }
    for record in &derived.claims {
        for line in report::lines(record) {
            out.text(line)?;
        }
        out.text("")?;
    }
    for line in report::summary(&derived.claims) {
        out.text(line)?;
    }
    let changes = derived.changes(&known);
    out.json(&json!({ "claims": derived.claims, "changes": changes }))?;
    out.text(changed("against the verdict that the file holds", Some(&changes)))?;
    Ok(exit(&derived.claims))
}

/// The page of results in `out`, with the claims.
fn page(claims: &ClaimsFile, out: &Path) -> Result<()> {
    match ResultFile::read(out)? {
        Some(result) => result.write_page(out),
        None => report::write_page(claims, out),
    }
}

fn size<'c>(claim: &'c Claim, args: &ClaimsArgs) -> &'c Size {
    if args.is_lab() { &claim.lab } else { &claim.smoke }
}

/// The workloads of a claim, each once, at the size asked for.
fn prepare(registry: &Registry, claim: &Claim, args: &ClaimsArgs) -> Result<Prepared> {
    let size = size(claim, args);
    let ground = Ground { io: args.io.unwrap_or(claim.io), background: Background::Threads(1) };
    let mut seen: Vec<(&str, &str)> = Vec::new();
    let mut prepared = Vec::new();
    for test in &claim.tests {
        let Experiment::Runs(runs) = &test.experiment else { continue };
        let key = (runs.cells[0].name.as_str(), runs.engines.as_str());
        if seen.contains(&key) {
            continue;
        }
        seen.push(key);
        let within = |failure: Failure| failure.within(format!("claim {}, {}", claim.id, test.name));
        let workloads = workloads(runs, size, args).map_err(within)?;
        let engines = registry.parse_specs(&runs.engines).map_err(within)?;
        let plan = Plan { workloads, engines, ground };
        let openers = plan
            .cells()
            .map(|run| registry.prepare(&run.engine, &ground.common(&run.workload.spec)))
            .collect::<Result<_>>()
            .map_err(within)?;
        prepared.push((plan, openers));
    }
    Ok(prepared)
}

fn workloads(runs: &Runs, size: &Size, args: &ClaimsArgs) -> Result<Vec<Workload>> {
    let overrides = Overrides {
        memory: size.memory_bytes,
        repeats: Some(args.repeats.unwrap_or(size.repeats)),
        ..Overrides::default()
    };
    let kept = runs.cells.iter().filter(|cell| size.keeps(&cell.label));
    let made = kept.map(|cell| {
        let text = toml_file::to_text(cell)
            .map_err(|error| Failure::usage(format!("the workload cannot be written: {error}")))?;
        Workload::parse(&cell.name, &text, &overrides)
    });
    made.collect()
}

impl Job<'_> {
    /// Does all that settles `claim`; `None` if the user interrupted it.
    fn settle(&self, claim: &Claim, prepared: &Prepared) -> Result<Option<ClaimRecord>> {
        let start = Instant::now();
        let started = crate::report::result::now_unix_s();
        let host = Host::of(&self.args.dir);
        let mut runs = Vec::new();
        for (plan, openers) in prepared {
            let runner = Runner {
                trust: self.calibration.as_ref().map(|calibration| calibration.trust),
                program: self.program.as_deref(),
                ground: plan.ground,
                data_dir: &self.args.dir,
                reply_dir: &self.args.out,
                keep: false,
                acks: None,
                record: None,
                limit: None,
                interrupt: &self.interrupt,
            };
            for (run, open) in plan.cells().zip(openers) {
                let record = runner.run(plan.cell_id(&run), &run, open)?;
                if self.interrupt.is_set() {
                    return Ok(None);
                }
                runs.push(slim(record));
            }
        }
        let mut observed = Vec::new();
        for test in &claim.tests {
            observed.push(match &test.experiment {
                Experiment::Builtin(builtin) => self.observe(claim, test, builtin)?,
                Experiment::Runs(of) => Observed {
                    test: test.name.clone(),
                    cases: Vec::new(),
                    facts: select::facts(test, of, &runs),
                },
            });
            if self.interrupt.is_set() {
                return Ok(None);
            }
        }
        let mut host = host;
        host.ended();
        Ok(Some(ClaimRecord {
            id: claim.id.clone(),
            claim: claim.claim.clone(),
            seeds: claim.seeds.clone(),
            prior: claim.prior.clone(),
            note: claim.note.clone(),
            scale: self.args.scale.clone(),
            started: utc(started),
            wall_ns: u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX),
            command: command_line(),
            build: Build::of_this_program(),
            host,
            calibration: self.calibration.clone(),
            outcome: derive(claim, &runs, &observed),
            observed,
            runs,
        }))
    }

    fn observe(&self, claim: &Claim, test: &Test, builtin: &Builtin) -> Result<Observed> {
        let size = size(claim, self.args);
        let ground = builtin::Ground {
            registry: self.registry,
            dir: &self.args.dir,
            interrupt: &self.interrupt,
            memory_bytes: size.memory_bytes.unwrap_or(MEMORY_BYTES),
            repeats: self.args.repeats.unwrap_or(size.repeats),
            is_lab: self.args.is_lab(),
        };
        let mut seen = (builtin.run)(&ground)
            .map_err(|failure| failure.within(format!("claim {}, {}", claim.id, test.name)))?;
        seen.test.clone_from(&test.name);
        seen.cases.iter_mut().for_each(|case| case.test.clone_from(&test.name));
        Ok(seen)
    }
}

fn dry_run(wanted: &[Claim], prepared: &[Prepared], out: &mut Output) -> Result<Option<Exit>> {
    let mut all = 0;
    for (claim, prepared) in wanted.iter().zip(prepared) {
        let runs: usize = prepared.iter().map(|(plan, _)| plan.cells().count()).sum();
        let built_in: Vec<&str> = claim
            .tests
            .iter()
            .filter_map(|test| match test.experiment {
                Experiment::Builtin(builtin) => Some(builtin.word),
                Experiment::Runs(_) => None,
            })
            .collect();
        all += runs;
        let beside =
            if built_in.is_empty() { String::new() } else { format!(" and {}", built_in.join(", ")) };
        out.text(format!("{} {runs} runs{beside}", claim.id))?;
        out.json(&json!({ "id": claim.id, "runs": runs, "built_in": built_in }))?;
    }
    out.text(format!("{all} runs in all; nothing was written"))?;
    Ok(None)
}

impl ClaimsArgs {
    fn is_lab(&self) -> bool {
        self.scale == "lab"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claims::Verdict;

    #[test]
    fn the_last_line_says_what_changed() {
        let change = Change { id: "C03".into(), was: Verdict::Depends, is: Verdict::NotSettled };
        let line = changed("since the previous run", Some(&[change]));
        assert_eq!(line, "changed since the previous run: C03 was depends, is not settled");
        assert!(changed("", None).contains("no previous run of these claims"));
        assert!(changed("since x", Some(&[])).starts_with("no claim changed its verdict since x"));
    }
}
