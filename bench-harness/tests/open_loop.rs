//! An open loop tells what a closed one hides: an engine that stalls once is felt by every request that arrived
//! meanwhile, although it was slow only once.

mod liar;

use std::time::Duration;

use bench_harness::metrics::latency::decode;
use bench_harness::registry::EngineSpec;
use bench_harness::run::cell::{CellContext, CellRecord};
use bench_harness::run::{Overrides, Workload};
use bench_harness::sys::interrupt::Interrupt;
use liar::{Liar, Lie};

const STALL: Duration = Duration::from_millis(200);
/// The write that stalls: among the arrivals of the open loop, behind the load and the closed loop.
const STALLS_AT: u64 = 40_000;

fn run(measure: &str) -> CellRecord {
    let text = format!(
        "schema = 1\nname = \"stall\"\ndata = {{ records = 1000 }}\nrun = {{ durability = \"memory\" }}\nphase = [\
         {{ kind = \"load\" }}, {{ kind = \"measure\", name = \"capacity\", ops = {{ update = 1.0 }}, until = {{ ops = 2000 }} }}, \
         {measure}, {{ kind = \"verify\" }}]"
    );
    let workload = Workload::parse("stall.toml", &text, &Overrides::default()).expect("a workload");
    let dir = tempfile::tempdir().expect("a directory");
    let interrupt = Interrupt::default();
    let context = CellContext {
        data_dir: dir.path(),
        interrupt: &interrupt,
        draw: false,
        keep: false,
        acks: None,
        record: None,
        trust: None,
        own_process: false,
    };
    let opener: bench_harness::registry::Opener = Box::new(|_| Ok(Liar::open(Lie::Sleeps(STALLS_AT, STALL))));
    context.run("id".to_owned(), 0, &workload, &EngineSpec::plain("sleepy"), &opener).expect("it runs")
}

/// Times of at least this share of the stall in a histogram.
fn stalled(histogram: Option<&String>, share: f64) -> u64 {
    let histogram = decode(histogram.expect("a histogram")).expect("decodes");
    histogram.count_between(STALL.mul_f64(share).as_nanos() as u64, u64::MAX / 2)
}

#[test]
fn a_stall_is_felt_by_all_that_arrive_while_it_lasts() {
    let open = "{ kind = \"measure\", name = \"open\", loop = \"open\", ops = { update = 1.0 }, \
                arrivals = { kind = \"constant\", rate = 40000 }, until = { ops = 120000 } }";
    let cell = run(open);
    assert_eq!(cell.failure, None);
    let phase = &cell.phases[2];
    let (op, loaded) = (&phase.ops[0], phase.open.as_ref().expect("an open loop"));
    assert_eq!((loaded.scheduled, loaded.served, op.count), (120_000, 120_000, 120_000), "none is skipped");
    // Those that arrive in the first half of the stall feel at least half of it.
    let (felt, slow) = (stalled(op.response_histogram.as_ref(), 0.5), stalled(op.histogram.as_ref(), 0.95));
    assert!(felt >= 3_900, "{felt} of the 4,000 that arrived in the first half felt it");
    assert_eq!(slow, 1, "the engine was slow once");
    let (response, service) =
        (op.response.as_ref().expect("responses"), op.latency.as_ref().expect("service"));
    assert!(response.p999_ns.is_some_and(|ns| ns > 150_000_000), "{response:?}");
    assert!(service.p999_ns.is_some_and(|ns| ns < 100_000_000), "{service:?}");
    assert!(loaded.backlog_peak >= 7_900 && loaded.drain_ns > 0, "{loaded:?}");
    assert!(cell.did_whole_stream(), "the timetable says how much is done, not the engine");
    assert!(phase.samples.iter().any(|sample| sample.backlog.is_some_and(|backlog| backlog > 1000)));
}

#[test]
fn a_share_of_the_capacity_is_offered_and_a_closed_loop_has_no_responses() {
    let open = "{ kind = \"measure\", name = \"open\", loop = \"open\", ops = { update = 1.0 }, \
                arrivals = { kind = \"poisson\", rate = \"0.1x_max\" }, until = { s = 0.5 } }";
    let cell = run(open);
    let closed = &cell.phases[1];
    assert!(closed.open.is_none() && closed.ops[0].response.is_none() && closed.read_responses.is_none());
    let capacity = closed.moved.completed as f64 * 1e9 / closed.moved.wall_ns as f64;
    let loaded = cell.phases[2].open.as_ref().expect("an open loop");
    assert_eq!(loaded.max_per_second, Some(capacity));
    assert!((loaded.rate_per_second / capacity - 0.1).abs() < 1e-9);
    assert!((0.8..1.2).contains(&(loaded.offered_per_second / loaded.rate_per_second)), "{loaded:?}");
    assert_eq!(loaded.scheduled, loaded.served);
    assert!(!cell.did_whole_stream(), "how much is done follows the engine's own capacity");
}
