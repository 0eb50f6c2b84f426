//! X3, X4 and the second half of X5: the device's own counters against those of the engine and of the kernel. They can
//! fail only where calibration believes the counters, the device was idle before and after, and enough moved to tell.

use super::{Check, Verdict};
use crate::calibrate::probes::Idle;
use crate::calibrate::trust::{Trust, Worth};
use crate::run::truth::{DeviceSeen, NotSeen};
use crate::units::{bytes, three};

/// X3 and X4: what the device wrote may differ by this share.
const WRITES_TOLERANCE: f64 = 0.05;
/// X5: what the device read.
const READS_TOLERANCE: f64 = 0.02;
/// Neighbours may move this share of the rate of the run.
const NOISE_MAX: f64 = 0.02;
/// Below this the journal, metadata and neighbours weigh too much, in bytes.
const WRITES_LEAST_BYTES: u64 = 1 << 30;
const READS_LEAST_BYTES: u64 = 256 << 20;

const WHATS: [(&str, &str); 3] = [
    ("X3", "the device wrote what the engine wrote in whole pages, and the journal of its syncs"),
    ("X4", "the device wrote what the kernel charged the process for (write_bytes)"),
    ("X5 device", "the device read what the kernel charged the process for (read_bytes)"),
];

/// The three checks. `own_process` tells that nothing else ran in the process whose counters were read.
pub fn x3_x4_x5_device(
    seen: Result<&DeviceSeen, &NotSeen>,
    trust: Option<&Trust>,
    own_process: bool,
) -> [Check; 3] {
    let (seen, trust) = match (seen, trust) {
        (Ok(seen), Some(trust)) => (seen, trust),
        (Err(NotSeen::Nothing(why)), _) => {
            return WHATS.map(|(id, what)| Check::not_applicable(id, what, why));
        }
        (Err(NotSeen::Blind(why)), _) => return WHATS.map(|(id, what)| Check::not_measured(id, what, why)),
        (Ok(_), None) => return WHATS.map(|(id, what)| Check::not_measured(id, what, "not calibrated")),
    };
    let charged = seen.charged.filter(|_| own_process);
    let in_pages = seen.metered.map(|metered| metered.write_page_bytes);
    let mut x3 = writes(WHATS[0], in_pages, "the engine counts no pages or syncs", seen, trust);
    let mut x4 = writes(
        WHATS[1],
        charged.map(|charged| charged.write_bytes),
        "the kernel does not tell, other runs share the process, or the engine counts no syncs",
        seen,
        trust,
    );
    let mut x5 = reads(WHATS[2], charged.map(|charged| charged.read_bytes), seen);
    distrust(&mut x3, [trust.device, Worth::Ok]);
    distrust(&mut x4, [trust.device, trust.proc_write]);
    distrust(&mut x5, [trust.device_read, trust.proc_read]);
    [x3, x4, x5]
}

/// What was compared with a counter that calibration does not believe was not measured, whatever it says.
fn distrust(check: &mut Check, counters: [Worth; 2]) {
    let judged = matches!(check.verdict, Verdict::Pass | Verdict::Fail);
    for counter in counters.iter().filter(|counter| judged && !counter.is_ok()) {
        check.verdict = Verdict::NotMeasured;
        check.detail += &format!("; not compared: calibration found a counter {}", counter.words());
    }
}

/// X3 and X4: `counted` bytes and the journal against the device.
fn writes(
    (id, what): (&str, &str),
    counted: Option<u64>,
    why_none: &str,
    seen: &DeviceSeen,
    trust: &Trust,
) -> Check {
    let Some((counted, syncs)) = counted.zip(seen.syncs) else {
        return Check::not_measured(id, what, why_none);
    };
    let wrote = seen.device.write_bytes;
    let noise = noise(seen, |idle| idle.write_bytes, wrote);
    let mut detail = format!("device {wrote}, counted {counted}, {syncs} syncs; {}", noise.words());
    if counted < WRITES_LEAST_BYTES {
        detail += &format!("; it takes {} to tell", bytes(WRITES_LEAST_BYTES));
        return Check::not_applicable(id, what, &detail);
    }
    if noise.share >= NOISE_MAX {
        detail += "; too much to tell";
        return Check::not_measured(id, what, &detail);
    }
    let Some(journal) = trust.journal else {
        detail += "; calibration does not know what a sync adds";
        return Check::not_measured(id, what, &detail);
    };
    // A sync costs a journal entry if the file changed its shape, which only the file system knows.
    let (some, more) = (journal.in_place_bytes, journal.growing_bytes);
    let with = |each: f64| counted as f64 + each * syncs as f64;
    let (low, high) = (with(some.min(more)), with(some.max(more)));
    detail += &format!("; with the journal {low:.0} to {high:.0}");
    let wrote = wrote as f64;
    let holds = wrote >= low * (1.0 - WRITES_TOLERANCE) && wrote <= high * (1.0 + WRITES_TOLERANCE);
    Check::new(id, what, Some(holds), detail)
}

/// The second half of X5.
fn reads((id, what): (&str, &str), charged: Option<u64>, seen: &DeviceSeen) -> Check {
    let Some(charged) = charged else {
        return Check::not_measured(id, what, "the kernel does not tell, or other runs share the process");
    };
    let read = seen.device.read_bytes;
    let noise = noise(seen, |idle| idle.read_bytes, read);
    let mut detail = format!("device {read}, charged {charged}; {}", noise.words());
    if charged.max(read) < READS_LEAST_BYTES {
        detail += &format!("; it takes {} to tell", bytes(READS_LEAST_BYTES));
        return Check::not_applicable(id, what, &detail);
    }
    if noise.share >= READS_TOLERANCE / 2.0 {
        detail += "; too much to tell";
        return Check::not_measured(id, what, &detail);
    }
    let apart = read.abs_diff(charged) as f64 > READS_TOLERANCE * read.max(charged) as f64;
    if apart && read > charged {
        // The kernel charges whoever asks, so what nobody here asked for was read by others: a compiler, say.
        detail += "; others read from the device meanwhile";
        return Check::not_measured(id, what, &detail);
    }
    Check::new(id, what, Some(!apart), detail)
}

/// What others moved while nothing ran here, against what moved while something did.
struct Noise {
    before: f64,
    after: f64,
    share: f64,
}

impl Noise {
    fn words(&self) -> String {
        let rate = |bytes_per_s: f64| bytes(bytes_per_s as u64);
        let share = if self.share.is_finite() { three(self.share * 100.0) } else { "-".to_owned() };
        format!(
            "idle noise {}/s before, {}/s after: {share} % of the run's rate",
            rate(self.before),
            rate(self.after)
        )
    }
}

fn noise(seen: &DeviceSeen, of: fn(&Idle) -> u64, moved: u64) -> Noise {
    let per_s = |bytes: u64, ns: u64| bytes as f64 * 1e9 / ns.max(1) as f64;
    let idle = |idle: &Idle| per_s(of(idle), idle.ns);
    let (before, after) = (idle(&seen.idle_before), idle(&seen.idle_after));
    Noise { before, after, share: before.max(after) / per_s(moved, seen.ns) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calibrate::source::DeviceIo;
    use crate::calibrate::trust::Journal;
    use crate::sys::proc::Charged;
    use kv_api::stats::IoTotal;

    const GIB: u64 = 1 << 30;
    const TRUST: Trust = Trust {
        proc_write: Worth::Ok,
        proc_read: Worth::Ok,
        device: Worth::Ok,
        device_read: Worth::Ok,
        journal: Some(Journal { in_place_bytes: 0.0, growing_bytes: 4096.0 }),
    };

    /// A device that wrote `written` and read `read` of what engine and kernel call 2 GiB each, in 10 s.
    fn seen(written: u64, read: u64) -> DeviceSeen {
        let idle = Idle { ns: 1_000_000_000, ..Idle::default() };
        DeviceSeen {
            device: DeviceIo { write_bytes: written, read_bytes: read, ..DeviceIo::default() },
            charged: Some(Charged { write_bytes: 2 * GIB, read_bytes: 2 * GIB }),
            metered: Some(IoTotal { write_page_bytes: 2 * GIB, ..IoTotal::default() }),
            syncs: Some(10_000),
            idle_before: idle,
            idle_after: idle,
            ns: 10_000_000_000,
        }
    }

    fn verdicts(seen: &DeviceSeen, trust: Trust) -> [Verdict; 3] {
        x3_x4_x5_device(Ok(seen), Some(&trust), true).map(|check| check.verdict)
    }

    #[test]
    fn a_device_that_moved_something_else_fails_unless_others_may_have_read() {
        assert_eq!(verdicts(&seen(2 * GIB, 2 * GIB), TRUST), [Verdict::Pass; 3]);
        // The journal of 10,000 syncs explains 40 MB more, and nothing explains a tenth.
        assert_eq!(verdicts(&seen(2 * GIB + 140_000_000, 2 * GIB), TRUST), [Verdict::Pass; 3]);
        let tenth = 2 * GIB / 10;
        // More reads than were charged to this process are those of others: the kernel charges whoever asks.
        let more = [Verdict::Fail, Verdict::Fail, Verdict::NotMeasured];
        assert_eq!(verdicts(&seen(2 * GIB + tenth, 2 * GIB + tenth), TRUST), more);
        assert_eq!(verdicts(&seen(2 * GIB - tenth, 2 * GIB - tenth), TRUST), [Verdict::Fail; 3]);
    }

    #[test]
    fn neighbours_little_data_and_counters_not_believed_are_no_verdict() {
        let mut noisy = seen(2 * GIB, 0);
        noisy.idle_after.write_bytes = 2 * GIB / 10 / 40;
        let checks = x3_x4_x5_device(Ok(&noisy), Some(&TRUST), true);
        assert_eq!(checks[0].verdict, Verdict::NotMeasured);
        assert!(checks[0].detail.contains("after: 2.50 % of the run's rate"), "{}", checks[0].detail);
        let mut little = seen(2 * GIB, 1000);
        little.metered = Some(IoTotal { write_page_bytes: GIB - 1, ..IoTotal::default() });
        little.charged = Some(Charged { write_bytes: 2 * GIB, read_bytes: 1000 });
        assert_eq!(verdicts(&little, TRUST), [Verdict::NotApplicable, Verdict::Pass, Verdict::NotApplicable]);
        let inflated = Trust { proc_write: Worth::Inflated { times: 32.0 }, ..TRUST };
        let checks = x3_x4_x5_device(Ok(&seen(GIB, 2 * GIB)), Some(&inflated), true);
        assert_eq!(
            checks.each_ref().map(|c| c.verdict),
            [Verdict::Fail, Verdict::NotMeasured, Verdict::Pass]
        );
        assert!(checks[1].detail.contains("inflated x32.0"), "{}", checks[1].detail);
        let blind = Trust { device: Worth::Absent, journal: None, ..TRUST };
        assert_eq!(verdicts(&seen(GIB, 2 * GIB), blind)[0], Verdict::NotMeasured);
        let shared = x3_x4_x5_device(Ok(&seen(2 * GIB, 2 * GIB)), Some(&TRUST), false);
        assert_eq!(shared.map(|c| c.verdict), [Verdict::Pass, Verdict::NotMeasured, Verdict::NotMeasured]);
    }

    #[test]
    fn what_was_not_looked_at_is_no_pass() {
        let all = |why: NotSeen| x3_x4_x5_device(Err(&why), Some(&TRUST), true).map(|check| check.verdict);
        assert_eq!(all(NotSeen::Nothing("no files".to_owned())), [Verdict::NotApplicable; 3]);
        assert_eq!(all(NotSeen::Blind("not calibrated".to_owned())), [Verdict::NotMeasured; 3]);
        let seen = seen(2 * GIB, 2 * GIB);
        assert_eq!(x3_x4_x5_device(Ok(&seen), None, true)[0].verdict, Verdict::NotMeasured);
    }
}
