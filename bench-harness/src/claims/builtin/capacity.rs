//! The arithmetic of a capacity plan: users and actions a day to requests a second, and what the plan leaves out.

use super::{Ground, Observed, case};
use crate::claims::case::Sample;
use crate::error::Result;
use crate::model::Load;
use crate::model::popularity::Popularity;
use crate::units::{bytes, count};

const SECONDS_A_DAY: f64 = 86_400.0;

/// What goes into a plan.
struct Plan {
    users: f64,
    actions_a_day: f64,
    response_bytes: f64,
    /// Reads for each write.
    reads: f64,
    /// Peak over average.
    peak: f64,
}

/// What comes out of it, a second.
struct Needs {
    average: f64,
    peak: f64,
    writes: f64,
    reads: f64,
    bandwidth_bytes: f64,
}

impl Plan {
    fn needs(&self) -> Needs {
        let average = self.users * self.actions_a_day / SECONDS_A_DAY;
        let peak = average * self.peak;
        let writes = peak / (1.0 + self.reads);
        Needs { average, peak, writes, reads: peak - writes, bandwidth_bytes: peak * self.response_bytes }
    }
}

/// The worked example of the template: what it was computed from, and what it says.
const EXAMPLE: Plan =
    Plan { users: 100e6, actions_a_day: 50.0, response_bytes: 5_000.0, reads: 100.0, peak: 3.0 };
const SAYS: Needs = Needs { average: 58e3, peak: 174e3, writes: 1.7e3, reads: 172e3, bandwidth_bytes: 870e6 };

pub fn run(_: &Ground<'_>) -> Result<Observed> {
    let found = EXAMPLE.needs();
    let rows = [
        ("average requests a second", found.average, SAYS.average),
        ("peak requests a second", found.peak, SAYS.peak),
        ("writes a second at the peak", found.writes, SAYS.writes),
        ("reads a second at the peak", found.reads, SAYS.reads),
        ("bytes a second to the users", found.bandwidth_bytes, SAYS.bandwidth_bytes),
    ];
    let cases = rows.map(|(name, computed, said)| case(name, Sample::Exact(computed / said)));
    Ok(Observed { cases: cases.to_vec(), facts: extended(&found), ..Observed::default() })
}

/// What the template does not ask: what a storage engine makes of those requests.
fn extended(found: &Needs) -> Vec<String> {
    let value_bytes = EXAMPLE.response_bytes as u64;
    let record = Load { value_bytes, ..Load::overwrites(Popularity::Uniform) };
    let daily = found.writes / EXAMPLE.peak * record.record_bytes() * SECONDS_A_DAY;
    let written = |wa: f64| bytes((found.writes * record.record_bytes() * wa) as u64);
    vec![
        format!(
            "not in the template: {} of new data a day at one 5,000-byte record a write, before space amplification",
            bytes(daily as u64)
        ),
        format!(
            "not in the template: the peak writes {}/s to the log alone, and {}/s at a write amplification of 10",
            written(record.log_write_amplification()),
            written(10.0)
        ),
        format!(
            "not in the template: {} reads a second are {} device reads a second at a hit ratio of 95 % and one block \
             a read; at 99 %, {}",
            count(found.reads as u64),
            count((found.reads * 0.05) as u64),
            count((found.reads * 0.01) as u64)
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worked_example_comes_out() {
        let found = EXAMPLE.needs();
        assert_eq!(found.average.round(), 57_870.0);
        assert_eq!(found.peak.round(), 173_611.0);
        assert_eq!(found.writes.round(), 1_719.0);
        assert!((found.writes + found.reads - found.peak).abs() < 1e-6);
    }
}
