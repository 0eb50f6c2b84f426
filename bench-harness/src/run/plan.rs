//! What will be run: workloads as the command line changed them, and one cell per engine and workload.

use std::path::Path;

use kv_api::{Background, CommonOptions, Durability, IoMode};
use workloads::spec::Amount;
use workloads::{PhaseKind, Scale, Spec, ready, toml_file};

use crate::error::{Failure, Result};
use crate::registry::EngineSpec;
use crate::stats::rng;
use crate::trace;
use crate::units::nearest;

/// Rough rates for the estimate of a dry run: operations per second that went in batches, and singly.
const BATCHED_PER_SECOND: f64 = 200_000.0;
const SINGLE_PER_SECOND: f64 = 60_000.0;
/// A run may need this many times its data: live entries, stale ones, and both sides of a compaction.
const SPACE_FACTOR: u64 = 4;
const SPACE_MARGIN: u64 = 64 << 20;

/// What the command line changes in a workload.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Overrides {
    /// Memory budget in bytes.
    pub memory: Option<u64>,
    /// Level of every write.
    pub durability: Option<Durability>,
    /// Client threads.
    pub threads: Option<u32>,
    /// Seed of all randomness.
    pub seed: Option<u64>,
    /// Another size: smoke, lab or full.
    pub scale: Option<String>,
    /// How often the whole run is repeated.
    #[serde(default)]
    pub repeats: Option<u32>,
    /// True to drop the page cache between phases.
    #[serde(default)]
    pub drop_caches: bool,
}

/// One workload, ready to run.
#[derive(Debug, Clone)]
pub struct Workload {
    /// Its name.
    pub name: String,
    /// The text of its file, or of the files it was chained from.
    pub text: String,
    /// What it says, with every amount as a count.
    pub spec: Spec,
}

/// Which way to the disk and who does the upkeep: the same for every cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Ground {
    /// Which way page files and tables reach the disk.
    pub io: IoMode,
    /// Who does flushes, compactions and checkpoints.
    pub background: Background,
}

/// Everything that will be run, in order.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The workloads.
    pub workloads: Vec<Workload>,
    /// The engines.
    pub engines: Vec<EngineSpec>,
    /// What all cells share.
    pub ground: Ground,
}

/// One run: an engine under a workload, in a block.
#[derive(Debug, Clone)]
pub struct Run<'p> {
    /// What to do.
    pub workload: &'p Workload,
    /// On what, with the options that the workload has for it.
    pub engine: EngineSpec,
    /// Which repetition.
    pub block: u32,
    /// The engine's place in [`Plan::engines`].
    pub place: usize,
}

impl Workload {
    /// The ready workload or the file called `name`, changed by `overrides`; it must be no matrix.
    ///
    /// # Errors
    /// No such workload, a file that cannot be used, or a scale that does not exist.
    pub fn find(name: &str, overrides: &Overrides) -> Result<Workload> {
        let mut all = Workload::find_all(name, overrides)?;
        match all.len() {
            1 => Ok(all.remove(0)),
            cells => Err(Failure::usage(format!("{name} has a matrix of {cells} cells; one is wanted here"))),
        }
    }

    /// The ready workload or the file called `name`, changed by `overrides`: one workload for each cell of its
    /// matrix.
    ///
    /// # Errors
    /// No such workload, a file that cannot be used, or a scale that does not exist.
    pub fn find_all(name: &str, overrides: &Overrides) -> Result<Vec<Workload>> {
        if let Some(ready) = ready::all().iter().find(|ready| ready.name == name) {
            return Workload::cells(name, ready.text, overrides);
        }
        let path = Path::new(name);
        if !path.exists() && path.extension().is_none() {
            let hint = nearest(name, ready::names()).map_or_else(
                || "`kvlab list` shows them".to_owned(),
                |near| format!("did you mean `{near}`?"),
            );
            return Err(Failure::usage(format!("there is no workload `{name}` and no such file; {hint}")));
        }
        let text = std::fs::read_to_string(path)
            .map_err(|error| Failure::io("read the workload file", name, &error).of_argument())?;
        // Traces lie beside the file that names them.
        Workload::cells_in(name, &text, path.parent().unwrap_or(Path::new("")), overrides)
    }

    fn cells(file: &str, text: &str, overrides: &Overrides) -> Result<Vec<Workload>> {
        Workload::cells_in(file, text, Path::new(""), overrides)
    }

    fn cells_in(file: &str, text: &str, folder: &Path, overrides: &Overrides) -> Result<Vec<Workload>> {
        let specs = toml_file::parse_cells(file, text).map_err(|error| Failure::usage(error.to_string()))?;
        let made = specs.into_iter().map(|mut spec| {
            spec.find_traces_in(folder);
            // A cell's text is the cell alone, so that what was run can be read again.
            let own = if spec.label.is_empty() { None } else { toml_file::to_text(&spec).ok() };
            Workload::of(spec, own.unwrap_or_else(|| text.to_owned()), overrides)
        });
        made.collect()
    }

    /// The name of a workload and the label of its cell.
    pub fn name_of(spec: &Spec) -> String {
        if spec.label.is_empty() { spec.name.clone() } else { format!("{} {}", spec.name, spec.label) }
    }

    fn of(spec: Spec, text: String, overrides: &Overrides) -> Result<Workload> {
        let name = Workload::name_of(&spec);
        let spec = overrides.apply(spec)?;
        if let Some(why) = spec.problem() {
            return Err(Failure::usage(format!("{name}: {why}")));
        }
        check_traces(&spec)?;
        Ok(Workload { name, text, spec })
    }

    /// Parses `text`, named `file` in errors, and applies `overrides`.
    ///
    /// # Errors
    /// The text cannot be used, or a scale that does not exist.
    pub fn parse(file: &str, text: &str, overrides: &Overrides) -> Result<Workload> {
        let spec = toml_file::parse(file, text).map_err(|error| Failure::usage(error.to_string()))?;
        Workload::of(spec, text.to_owned(), overrides)
    }

    /// What the measured phase with this number is called in tables: by its name, or by the workload's if it has none.
    pub fn measure_name(&self, phase: usize) -> String {
        let own = self.spec.phases.get(phase).map(|phase| phase.name.as_str());
        own.filter(|name| *name != "measure").unwrap_or(&self.name).to_owned()
    }

    /// Bytes of disk a run may need.
    pub fn space_needed(&self) -> u64 {
        let inserted: u64 = self
            .spec
            .phases
            .iter()
            .filter_map(|phase| phase.until.ops)
            .map(|ops| self.spec.count(ops).saturating_mul(self.spec.data.entry_bytes()) / 4)
            .sum();
        self.spec
            .data_bytes()
            .saturating_add(inserted)
            .saturating_mul(SPACE_FACTOR)
            .saturating_add(2 * self.spec.memory_budget() + SPACE_MARGIN)
    }

    /// Seconds one engine may take: a rough estimate, and the sum of the time caps if every phase has one.
    pub fn seconds(&self) -> (f64, Option<f64>) {
        let mut rough = 0.0;
        let mut caps = Some(0.0);
        for phase in &self.spec.phases {
            let rate = if phase.batch > 1 { BATCHED_PER_SECOND } else { SINGLE_PER_SECOND };
            let ops = match phase.kind {
                PhaseKind::Load => self.spec.records(),
                _ => phase.until.ops.map_or(0, |ops| self.spec.count(ops)),
            };
            let seconds = ops as f64 / rate;
            rough += phase.until.cap_s().map_or(seconds, |cap| {
                if ops > 0 {
                    seconds.min(cap)
                } else if phase.until.steady {
                    cap
                } else {
                    1.0_f64.min(cap)
                }
            });
            if phase.kind != PhaseKind::Verify {
                caps = caps.zip(phase.cap_s()).map(|(sum, cap)| sum + cap);
            }
        }
        (rough, caps)
    }

    /// Workloads of one size made into one: the phases before the first measured one are run once, on the data
    /// of the first, and then the measured phases of each in turn. `None` if their data or preparation differ.
    pub fn chain(name: &str, parts: &[Workload]) -> Option<Workload> {
        let first = parts.first()?;
        let head = |workload: &Workload| {
            let at = workload.spec.phases.iter().position(|phase| phase.kind == PhaseKind::Measure)?;
            Some(workload.spec.phases[..at].to_vec())
        };
        let prepared = head(first)?;
        let mut spec = first.spec.clone();
        let (mut tail, mut purposes) = (Vec::new(), Vec::new());
        for part in parts {
            let same = part.spec.data == spec.data && part.spec.run == spec.run && head(part)? == prepared;
            if !same {
                return None;
            }
            purposes.push(part.spec.purpose.clone());
            for phase in &part.spec.phases[prepared.len()..] {
                if phase.kind != PhaseKind::Verify {
                    let mut phase = phase.clone();
                    if phase.kind == PhaseKind::Measure {
                        phase.name = part.name.clone();
                    }
                    tail.push(phase);
                }
            }
        }
        let verify = first.spec.phases.iter().filter(|phase| phase.kind == PhaseKind::Verify).cloned();
        tail.extend(verify);
        spec.name = name.to_owned();
        spec.purpose = purposes.join("; then ");
        spec.phases = prepared.into_iter().chain(tail).collect();
        let texts: Vec<_> = parts.iter().map(|part| part.text.as_str()).collect();
        Some(Workload { name: name.to_owned(), text: texts.join("\n"), spec })
    }
}

impl Overrides {
    fn apply(&self, spec: Spec) -> Result<Spec> {
        let mut spec = match &self.scale {
            Some(scale) => spec.scaled(scale.parse::<Scale>().map_err(Failure::usage)?),
            None => spec,
        };
        if let Some(memory) = self.memory {
            spec.run.memory_budget = Amount::Count(memory);
        }
        if let Some(durability) = self.durability {
            spec.run.durability = match durability {
                Durability::Memory => workloads::Durability::Memory,
                Durability::Os => workloads::Durability::Os,
                Durability::Disk => workloads::Durability::Disk,
            };
        }
        if let Some(threads) = self.threads {
            spec.run.threads = threads;
        }
        if let Some(seed) = self.seed {
            spec.run.seed = seed;
        }
        if let Some(repeats) = self.repeats {
            spec.run.repeats = repeats;
        }
        spec.run.drop_caches |= self.drop_caches;
        Ok(spec.resolved())
    }
}

/// The level of a workload in the words of the contract.
pub fn durability(spec: &Spec) -> Durability {
    match spec.run.durability {
        workloads::Durability::Memory => Durability::Memory,
        workloads::Durability::Os => Durability::Os,
        workloads::Durability::Disk => Durability::Disk,
    }
}

impl Ground {
    /// The common options of a cell under `spec`.
    pub fn common(&self, spec: &Spec) -> CommonOptions {
        CommonOptions {
            memory_budget: spec.memory_budget(),
            io: self.io,
            background: self.background,
            ..CommonOptions::default()
        }
    }
}

/// Reads every trace that `spec` names to its end: a damaged one is found before anything is written.
fn check_traces(spec: &Spec) -> Result<()> {
    for phase in &spec.phases {
        for file in phase.trace_files() {
            trace::times_ns(Path::new(file)).map_err(|error| {
                Failure::usage(format!("phase \"{}\" of {}: {file}: {error}", phase.name, spec.name))
            })?;
        }
    }
    Ok(())
}

impl EngineSpec {
    /// The same engine with the options that `spec` has for it; those given by the user come after and win.
    fn under(&self, spec: &Spec) -> EngineSpec {
        let Some(text) = spec.run.engine.get(&self.name) else { return self.clone() };
        let given = text.split(':').map(|part| part.split_once('=').unwrap_or((part, "")));
        let mut settings: Vec<(String, String)> =
            given.map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned())).collect();
        settings.extend(self.settings.iter().cloned());
        EngineSpec { settings, ..self.clone() }
    }
}

impl Plan {
    /// Every run in order: file by file, block by block, in a block every cell of the file's matrix, the engines of a
    /// cell in an order drawn from the seed for each. So what the machine does meanwhile falls on all engines and all cells
    /// alike, and none always comes first. A workload that differs from an earlier one in the options of other engines
    /// alone is not run again.
    pub fn cells(&self) -> impl Iterator<Item = Run<'_>> {
        let numbered: Vec<(usize, &Workload)> = self.workloads.iter().enumerate().collect();
        let is_one_file = |(_, a): &(usize, &Workload), (_, b): &(usize, &Workload)| {
            (&a.spec.name, a.spec.run.repeats) == (&b.spec.name, b.spec.run.repeats)
        };
        let files: Vec<_> = numbered.chunk_by(is_one_file).map(<[_]>::to_vec).collect();
        files.into_iter().flat_map(move |file| {
            let repeats = file.first().map_or(1, |(_, workload)| workload.spec.run.repeats.max(1));
            let cells =
                (0..repeats).flat_map(move |block| file.clone().into_iter().map(move |cell| (block, cell)));
            cells.flat_map(move |(block, (number, workload))| {
                let seed = workload.spec.run.seed;
                // The first block keeps the order of the command line: with one repetition nothing is drawn.
                let order = match block {
                    0 => (0..self.engines.len()).collect(),
                    _ => rng::permutation(seed ^ u64::from(block), self.engines.len()),
                };
                order.into_iter().filter(move |place| self.is_new(number, &self.engines[*place])).map(
                    move |place| Run {
                        workload,
                        engine: self.engines[place].under(&workload.spec),
                        block,
                        place,
                    },
                )
            })
        })
    }

    /// Whether workload `number` asks something of `engine` that no earlier one did.
    fn is_new(&self, number: usize, engine: &EngineSpec) -> bool {
        let spec = &self.workloads[number].spec;
        let seen = spec.seen_by(&engine.name);
        let is_for_others = spec.run.engine.keys().any(|name| *name != engine.name);
        let is_done = |other: &Workload| other.spec.seen_by(&engine.name) == seen;
        !(is_for_others && self.workloads[..number].iter().any(is_done))
    }

    /// What tells a cell from every other one: two runs with equal ids did the same.
    pub fn cell_id(&self, Run { workload, engine, block, .. }: &Run<'_>) -> String {
        let run = &workload.spec.run;
        format!(
            "{} {} seed={} records={} memory={} durability={} threads={} io={} background={} block={block}",
            workload.name,
            engine.label,
            run.seed,
            workload.spec.records(),
            workload.spec.memory_budget(),
            durability(&workload.spec),
            run.threads,
            self.ground.io,
            self.ground.background
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_main_job_loads_once_and_measures_twice() {
        let overrides = Overrides { scale: Some("smoke".to_owned()), ..Overrides::default() };
        let parts = ["read-heavy", "write-heavy"].map(|name| Workload::find(name, &overrides).unwrap());
        let chained = Workload::chain("main", &parts).expect("the two workloads share their data");
        let kinds: Vec<_> = chained.spec.phases.iter().map(|phase| phase.kind.name()).collect();
        assert_eq!(kinds, ["load", "age", "settle", "measure", "drain", "measure", "drain", "verify"]);
        assert_eq!(chained.spec.phases[5].name, "write-heavy");
        let mut other = parts[1].clone();
        other.spec.data.value.compressibility += 0.5;
        assert!(Workload::chain("main", &[parts[0].clone(), other]).is_none());
    }

    #[test]
    fn every_block_has_every_engine_once_and_the_order_changes() {
        let overrides = Overrides { repeats: Some(8), ..Overrides::default() };
        let workloads = vec![Workload::find("read-heavy", &overrides).unwrap()];
        let engines: Vec<_> = ["a", "b", "c"].into_iter().map(EngineSpec::plain).collect();
        let ground = Ground { io: IoMode::Direct, background: Background::Inline };
        let plan = Plan { workloads, engines, ground };
        let runs: Vec<_> = plan.cells().map(|run| (run.block, run.place)).collect();
        assert_eq!((runs.len(), &runs[..3]), (24, &[(0, 0), (0, 1), (0, 2)][..]));
        let mut orders = std::collections::BTreeSet::new();
        for block in runs.chunks(3) {
            let mut places: Vec<_> = block.iter().map(|run| run.1).collect();
            orders.insert(places.clone());
            places.sort_unstable();
            assert_eq!(places, [0, 1, 2]);
        }
        assert!(orders.len() > 2, "{orders:?}");
        let ids: std::collections::BTreeSet<_> = plan.cells().map(|run| plan.cell_id(&run)).collect();
        assert_eq!(ids.len(), 24);
    }

    #[test]
    fn a_wrong_name_or_scale_says_what_would_do() {
        let none = Overrides::default();
        let message = Workload::find("read-hevy", &none).unwrap_err().to_string();
        assert!(message.contains("did you mean `read-heavy`"), "{message}");
        let scaled = Overrides { scale: Some("tiny".to_owned()), ..Overrides::default() };
        assert!(Workload::find("fill", &scaled).unwrap_err().to_string().contains("smoke, lab, full"));
        assert!(Workload::find("no/such.toml", &none).unwrap_err().to_string().contains("no/such.toml"));
    }

    fn cells_of(run: &str, measure: &str) -> Result<Vec<Workload>> {
        let text = format!(
            "schema = 1\nname = \"t\"\ndata = {{ records = 10 }}\n{run}\nphase = [{{ kind = \"load\" }}, \
             {{ kind = \"measure\", ops = {{ get = 1.0 }}, {measure} }}]"
        );
        Workload::cells("t.toml", &text, &Overrides::default())
    }

    #[test]
    fn the_cells_of_a_matrix_take_turns_within_a_block() {
        let run = "run = { repeats = 2 }\nmatrix = { \"data.records\" = [10, 20] }";
        let plan = Plan {
            workloads: cells_of(run, "until = { ops = 5 }").unwrap(),
            engines: ["a", "b"].into_iter().map(EngineSpec::plain).collect(),
            ground: Ground { io: IoMode::Direct, background: Background::Inline },
        };
        let order: Vec<_> = plan.cells().map(|run| (run.block, run.workload.spec.records())).collect();
        assert_eq!(order, [(0, 10), (0, 10), (0, 20), (0, 20), (1, 10), (1, 10), (1, 20), (1, 20)]);
    }

    #[test]
    fn options_in_a_workload_are_the_engines_own_and_give_way_to_the_users() {
        let run = "matrix = { \"run.engine.lsm\" = [\"filter=none\", \"filter_bits=5:l0_trigger=2\"] }";
        let workloads = cells_of(run, "until = { ops = 5 }").unwrap();
        let mut lsm = EngineSpec::plain("lsm");
        lsm.settings.push(("filter_bits".to_owned(), "7".to_owned()));
        let ground = Ground { io: IoMode::Buffered, background: Background::Inline };
        let plan = Plan { workloads, engines: vec![EngineSpec::plain("btree"), lsm], ground };
        let cells: Vec<_> = plan
            .cells()
            .map(|Run { workload, engine, .. }| {
                let settings: Vec<_> =
                    engine.settings.iter().map(|(name, value)| format!("{name}={value}")).collect();
                format!("{} {} {}", workload.name, engine.name, settings.join(":"))
            })
            .collect();
        assert_eq!(
            cells,
            [
                "t engine.lsm=filter=none btree ",
                "t engine.lsm=filter=none lsm filter=none:filter_bits=7",
                "t engine.lsm=filter_bits=5:l0_trigger=2 lsm filter_bits=5:l0_trigger=2:filter_bits=7",
            ],
            "what is for the LSM alone is not run on the B+tree twice"
        );
        let text = &plan.workloads[1].text;
        let again = Workload::parse("again", text, &Overrides::default()).unwrap();
        assert_eq!(again.spec, plan.workloads[1].spec, "a cell's text is the cell");
    }

    #[test]
    fn an_open_loop_that_cannot_be_is_refused_by_name() {
        for (measure, says) in [
            (
                "loop = \"open\", arrivals = { kind = \"poisson\", rate = \"0.5x_max\" }, until = { s = 5 }",
                "share of a capacity that no closed loop before it measures",
            ),
            (
                "loop = \"open\", arrivals = { kind = \"poisson\", rate = 5 }, until = { user_bytes = 5 }",
                "an end by ops or s",
            ),
        ] {
            let failure = cells_of("", measure).unwrap_err();
            assert_eq!(failure.exit.code(), 2);
            assert!(failure.message.contains(says) && !failure.message.contains('\n'), "{failure}");
        }
    }
}
