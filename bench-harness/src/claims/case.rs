//! A case: one number that a claim is about, with every repetition of it, or the reason why there is none.

use crate::stats::{log_ratio, mean_interval};

/// Fewer repetitions than these say nothing, however alike they are.
pub const REPETITIONS_MIN: usize = 3;

/// One number that a claim is about.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Case {
    /// The test it belongs to.
    pub test: String,
    /// What tells it from the other cases of the test.
    pub label: String,
    /// What of that is not its place on the axis: cases of one group differ in the place alone.
    #[serde(default)]
    pub group: String,
    /// Its place on the axis of the test.
    #[serde(default)]
    pub at: Option<f64>,
    /// The number.
    pub sample: Sample,
}

/// A number as it was found.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sample {
    /// Computed, or counted where nothing is left to chance.
    Exact(f64),
    /// Once in each repetition.
    Repeated(Vec<f64>),
    /// Two numbers of one block each time; the first over the second is meant.
    Paired(Vec<(f64, f64)>),
    /// The runs do not allow one, and why.
    Broken(String),
}

/// Where a number lies with 95 % confidence.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Estimate {
    /// The number itself.
    pub value: f64,
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

impl Sample {
    /// Where the number lies.
    ///
    /// # Errors
    /// Why that is not known: too few repetitions, or numbers that allow no ratio.
    pub fn estimate(&self) -> Result<Estimate, String> {
        let enough = |found: usize| {
            (found >= REPETITIONS_MIN)
                .then_some(())
                .ok_or_else(|| format!("{found} of the {REPETITIONS_MIN} repetitions that are needed"))
        };
        let interval = match self {
            Sample::Exact(value) => {
                return Ok(Estimate { value: *value, low: *value, high: *value });
            }
            Sample::Broken(why) => return Err(why.clone()),
            Sample::Repeated(values) => {
                enough(values.len())?;
                mean_interval(values)
            }
            Sample::Paired(pairs) => {
                enough(pairs.len())?;
                log_ratio(pairs)
            }
        };
        let found = interval.ok_or("a number that is zero or not finite allows no ratio")?;
        Ok(Estimate { value: found.estimate, low: found.low, high: found.high })
    }

    /// Repetitions it rests on; `None` for a number without chance.
    pub fn repetitions(&self) -> Option<usize> {
        match self {
            Sample::Exact(_) => None,
            Sample::Repeated(values) => Some(values.len()),
            Sample::Paired(pairs) => Some(pairs.len()),
            Sample::Broken(_) => Some(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_needs_repetitions_and_an_exact_number_none() {
        assert_eq!(Sample::Exact(2.0).estimate().unwrap(), Estimate { value: 2.0, low: 2.0, high: 2.0 });
        let few = Sample::Paired(vec![(2.0, 1.0), (2.0, 1.0)]).estimate().unwrap_err();
        assert!(few.contains("2 of the 3"), "{few}");
        let ratio = Sample::Paired(vec![(2.0, 1.0), (4.0, 2.0), (6.0, 3.0)]).estimate().unwrap();
        assert!((ratio.low - 2.0).abs() < 1e-9 && (ratio.high - 2.0).abs() < 1e-9);
        let nothing = Sample::Paired(vec![(2.0, 0.0); 3]).estimate().unwrap_err();
        assert!(nothing.contains("no ratio"), "{nothing}");
        // Shares may be 0, which a logarithm cannot: their mean is taken as it is.
        let shares = Sample::Repeated(vec![0.0, 0.1, 0.2]).estimate().unwrap();
        assert!((shares.value - 0.1).abs() < 1e-12 && shares.low < 0.0 && shares.high > 0.2);
        assert_eq!(Sample::Broken("x".to_owned()).estimate().unwrap_err(), "x");
    }
}
