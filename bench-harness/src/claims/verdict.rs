//! The verdict over a claim: a pure function of its cases.
//!
//! Each case holds, fails, or does not tell: the interval of its number lies in what the predicate allows, outside of
//! it, or across an end. A case whose runs are invalid counts as none.
//!
//! | cases that can be judged | verdict |
//! |---|---|
//! | all hold | confirmed |
//! | none holds | refuted |
//! | some hold and some fail | depends, with the boundary |
//! | none, or none of some test; or they agree and another one does not tell | not settled |

use super::boundary;
use super::case::{Case, Estimate};
use super::format::Axis;

/// Which numbers make a claim true: each end with whether it belongs to them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Predicate {
    /// The lower end.
    pub low: Option<(f64, bool)>,
    /// The upper end.
    pub high: Option<(f64, bool)>,
}

/// What a case says of the claim.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finding {
    /// Its whole interval makes the claim true.
    Holds,
    /// Its whole interval makes it false.
    Fails,
    /// It does not tell, and why.
    Unclear(String),
    /// There is no number, and why.
    Invalid(String),
}

/// The word over a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// True in every cell.
    Confirmed,
    /// True in none.
    Refuted,
    /// True in some, and which is told.
    Depends,
    /// The runs do not allow to tell, and why is told.
    NotSettled,
}

/// A case and what it says.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Judged {
    /// The test.
    pub test: String,
    /// The case.
    pub label: String,
    /// Where its number lies, if that is known.
    pub estimate: Option<Estimate>,
    /// Repetitions behind it; `None` for a number without chance.
    pub repetitions: Option<usize>,
    /// What it says.
    pub finding: Finding,
}

/// The verdict, why, and what it rests on.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Outcome {
    /// The word.
    pub verdict: Verdict,
    /// Where the claim is true, or why that is not known; one sentence a test.
    pub reason: String,
    /// Every case.
    pub cases: Vec<Judged>,
}

/// A test with its cases, as the verdict needs it.
#[derive(Debug, Clone)]
pub struct Tested<'a> {
    /// Its name.
    pub name: &'a str,
    /// When it counts as true.
    pub predicate: Predicate,
    /// Along what a boundary is told.
    pub axis: Option<&'a Axis>,
    /// What was found.
    pub cases: &'a [Case],
}

impl Verdict {
    /// The word for people.
    pub const fn word(self) -> &'static str {
        match self {
            Verdict::Confirmed => "confirmed",
            Verdict::Refuted => "refuted",
            Verdict::Depends => "depends",
            Verdict::NotSettled => "not settled",
        }
    }
}

impl Predicate {
    /// What an interval says.
    pub fn judge(&self, found: &Estimate) -> Finding {
        let above = |at: f64, end: Option<(f64, bool)>| {
            end.is_none_or(|(end, belongs)| if belongs { at >= end } else { at > end })
        };
        let below = |at: f64, end: Option<(f64, bool)>| {
            end.is_none_or(|(end, belongs)| if belongs { at <= end } else { at < end })
        };
        if above(found.low, self.low) && below(found.high, self.high) {
            Finding::Holds
        } else if !above(found.high, self.low) || !below(found.low, self.high) {
            Finding::Fails
        } else {
            Finding::Unclear("the interval is too wide".to_owned())
        }
    }

    /// In words: "above 1.05", "from 0.75 to 0.85".
    pub fn words(&self) -> String {
        let number = |at: f64| format!("{at}");
        match (self.low, self.high) {
            (Some((low, true)), Some((high, true))) => format!("from {} to {}", number(low), number(high)),
            (Some((low, _)), Some((high, _))) => format!("between {} and {}", number(low), number(high)),
            (Some((low, true)), None) => format!("at least {}", number(low)),
            (Some((low, false)), None) => format!("above {}", number(low)),
            (None, Some((high, true))) => format!("at most {}", number(high)),
            (None, Some((high, false))) => format!("below {}", number(high)),
            (None, None) => "any number".to_owned(),
        }
    }
}

/// What a case says under a predicate.
fn judged(case: &Case, predicate: &Predicate) -> Judged {
    let (estimate, finding) = match case.sample.estimate() {
        Ok(found) => (Some(found), predicate.judge(&found)),
        Err(why) if matches!(case.sample, super::case::Sample::Broken(_)) => (None, Finding::Invalid(why)),
        Err(why) => (None, Finding::Unclear(why)),
    };
    Judged {
        test: case.test.clone(),
        label: case.label.clone(),
        estimate,
        repetitions: case.sample.repetitions(),
        finding,
    }
}

/// The verdict over all tests of a claim.
pub fn decide(tests: &[Tested<'_>]) -> Outcome {
    let judged: Vec<Vec<Judged>> = tests
        .iter()
        .map(|test| test.cases.iter().map(|case| judged(case, &test.predicate)).collect())
        .collect();
    let count = |wanted: fn(&Finding) -> bool| judged.iter().flatten().filter(|c| wanted(&c.finding)).count();
    let holds = count(|finding| *finding == Finding::Holds);
    let fails = count(|finding| *finding == Finding::Fails);
    let unclear = count(|finding| matches!(finding, Finding::Unclear(_)));
    let is_told = |case: &Judged| matches!(case.finding, Finding::Holds | Finding::Fails);
    let silent = judged.iter().position(|cases| !cases.iter().any(is_told));
    let verdict = match (holds, fails) {
        _ if silent.is_some() => Verdict::NotSettled,
        (1.., 1..) => Verdict::Depends,
        _ if unclear > 0 => Verdict::NotSettled,
        (_, 0) => Verdict::Confirmed,
        (0, _) => Verdict::Refuted,
    };
    let reason = match verdict {
        Verdict::Depends => depends(tests, &judged),
        Verdict::NotSettled => not_settled(tests, &judged),
        Verdict::Confirmed | Verdict::Refuted => {
            let all = judged.iter().flatten().count();
            format!("in {} of {all} cells", holds + fails)
        }
    };
    Outcome { verdict, reason, cases: judged.into_iter().flatten().collect() }
}

/// Where it is true, test by test.
fn depends(tests: &[Tested<'_>], judged: &[Vec<Judged>]) -> String {
    let told = tests.iter().zip(judged).map(|(test, judged)| {
        let found: Vec<_> = test.cases.iter().zip(judged).collect();
        let text = boundary::sentence(test.predicate, test.axis, &found);
        if tests.len() > 1 { format!("{}: {text}", test.name) } else { text }
    });
    told.collect::<Vec<_>>().join("; ")
}

/// Why it is not settled: the first case of each test that does not tell.
fn not_settled(tests: &[Tested<'_>], judged: &[Vec<Judged>]) -> String {
    let mut told = Vec::new();
    for (test, cases) in tests.iter().zip(judged) {
        if cases.is_empty() {
            told.push(format!("{}: nothing was measured", test.name));
            continue;
        }
        let of = |wanted: fn(&Finding) -> bool| cases.iter().filter(|case| wanted(&case.finding)).count();
        let (holds, fails) =
            (of(|finding| *finding == Finding::Holds), of(|finding| *finding == Finding::Fails));
        let why = cases.iter().find_map(|case| match &case.finding {
            Finding::Unclear(why) | Finding::Invalid(why) => Some(format!("{}: {why}", case.label)),
            Finding::Holds | Finding::Fails => None,
        });
        if let Some(why) = why {
            let all = cases.len();
            told.push(format!(
                "{}: of {all} cells {holds} hold, {fails} fail, {} do not tell ({why})",
                test.name,
                all - holds - fails
            ));
        }
    }
    told.join("; ")
}

#[cfg(test)]
mod tests {
    use super::super::case::Sample;
    use super::*;

    const ABOVE: Predicate = Predicate { low: Some((1.05, false)), high: None };

    fn case(label: &str, sample: Sample) -> Case {
        let (test, label) = ("t".to_owned(), label.to_owned());
        Case { test, label, group: String::new(), at: None, sample }
    }

    /// Three repetitions around `ratio`, `noise` apart.
    fn runs(ratio: f64, noise: f64) -> Sample {
        Sample::Paired([-noise, 0.0, noise].map(|noise| (ratio * noise.exp(), 1.0)).to_vec())
    }

    fn over(cases: &[Case]) -> Outcome {
        decide(&[Tested { name: "t", predicate: ABOVE, axis: None, cases }])
    }

    #[test]
    fn all_none_and_some() {
        let (yes, no) = (case("yes", runs(2.0, 0.01)), case("no", runs(0.5, 0.01)));
        assert_eq!(over(&[yes.clone(), yes.clone()]).verdict, Verdict::Confirmed);
        assert_eq!(over(&[no.clone(), no.clone()]).verdict, Verdict::Refuted);
        let some = over(&[yes.clone(), no.clone()]);
        assert_eq!((some.verdict, some.reason.as_str()), (Verdict::Depends, "true in yes; not in no"));
    }

    #[test]
    fn no_difference_is_no_confirmation() {
        assert_eq!(over(&[case("same", runs(1.0, 0.001))]).verdict, Verdict::Refuted);
    }

    #[test]
    fn a_wide_interval_or_too_few_runs_settle_nothing() {
        let (yes, wide) = (case("yes", runs(2.0, 0.01)), case("wide", runs(1.3, 0.5)));
        let few = case("few", Sample::Paired(vec![(2.0, 1.0); 2]));
        for unclear in [wide.clone(), few] {
            assert_eq!(over(std::slice::from_ref(&unclear)).verdict, Verdict::NotSettled);
            let beside = over(&[yes.clone(), unclear.clone()]);
            assert_eq!(beside.verdict, Verdict::NotSettled);
            assert!(beside.reason.contains("1 hold, 0 fail, 1 do not tell"), "{}", beside.reason);
            assert!(beside.reason.contains(&unclear.label), "{}", beside.reason);
        }
        // One that straddles the end is what a boundary looks like, so it takes nothing back.
        let no = case("no", runs(0.5, 0.01));
        assert_eq!(over(&[yes, wide, no]).verdict, Verdict::Depends);
    }

    #[test]
    fn invalid_runs_count_as_none_unless_nothing_is_left() {
        let yes = case("yes", runs(2.0, 0.01));
        let bad = case("bad", Sample::Broken("same durability: it has no `os`".to_owned()));
        let beside = over(&[yes.clone(), bad.clone()]);
        assert_eq!((beside.verdict, beside.reason.as_str()), (Verdict::Confirmed, "in 1 of 2 cells"));
        let alone = over(std::slice::from_ref(&bad));
        assert_eq!(alone.verdict, Verdict::NotSettled);
        assert!(alone.reason.contains("same durability"), "{}", alone.reason);
        assert_eq!(over(&[]).verdict, Verdict::NotSettled);
        let two = [
            Tested { name: "a", predicate: ABOVE, axis: None, cases: &[yes] },
            Tested { name: "b", predicate: ABOVE, axis: None, cases: &[bad] },
        ];
        assert_eq!(decide(&two).verdict, Verdict::NotSettled, "a claim is all of its tests");
    }

    #[test]
    fn ends_that_belong_and_ends_that_do_not() {
        let exact = |at| Estimate { value: at, low: at, high: at };
        let open = Predicate { low: Some((1.0, false)), high: Some((2.0, false)) };
        let closed = Predicate { low: Some((1.0, true)), high: Some((2.0, true)) };
        for at in [1.0, 2.0] {
            assert_eq!(open.judge(&exact(at)), Finding::Fails);
            assert_eq!(closed.judge(&exact(at)), Finding::Holds);
        }
        assert_eq!(open.judge(&exact(1.5)), Finding::Holds);
        let across = Estimate { value: 1.9, low: 1.5, high: 2.3 };
        assert!(matches!(closed.judge(&across), Finding::Unclear(_)));
        assert_eq!((open.words(), closed.words()), ("between 1 and 2".into(), "from 1 to 2".into()));
        assert_eq!(ABOVE.words(), "above 1.05");
    }
}
