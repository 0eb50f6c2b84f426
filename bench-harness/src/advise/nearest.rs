//! What was measured that is most like the question: shown beside the advice, and what the processor's costs are taken from.

use super::cpu::Cpu;
use super::rank::Question;
use crate::model::{Load, Settings};
use crate::run::CellRecord;

/// A measured phase of one engine.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Nearest {
    /// The engine, as `--engine` takes it.
    pub engine: String,
    /// The workload.
    pub workload: String,
    /// The measured phase.
    pub measure: String,
    /// How far it is from the question: 1 is a mix that is another one altogether, or twice the size of a record or of the
    /// data over memory.
    pub distance: f64,
    /// Operations a second.
    pub ops_per_s: Option<f64>,
    /// Write amplification, settled.
    pub wa: Option<f64>,
    /// Space amplification, settled, without log.
    pub sa: Option<f64>,
    /// Processor time of an operation, in nanoseconds, over what the documented constants say; `None` if not measured.
    pub cpu_factor: Option<f64>,
}

/// How far two loads are apart.
fn distance(a: &Load, a_memory: f64, b: &Load, b_memory: f64) -> f64 {
    let mix = (a.writes - b.writes).abs() + (a.gets - b.gets).abs() + (a.scans - b.scans).abs();
    let doublings = |a: f64, b: f64| (a / b).log2().abs();
    let data = |load: &Load, memory: f64| load.records as f64 * load.record_bytes() / memory;
    let keys = f64::from(u8::from(a.popularity != b.popularity));
    mix / 2.0
        + doublings(a.record_bytes(), b.record_bytes())
        + doublings(data(a, a_memory), data(b, b_memory))
        + keys
}

/// The measured phase of each engine with formulas that is most like `question`, nearest first.
pub fn nearest(question: &Question, cells: &[CellRecord]) -> Vec<Nearest> {
    let mut found: Vec<Nearest> = Vec::new();
    for cell in cells.iter().filter(|cell| cell.is_complete()) {
        let Some((spec, info)) = cell.workload_spec().zip(cell.info.as_ref()) else { continue };
        let Some(settings) = Settings::of(info) else { continue };
        for measure in &cell.measures {
            let Ok(load) = Load::of(&spec, measure.phase) else { continue };
            let Ok(predicted) = settings.predict(&load) else { continue };
            let memory = spec.memory_budget() as f64;
            let constants = Cpu::measured().per_op(&load, &settings, &predicted);
            let derived = &measure.derived;
            let near = Nearest {
                engine: cell.engine.label.clone(),
                workload: cell.workload.clone(),
                measure: measure.name.clone(),
                distance: distance(&question.load, question.memory_bytes as f64, &load, memory),
                ops_per_s: derived.ops_per_second,
                wa: derived.wa_settled,
                sa: derived.sa_settled_without_log,
                cpu_factor: derived
                    .cpu_ns_per_op
                    .map(|measured| measured / (constants.client_ns + constants.background_ns)),
            };
            let family =
                |other: &&mut Nearest| other.engine.split(':').next() == near.engine.split(':').next();
            match found.iter_mut().find(family) {
                Some(known) if known.distance <= near.distance => {}
                Some(known) => *known = near,
                None => found.push(near),
            }
        }
    }
    found.sort_by(|a, b| a.distance.total_cmp(&b.distance));
    found
}

/// The documented costs, each family's times what its nearest measured phase took.
pub fn costs(nearest: &[Nearest]) -> Cpu {
    let mut cpu = Cpu::measured();
    let factor = |name: &str| {
        nearest
            .iter()
            .find(|near| near.engine.split(':').next() == Some(name))
            .and_then(|near| near.cpu_factor)
    };
    cpu.btree.factor = factor("btree").unwrap_or(1.0);
    cpu.lsm.factor = factor("lsm").unwrap_or(1.0);
    cpu
}

#[cfg(test)]
mod tests {
    use super::super::tests::load;
    use super::*;

    #[test]
    fn a_question_is_nearest_to_itself() {
        let memory = f64::from(32 << 20);
        let other = Load { writes: 1.0, gets: 0.0, ..load() };
        assert_eq!(distance(&load(), memory, &load(), memory), 0.0);
        assert!((distance(&load(), memory, &other, memory) - 0.5).abs() < 1e-12);
        assert!((distance(&load(), memory, &load(), 2.0 * memory) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn a_record_keeps_its_workload_as_a_file_would() {
        let overrides = crate::run::Overrides { scale: Some("smoke".to_owned()), ..Default::default() };
        let workload = crate::run::Workload::find("write-heavy", &overrides).unwrap();
        let engine = crate::EngineSpec::plain("btree");
        let mut cell = CellRecord::lost("x".to_owned(), 0, &workload, &engine, String::new());
        cell.failure = None;
        assert_eq!(cell.workload_spec(), Some(workload.spec.clone()));
        assert_eq!(costs(&[]), Cpu::measured());
    }
}
