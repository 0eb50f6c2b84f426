//! `kvlab advise`: which settings a workload should run best on, by theory, on this machine.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::args::AdviseArgs;
use crate::advise::nearest::{costs, nearest};
use crate::advise::rank::Weighed;
use crate::advise::{Advice, Clients, Cpu, Device, Nearest, Question};
use crate::error::{Exit, Failure, Result};
use crate::model::Load;
use crate::output::Output;
use crate::report::ResultFile;
use crate::report::table::{table, wrap};
use crate::run::{Overrides, Workload};
use crate::sys::host;
use crate::sys::interrupt::Interrupt;
use crate::units::{bytes, count, or_dash, three};

/// Changes of the choice that are shown.
const FLIPS_MAX: usize = 5;

const LEGEND: &str = "bound: operations a second that the scarcest resource (binds) allows, no promise of a rate; next: over \
                      the one below it; worst: the least it reaches of the best while a tenth or a fifth of the \
                      operations become another kind; reads: blocks from the device per operation; wa, sa: as `kvlab run` \
                      shows them, sa without log";

/// What the ground of the advice is.
struct Ground {
    device: Device,
    /// Where its figures come from.
    source: String,
    cores: f64,
    measured: Option<ResultFile>,
}

/// One measured phase of one cell, and the advice for it.
struct Answer {
    workload: String,
    phase: String,
    question: Question,
    nearest: Vec<Nearest>,
    outcome: Result<Advice, String>,
}

/// Ranks engine settings for each cell of the workload.
///
/// # Errors
/// A workload that cannot be used, or none of whose phases there are formulas for; a result that cannot be read.
pub fn advise(args: &AdviseArgs, out: &mut Output) -> Result<Option<Exit>> {
    let overrides = Overrides {
        memory: args.memory,
        durability: args.durability,
        threads: args.threads,
        scale: args.scale.clone(),
        ..Overrides::default()
    };
    let workloads = Workload::find_all(&args.workload, &overrides)?;
    let ground = ground(args)?;
    let answers: Vec<Answer> =
        workloads.iter().filter_map(|workload| answer(workload, args.phase.as_deref(), &ground)).collect();
    if answers.is_empty() {
        let phase = args.phase.as_ref().map_or("measured phase".to_owned(), |name| format!("phase `{name}`"));
        return Err(Failure::usage(format!(
            "{} has no {phase}; `kvlab run {0} --dry-run` shows its phases",
            args.workload
        )));
    }
    if let (true, Some(Err(why))) =
        (answers.iter().all(|answer| answer.outcome.is_err()), answers.first().map(|answer| &answer.outcome))
    {
        return Err(Failure::usage(format!("no advice for {}: {why}", args.workload)));
    }
    for line in wrap(&ground.source, 2) {
        out.text(line)?;
    }
    for answer in &answers {
        out.text("")?;
        text(answer, out)?;
        out.json(&as_json(answer, &ground))?;
    }
    for line in wrap(LEGEND, 2) {
        out.text(line)?;
    }
    Ok(None)
}

fn ground(args: &AdviseArgs) -> Result<Ground> {
    let measured = args.from.as_deref().map(results).transpose()?;
    let kept = measured.as_ref().and_then(|result| result.calibration.clone());
    let (calibration, whence) = match kept {
        Some(kept) => (Some(kept), "from the result file"),
        None => {
            let interrupt = Interrupt::install()?;
            let found = super::calibrated(&args.dir, args.calibrate, &interrupt)?;
            if interrupt.is_set() {
                return Err(Failure {
                    exit: Exit::Interrupted,
                    message: "interrupted while calibrating".to_owned(),
                });
            }
            (found, "calibrated today")
        }
    };
    let device = calibration.map(|found| Device::of(&found.probes)).unwrap_or_default();
    let cores = args.cores.map_or_else(|| host::cores() as f64, f64::from);
    let source = describe(&device, whence, cores);
    Ok(Ground { device, source, cores, measured })
}

/// The result in a directory, or in a file of that name.
fn results(path: &Path) -> Result<ResultFile> {
    let dir = if path.is_file() {
        path.parent().map(PathBuf::from).unwrap_or_default()
    } else {
        path.to_path_buf()
    };
    ResultFile::read(&dir)?.ok_or_else(|| {
        Failure::usage(format!("{} has no result.json; give what `kvlab run --out` wrote", path.display()))
    })
}

fn describe(device: &Device, whence: &str, cores: f64) -> String {
    if *device == Device::default() {
        return format!("device: unknown, not calibrated, so it binds nothing; {cores} cores");
    }
    let mega = |rate: Option<f64>| rate.map_or("-".to_owned(), |rate| format!("{} MB/s", three(rate / 1e6)));
    let whole = |rate: Option<f64>| rate.map_or("-".to_owned(), |rate| count(rate as u64));
    format!(
        "device, past the page cache ({whence}): writes {} in order, {} in 4 KiB anywhere; reads {} in order, {} to {} blocks/s anywhere; {} \
         syncs/s; {cores} cores",
        mega(device.write_bytes_per_s),
        mega(device.random_write_bytes_per_s),
        mega(device.read_bytes_per_s),
        whole(device.read_iops[0]),
        whole(device.read_iops[1]),
        whole(device.syncs_per_s),
    )
}

/// The advice for the measured phase called `phase`, or the first one. `None` if there is none.
fn answer(workload: &Workload, phase: Option<&str>, ground: &Ground) -> Option<Answer> {
    let spec = &workload.spec;
    let measured = |kind: &str, name: &str| kind == "measure" && phase.is_none_or(|wanted| wanted == name);
    let index = spec.phases.iter().position(|found| measured(found.kind.name(), &found.name))?;
    let load = Load::of(spec, index);
    let known = load.clone();
    let clients = Clients {
        threads: f64::from(spec.run.threads.max(1)),
        cores: ground.cores,
        synced: spec.run.durability == workloads::Durability::Disk,
    };
    let mut question = Question {
        load: known.unwrap_or_else(|_| Load::overwrites(crate::model::Popularity::Uniform)),
        memory_bytes: spec.memory_budget(),
        clients,
        device: ground.device.clone(),
        cpu: Cpu::measured(),
    };
    let near = match (&load, &ground.measured) {
        (Ok(_), Some(result)) => nearest(&question, &result.cells),
        _ => Vec::new(),
    };
    question.cpu = costs(&near);
    let outcome = load.and_then(|_| {
        question.advise().ok_or_else(|| "no engine's formulas know values of that size".to_owned())
    });
    let phase = spec.phases[index].name.clone();
    Some(Answer { workload: workload.name.clone(), phase, question, nearest: near, outcome })
}

fn text(answer: &Answer, out: &mut Output) -> Result<()> {
    let Question { load, memory_bytes, clients, .. } = &answer.question;
    let advice = match &answer.outcome {
        Ok(advice) => advice,
        Err(why) => {
            return wrap(&format!("{}: no advice: {why}", answer.workload), 2)
                .iter()
                .try_for_each(|line| out.text(line));
        }
    };
    let data = load.records as f64 * load.record_bytes() / *memory_bytes as f64;
    let setting = format!(
        "{}, phase {}: {} records of {} + {} B, {}, {} memory (data is {}x), {}, {} client(s)",
        answer.workload,
        answer.phase,
        count(load.records),
        load.key_bytes,
        load.value_bytes,
        load.popularity.words(),
        bytes(*memory_bytes),
        three(data),
        if clients.synced { "each commit synced" } else { "no syncs waited for" },
        clients.threads,
    );
    wrap(&setting, 2).iter().try_for_each(|line| out.text(line))?;
    for line in ranking(advice).lines() {
        out.text(line)?;
    }
    remarks(answer, advice)
        .iter()
        .flat_map(|line| wrap(&format!("  {line}"), 4))
        .try_for_each(|line| out.text(line))
}

/// The table; neighbours that differ in nothing but their name share a row.
fn ranking(advice: &Advice) -> comfy_table::Table {
    let mut rows = table(&["setting", "bound", "binds", "next", "worst", "wa", "reads", "sa"]);
    let alike =
        |a: &Weighed, b: &Weighed| a.engine == b.engine && a.bound == b.bound && a.predicted == b.predicted;
    for group in advice.ranking.chunk_by(alike) {
        let (Some(first), Some(last)) = (group.first(), group.last()) else { continue };
        let to = last.label.rsplit('=').next().unwrap_or_default();
        let label = if group.len() > 1 { format!("{} to {to}", first.label) } else { first.label.clone() };
        rows.add_row([
            label,
            count(first.bound.ops_per_s as u64),
            first.bound.binding.words().to_owned(),
            last.margin.map_or("-".to_owned(), |margin| format!("{margin:.2}x")),
            format!("{:.2}", first.worst_share),
            or_dash(first.predicted.wa),
            three(first.reads_per_op),
            three(first.predicted.sa),
        ]);
    }
    rows
}

/// The choice in sentences: who is first, by how much, what would change it, and what was measured that is like it.
fn remarks(answer: &Answer, advice: &Advice) -> Vec<String> {
    let mut out = Vec::new();
    let Some(first) = advice.ranking.first() else { return out };
    let rival = advice.ranking.iter().find(|weighed| weighed.engine != first.engine);
    out.push(match (rival, advice.lead) {
        (Some(rival), Some(lead)) if advice.too_close => format!(
            "too close to call: {} is ahead of {} by {lead:.2}x, and the model's own errors are of that size",
            first.label, rival.label
        ),
        (Some(rival), Some(lead)) => format!(
            "choose {}: {lead:.2}x ahead of {}; {} binds it, {} binds the other",
            first.label,
            rival.label,
            first.bound.binding.words(),
            rival.bound.binding.words()
        ),
        _ => format!("{} is first, and no other engine has formulas for this workload", first.label),
    });
    for flip in advice.flips.iter().take(FLIPS_MAX) {
        let value = |value: f64| {
            if flip.unit.is_empty() { three(value) } else { format!("{} {}", three(value), flip.unit) }
        };
        out.push(format!(
            "it would be {} from {} {} {} (it is {})",
            flip.to,
            flip.input,
            value(flip.at),
            if flip.at < flip.now { "downwards" } else { "upwards" },
            value(flip.now)
        ));
    }
    if advice.flips.is_empty() {
        out.push("no single input changes the engine of choice within 64 times of what it is".to_owned());
    }
    out.push(format!("holds best over {} mixes like this one: {}", advice.neighbours, advice.most_robust));
    for (label, why) in &advice.left_out {
        out.push(format!("left out: {label}: {why}"));
    }
    for near in &answer.nearest {
        let name = if near.measure == near.workload {
            near.workload.clone()
        } else {
            format!("{}: {}", near.workload, near.measure)
        };
        out.push(format!(
            "nearest that was measured (distance {}): {name} on {}: {} ops/s, wa {}, sa {}; its processor time is {} of \
             the constants",
            three(near.distance),
            near.engine,
            near.ops_per_s.map_or("-".to_owned(), |rate| count(rate as u64)),
            or_dash(near.wa),
            or_dash(near.sa),
            or_dash(near.cpu_factor),
        ));
    }
    out
}

fn as_json(answer: &Answer, ground: &Ground) -> serde_json::Value {
    let question = &answer.question;
    json!({
        "workload": answer.workload,
        "phase": answer.phase,
        "records": question.load.records,
        "record_bytes": question.load.record_bytes(),
        "memory_bytes": question.memory_bytes,
        "clients": question.clients.threads,
        "cores": question.clients.cores,
        "synced": question.clients.synced,
        "device": ground.device,
        "cpu": question.cpu,
        "advice": answer.outcome.as_ref().ok(),
        "no_advice": answer.outcome.as_ref().err(),
        "nearest": answer.nearest,
    })
}
