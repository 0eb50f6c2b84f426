//! The prediction for a measured phase, beside what was measured, or why there is none.

use kv_api::EngineInfo;
use workloads::Spec;

use super::{Load, Predicted, Settings};
use crate::metrics::{Derived, PhaseRecord};

/// Checkpoints of a phase from which on its writes are those of a steady state.
const CHECKPOINTS_MIN: u64 = 3;

/// What theory says of one measured phase of one engine.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Beside {
    /// The prediction; `None` if the model does not speak of this phase.
    pub predicted: Option<Predicted>,
    /// Blocks by kind that count as probes.
    pub probed: Vec<String>,
    /// Each number predicted beside the same one measured. One that was not measured is not here.
    pub rows: Vec<Compared>,
    /// Why there is no prediction, or what keeps the two apart.
    pub remarks: Vec<String>,
}

/// A number predicted and measured.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Compared {
    /// Its name in the tables.
    pub number: String,
    /// What the model says.
    pub predicted: f64,
    /// What was found.
    pub measured: f64,
    /// Predicted over measured, less 1: positive where the model says too much. `None` where nothing was measured to
    /// divide by.
    pub error: Option<f64>,
}

/// Names of the numbers, in the tables and in a result file.
pub const WA: &str = "wa";
/// Pages or data blocks asked for by a get.
pub const PROBES: &str = "blocks/get";
/// Of those, how many were read from files.
pub const READS: &str = "reads/get";
/// Space amplification without the log, settled.
pub const SA: &str = "sa, no log";

impl Beside {
    /// The prediction for phase `index` of `spec`, by what the engine said of itself, beside what its record shows.
    pub fn of(
        spec: &Spec,
        index: usize,
        info: Option<&EngineInfo>,
        phase: &PhaseRecord,
        derived: &Derived,
    ) -> Beside {
        let none =
            |why: String| Beside { remarks: vec![format!("no prediction: {why}")], ..Beside::default() };
        let Some(info) = info else { return none("the engine did not say how it was set".to_owned()) };
        let Some(settings) = Settings::of(info) else {
            return none(format!("the model has formulas for btree and lsm, not for {}", info.name));
        };
        let load = match Load::of(spec, index) {
            Ok(load) => load,
            Err(why) => return none(why),
        };
        let predicted = match settings.predict(&load) {
            Ok(predicted) => predicted,
            Err(why) => return none(why),
        };
        let mut out = Beside {
            predicted: Some(predicted),
            probed: settings.probed().iter().map(|kind| (*kind).to_owned()).collect(),
            rows: Vec::new(),
            remarks: unsteady(&settings, &load, phase).into_iter().collect(),
        };
        out.compare(derived);
        out
    }

    /// Sets the prediction beside other numbers, such as the medians of several runs.
    pub fn compare(&mut self, derived: &Derived) {
        let Some(predicted) = self.predicted else { return };
        let sum = |by_kind: &std::collections::BTreeMap<String, f64>| {
            let found: Vec<f64> = self.probed.iter().filter_map(|kind| by_kind.get(kind)).copied().collect();
            (!found.is_empty()).then(|| found.iter().sum::<f64>())
        };
        let rows = [
            (WA, predicted.wa, derived.wa_settled),
            (PROBES, Some(predicted.probes_per_get), sum(&derived.blocks_per_get)),
            (READS, Some(predicted.misses_per_get), sum(&derived.misses_per_get)),
            // The files of a phase without writes are those of the phases before it.
            (SA, predicted.wa.map(|_| predicted.sa), derived.sa_settled_without_log),
        ];
        let both = rows.into_iter().filter_map(|(number, predicted, measured)| {
            let (predicted, measured) = predicted.zip(measured)?;
            let error = (measured > 0.0).then(|| predicted / measured - 1.0);
            Some(Compared { number: number.to_owned(), predicted, measured, error })
        });
        self.rows = both.collect();
    }

    /// The comparison of `number`, if both are known.
    pub fn row(&self, number: &str) -> Option<&Compared> {
        self.rows.iter().find(|row| row.number == number)
    }
}

/// What keeps a phase from the steady state that the formulas speak of.
fn unsteady(settings: &Settings, load: &Load, phase: &PhaseRecord) -> Option<String> {
    if load.writes == 0.0 {
        return None;
    }
    let written = phase.moved.user_bytes;
    match settings {
        Settings::BTree(_) => {
            let known = phase.moved.counters.iter().find(|(name, _)| name == "checkpoints");
            let checkpoints = known.map_or(0, |(_, count)| *count);
            (checkpoints < CHECKPOINTS_MIN).then(|| {
                format!("not steady: {checkpoints} checkpoints in the phase, the formulas speak of many")
            })
        }
        Settings::Lsm(_) => (written < phase.live_bytes).then(|| {
            let share = written as f64 / phase.live_bytes.max(1) as f64 * 100.0;
            format!(
                "not steady: {share:.0} % of the data was written in the phase, and it takes all to rewrite the \
                 deepest level once"
            )
        }),
    }
}

/// An error in per cent, with its sign: `+4.2 %`.
pub fn per_cent(error: Option<f64>) -> String {
    error.map_or_else(|| "-".to_owned(), |error| format!("{:+.1} %", error * 100.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Moved;

    fn spec(ops: &str) -> Spec {
        let text = format!(
            "schema = 1\nname = \"t\"\ndata = {{ records = 100_000 }}\nphase = [{{ kind = \"load\" }}, \
             {{ kind = \"measure\", ops = {{ {ops} }}, until = {{ s = 1 }} }}]"
        );
        workloads::toml_file::parse("t", &text).unwrap()
    }

    fn info(name: &str) -> EngineInfo {
        EngineInfo {
            name: name.to_owned(),
            version: String::new(),
            durability: Vec::new(),
            io: None,
            keyspace: kv_api::Keyspace::Raw,
            settings: kv_btree::BTreeOptions::default().settings(),
        }
    }

    fn derived() -> Derived {
        Derived {
            wa_settled: Some(10.0),
            blocks_per_get: [("leaf".to_owned(), 1.0), ("inner".to_owned(), 2.0)].into(),
            sa_settled_without_log: Some(1.5),
            ..Derived::default()
        }
    }

    #[test]
    fn what_was_not_measured_is_not_compared_and_errors_have_a_sign() {
        let phase = PhaseRecord::default();
        let found = Beside::of(&spec("update = 1.0"), 1, Some(&info("btree")), &phase, &derived());
        let predicted = found.predicted.unwrap();
        let wa = found.row(WA).unwrap();
        assert_eq!((Some(wa.predicted), wa.measured), (predicted.wa, 10.0));
        assert!((wa.error.unwrap() - (wa.predicted / 10.0 - 1.0)).abs() < 1e-12);
        assert_eq!(found.row(PROBES).unwrap().measured, 3.0);
        assert!(found.row(READS).is_none() && found.row(SA).is_some());
        assert!(found.remarks[0].contains("not steady: 0 checkpoints"), "{:?}", found.remarks);
        assert_eq!((per_cent(Some(0.042)), per_cent(None)), ("+4.2 %".to_owned(), "-".to_owned()));
    }

    #[test]
    fn reads_alone_say_nothing_of_writes_and_space() {
        let found =
            Beside::of(&spec("get = 1.0"), 1, Some(&info("btree")), &PhaseRecord::default(), &derived());
        let numbers: Vec<_> = found.rows.iter().map(|row| row.number.as_str()).collect();
        assert_eq!((numbers, found.remarks.len()), (vec![PROBES], 0));
    }

    #[test]
    fn an_engine_or_a_phase_without_formula_says_so() {
        let phase = PhaseRecord {
            moved: Moved { counters: vec![("checkpoints".to_owned(), 5)], ..Moved::default() },
            ..PhaseRecord::default()
        };
        let of = |ops: &str, name: &str| Beside::of(&spec(ops), 1, Some(&info(name)), &phase, &derived());
        assert!(of("update = 1.0", "btree").remarks.is_empty());
        assert!(of("update = 1.0", "redb").remarks[0].contains("not for redb"));
        let scans = of("scan = 1.0", "btree");
        assert!(scans.row(WA).is_none() && scans.predicted.is_some(), "{scans:?}");
    }
}
