//! Ratios of the numbers people compare, each with its interval, or with the rule that forbids it.

use super::equal::{Number, broken_by_phases, broken_rule};
use super::group::{Group, Repetition};
use crate::metrics::Derived;
use crate::stats::ratio::median;
use crate::stats::{Interval, Verdict, log_ratio};

/// A number that two engines are compared by.
#[derive(Clone, Copy)]
pub struct Metric {
    /// Its name, as the head of a column.
    pub name: &'static str,
    /// Its unit, empty for a pure number.
    pub unit: &'static str,
    /// Whether more is better.
    pub more_is_better: bool,
    /// Where it is.
    pub of: fn(&Derived) -> Option<f64>,
}

/// What is compared, in the order shown.
pub const METRICS: [Metric; 6] = [
    Metric { name: "ops/s", unit: "1/s", more_is_better: true, of: |d| d.ops_per_second },
    Metric { name: "call", unit: "ns", more_is_better: false, of: |d| d.service_ns_per_op },
    Metric { name: "wa", unit: "", more_is_better: false, of: |d| d.wa_settled },
    Metric { name: "B/read", unit: "B", more_is_better: false, of: |d| d.read_bytes_per_read },
    Metric { name: "sa", unit: "", more_is_better: false, of: |d| d.sa_settled },
    Metric { name: "cpu/op", unit: "ns", more_is_better: false, of: |d| d.cpu_ns_per_op },
];

/// An engine against the baseline in one metric.
#[derive(Debug, Clone, PartialEq)]
pub struct Ratio {
    /// The metric's name.
    pub metric: &'static str,
    /// The geometric mean of the ratios within blocks, around which the interval lies; without one the ratio of the
    /// medians.
    pub value: f64,
    /// The interval; `None` with one repetition, which has no error bars.
    pub interval: Option<Interval>,
    /// True if the engine is better, false if worse; `None` if the runs do not tell or there is no difference.
    pub better: Option<bool>,
}

/// Two engines whose runs may be set against each other.
pub struct Paired<'g, 'r> {
    engine: &'g Group<'r>,
    baseline: &'g Group<'r>,
    /// The runs of both in each block that has them.
    blocks: Vec<(Repetition<'r>, Repetition<'r>)>,
}

impl<'g, 'r> Paired<'g, 'r> {
    /// Pairs the runs of each block.
    ///
    /// # Errors
    /// The rule of equality that a pair of runs broke.
    pub fn of(engine: &'g Group<'r>, baseline: &'g Group<'r>) -> Result<Paired<'g, 'r>, String> {
        let blocks: Vec<_> = engine
            .runs
            .iter()
            .filter_map(|run| {
                let twin = baseline.runs.iter().find(|other| other.cell.block == run.cell.block)?;
                Some((*run, *twin))
            })
            .collect();
        if blocks.is_empty() {
            return Err("no block has runs of both".to_owned());
        }
        if let Some(rule) =
            blocks.iter().find_map(|(run, twin)| broken_rule(run.cell, twin.cell, Number::Time))
        {
            return Err(rule);
        }
        if let Some(rule) = blocks.iter().find_map(|(run, twin)| broken_by_phases(run, twin)) {
            return Err(rule);
        }
        Ok(Paired { engine, baseline, blocks })
    }

    /// The ratio of one number, the engine's over the baseline's; `None` if a run lacks it, or it is nothing divided by
    /// nothing: both are free of what is counted.
    pub fn ratio(
        &self,
        metric: &'static str,
        more_is_better: bool,
        of: impl Fn(&Repetition<'r>) -> Option<f64>,
    ) -> Option<Ratio> {
        let values: Option<Vec<(f64, f64)>> =
            self.blocks.iter().map(|(run, twin)| Some((of(run)?, of(twin)?))).collect();
        let values = values?;
        let middle = |group: &Group<'r>| median(&group.runs.iter().filter_map(&of).collect::<Vec<_>>());
        let medians =
            Some(middle(self.engine)? / middle(self.baseline)?).filter(|ratio| ratio.is_finite())?;
        let interval = log_ratio(&values);
        let better = interval.and_then(|interval| match interval.verdict() {
            Verdict::Above => Some(more_is_better),
            Verdict::Below => Some(!more_is_better),
            Verdict::Same | Verdict::Unclear => None,
        });
        Some(Ratio {
            metric,
            value: interval.map_or(medians, |interval| interval.estimate),
            interval,
            better,
        })
    }
}

/// `engine` over `baseline`: a ratio for each metric that both have.
///
/// # Errors
/// The rule of equality that a pair of runs broke.
pub fn ratios(engine: &Group<'_>, baseline: &Group<'_>) -> Result<Vec<Ratio>, String> {
    let paired = Paired::of(engine, baseline)?;
    let ratio = |metric: &Metric| {
        paired.ratio(metric.name, metric.more_is_better, |run| (metric.of)(&run.measure.derived))
    };
    Ok(METRICS.iter().filter_map(ratio).collect())
}

/// [`ratios`] in a sentence.
pub fn sentence(engine: &Group<'_>, baseline: &Group<'_>) -> String {
    let names = format!("{} over {}", engine.engine, baseline.engine);
    let told = |ratio: &Ratio| {
        let three = |value: f64| crate::units::three(value);
        let interval = ratio.interval.map_or("no error bars".to_owned(), |interval| {
            format!("{} to {}", three(interval.low), three(interval.high))
        });
        let says = match ratio.better {
            Some(true) => ", better",
            Some(false) => ", worse",
            None => "",
        };
        format!("{} {}x ({interval}{says})", ratio.metric, three(ratio.value))
    };
    match ratios(engine, baseline) {
        Ok(ratios) => format!("{names}: {}", ratios.iter().map(told).collect::<Vec<_>>().join("; ")),
        Err(rule) => format!("{names}: no ratio, for the runs were not equal: not {rule}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::group::tests::cell;
    use super::super::groups;
    use super::*;

    #[test]
    fn a_ratio_is_taken_within_blocks() {
        // The machine was twice as fast in block 1: between blocks there is noise, within them there is none.
        let rates = [(0, 100.0), (1, 200.0), (2, 90.0)];
        let cells: Vec<_> = rates
            .iter()
            .flat_map(|(block, rate)| [cell("a", *block, *rate), cell("b", *block, rate * 1.5)])
            .collect();
        let groups = groups(&cells);
        let found = ratios(&groups[1], &groups[0]).unwrap();
        assert_eq!(found.len(), 1, "what was not measured has no ratio: {found:?}");
        let interval = found[0].interval.unwrap();
        assert!((found[0].value - 1.5).abs() < 1e-9 && (interval.low - 1.5).abs() < 1e-9);
        assert_eq!((found[0].better, interval.blocks), (Some(true), 3));
    }

    #[test]
    fn the_number_shown_lies_in_its_interval() {
        // b ran on where a did not, ten times as fast: the ratio of the medians is 10, the runs side by side are alike.
        let rates = [(100.0, 100.0), (101.0, 102.0), (102.0, 101.0)];
        let both = rates.iter().zip(0..);
        let mut cells: Vec<_> =
            both.flat_map(|((a, b), block)| [cell("a", block, *a), cell("b", block, *b)]).collect();
        cells.extend((3..9).map(|block| cell("b", block, 1010.0)));
        let groups = groups(&cells);
        let found = &ratios(&groups[1], &groups[0]).unwrap()[0];
        let interval = found.interval.unwrap();
        assert!(interval.low <= found.value && found.value <= interval.high, "{found:?}");
    }

    #[test]
    fn runs_that_a_cap_parted_have_no_ratio() {
        let mut cells = [cell("a", 0, 100.0), cell("b", 0, 150.0)];
        cells[0].phases[0].moved.user_bytes = 5;
        let rule = ratios(&groups(&cells)[1], &groups(&cells)[0]).unwrap_err();
        assert!(rule.contains("same writes"), "{rule}");
    }

    #[test]
    fn one_repetition_has_no_error_bars_and_unequal_runs_no_ratio() {
        let mut cells = [cell("a", 0, 100.0), cell("b", 0, 150.0)];
        let single = ratios(&groups(&cells)[1], &groups(&cells)[0]).unwrap();
        assert!(single[0].interval.is_none() && single[0].better.is_none());
        cells[1].spec["run"]["threads"] = 4.into();
        let rule = ratios(&groups(&cells)[1], &groups(&cells)[0]).unwrap_err();
        assert!(rule.contains("client threads"), "{rule}");
        cells[1].block = 1;
        assert!(ratios(&groups(&cells)[1], &groups(&cells)[0]).unwrap_err().contains("no block"));
    }
}
