//! The triangle of read, update and space overheads of the engines of a workload, measured and predicted. (Athanassoulis
//! et al., "Designing access methods: the RUM conjecture", EDBT 2016.)

use std::f64::consts::PI;
use std::fmt::Write;

use super::charts::{colour, figure};
use super::svg::{escape, path};
use crate::model::beside::PROBES;
use crate::run::CellRecord;
use crate::units::{or_dash, three};

const WIDTH: f64 = 420.0;
const HEIGHT: f64 = 300.0;
/// Where an overhead of 1 lies, and the largest one: apart from each other, so that a perfect engine can be seen.
const RADIUS: (f64, f64) = (18.0, 130.0);
const CENTRE: (f64, f64) = (WIDTH / 2.0, 172.0);
/// Names of the axes, what they count, and their directions in degrees.
const AXES: [(&str, &str, f64); 3] = [
    ("read", "pages | data blocks / get", -90.0),
    ("update", "written / user byte", 150.0),
    ("space", "files / live, no log", 30.0),
];

/// Read, update and space overhead; `None`: not measured, or not predicted.
type Overheads = [Option<f64>; 3];

/// What is known of one engine in a workload.
struct Point {
    label: String,
    measured: Overheads,
    predicted: Overheads,
}

/// Each overhead from the last measured phase of the workload that has it.
fn point(cell: &CellRecord) -> Point {
    let mut out = Point { label: cell.engine.label.clone(), measured: [None; 3], predicted: [None; 3] };
    for measure in &cell.measures {
        let (derived, predicted) = (&measure.derived, measure.model.predicted);
        if let Some(probes) = measure.model.row(PROBES) {
            (out.measured[0], out.predicted[0]) = (Some(probes.measured), Some(probes.predicted));
        }
        if derived.wa_settled.is_some() {
            out.measured[1] = derived.wa_settled;
            out.measured[2] = derived.sa_settled_without_log;
            let steady = predicted.and_then(|predicted| Some((predicted.wa?, predicted.sa)));
            (out.predicted[1], out.predicted[2]) = steady.unzip();
        }
    }
    out
}

/// The scale: overheads from 1 to `most` on a logarithmic axis.
struct Scale {
    most: f64,
}

impl Scale {
    fn of(points: &[Point]) -> Scale {
        let all = points.iter().flat_map(|point| point.measured.iter().chain(&point.predicted));
        let most = all.flatten().copied().fold(2.0, f64::max);
        let steps = [2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0];
        Scale { most: steps.into_iter().find(|step| *step >= most).unwrap_or(most) }
    }

    fn ticks(&self) -> Vec<f64> {
        let all: &[f64] =
            if self.most > 50.0 { &[1.0, 10.0, 100.0, 1000.0] } else { &[1.0, 2.0, 5.0, 10.0, 20.0, 50.0] };
        all.iter().copied().filter(|tick| *tick <= self.most).collect()
    }

    /// Where an overhead lies on its axis. One below 1 lies at 1: a get that asks for nothing.
    fn place(&self, axis: usize, value: f64) -> (f64, f64) {
        let share = value.max(1.0).ln() / self.most.ln();
        let radius = RADIUS.0 + share * (RADIUS.1 - RADIUS.0);
        let angle = AXES[axis].2 * PI / 180.0;
        (CENTRE.0 + radius * angle.cos(), CENTRE.1 + radius * angle.sin())
    }
}

/// The lines and dots of one engine, measured or predicted. Two known overheads make a line, one a dot.
fn mark(out: &mut String, scale: &Scale, known: &Overheads, colour: usize, dashed: bool, name: &str) {
    let class = if dashed { "line dashed" } else { "line" };
    let style = format!("style=\"stroke:var(--s{colour})\"");
    let places: Vec<(f64, f64)> =
        known.iter().enumerate().filter_map(|(axis, value)| Some(scale.place(axis, (*value)?))).collect();
    let close = if places.len() == 3 { "Z" } else { "" };
    let _ = write!(
        out,
        "<path class=\"{class}\" {style} d=\"{}{close}\"><title>{}</title></path>",
        path(places.iter().copied()),
        escape(name)
    );
    for (x, y) in places {
        let fill = if dashed { "var(--card)".to_owned() } else { format!("var(--s{colour})") };
        let _ = write!(
            out,
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\" style=\"stroke:var(--s{colour});fill:{fill};stroke-width:1.5\"/>"
        );
    }
}

fn drawing(points: &[Point]) -> String {
    let scale = Scale::of(points);
    let mut out = format!(
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"overheads of reads, updates and space; the numbers \
         are in the table below\">"
    );
    for tick in scale.ticks() {
        let _ = write!(
            out,
            "<path class=\"grid\" fill=\"none\" d=\"{}Z\"/>",
            path((0..AXES.len()).map(|axis| scale.place(axis, tick)))
        );
        let (x, y) = scale.place(0, tick);
        let _ = write!(out, "<text x=\"{:.1}\" y=\"{:.1}\">{tick}</text>", x + 5.0, y + 10.0);
    }
    for (axis, (name, unit, angle)) in AXES.iter().enumerate() {
        let (x, y) = scale.place(axis, scale.most);
        let _ = write!(
            out,
            "<line class=\"grid\" x1=\"{}\" y1=\"{}\" x2=\"{x:.1}\" y2=\"{y:.1}\"/>",
            CENTRE.0, CENTRE.1
        );
        let (x, anchor) = match *angle {
            angle if angle < 0.0 => (CENTRE.0, "middle"),
            angle if angle > 90.0 => (4.0, "start"),
            _ => (WIDTH - 4.0, "end"),
        };
        let y = if *angle < 0.0 { y - 22.0 } else { y + 22.0 };
        let _ = write!(
            out,
            "<text class=\"axis\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{name}</text>\
             <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{unit}</text>",
            y + 14.0
        );
    }
    for (index, point) in points.iter().enumerate() {
        mark(&mut out, &scale, &point.predicted, colour(index), true, &format!("{} predicted", point.label));
        mark(&mut out, &scale, &point.measured, colour(index), false, &point.label);
    }
    out + "</svg>"
}

fn numbers(points: &[Point]) -> String {
    let mut out = String::from("<div class=\"scroll\"><table><tr><th>engine</th>");
    AXES.iter().for_each(|(name, _, _)| {
        let _ = write!(out, "<th>{name}</th>");
    });
    out.push_str("</tr>");
    for (index, point) in points.iter().enumerate() {
        let colour = colour(index);
        let _ = write!(
            out,
            "<tr><td><i class=\"key\" style=\"--c:var(--s{colour})\"></i>{}</td>",
            escape(&point.label)
        );
        for (measured, predicted) in point.measured.iter().zip(&point.predicted) {
            let told = predicted
                .map_or(String::new(), |value| format!(" <span class=\"dim\">({})</span>", three(value)));
            let _ = write!(out, "<td>{}{told}</td>", or_dash(*measured));
        }
        out.push_str("</tr>");
    }
    out + "</table></div>"
}

/// The figure of one workload. Says why there is none where fewer than two overheads are known of every engine.
pub fn triangle(cells: &[&CellRecord]) -> String {
    let points: Vec<_> =
        cells.iter().filter(|cell| !cell.measures.is_empty()).map(|cell| point(cell)).collect();
    let known = |point: &Point| point.measured.iter().flatten().count();
    if points.iter().all(|point| known(point) < 2) {
        return String::new();
    }
    let caption = "Logarithmic axes, 1 at the inner triangle: nearer to it is better. Solid: measured; dashed, and in \
                   brackets: predicted. A dash: not measured here. No structure reaches 1 on all three: reads at 1 \
                   cost updates of 2 and space without bound, updates at 1 cost reads and space without bound, space at \
                   1 costs reads of everything.";
    figure("Read, update, space (RUM)", &(drawing(&points) + &numbers(&points)), caption)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(a: (f64, f64), b: (f64, f64)) -> bool {
        (a.0 - b.0).abs() < 1e-6 && (a.1 - b.1).abs() < 1e-6
    }

    #[test]
    fn axes_are_logarithmic_from_one_to_the_most() {
        let point = Point {
            label: "<a>".to_owned(),
            measured: [Some(3.0), Some(80.0), None],
            predicted: [None, Some(95.0), Some(0.9)],
        };
        let points = [point];
        let scale = Scale::of(&points);
        assert_eq!((scale.most, scale.ticks()), (100.0, vec![1.0, 10.0, 100.0]));
        assert!(near(scale.place(0, 10.0), (CENTRE.0, CENTRE.1 - (RADIUS.0 + RADIUS.1) / 2.0)));
        assert!(near(scale.place(1, 0.2), scale.place(1, 1.0)));
        let text = drawing(&points) + &numbers(&points);
        assert!(text.contains("&lt;a&gt;") && !text.contains("<a>") && text.contains("80.0"), "{text}");
        assert!(text.contains(" <span class=\"dim\">(95.0)</span>") && text.contains("<td>-"), "{text}");
    }

    #[test]
    fn nothing_known_makes_no_triangle() {
        let cell = crate::compare::group::tests::cell("a", 0, 1.0);
        assert_eq!(triangle(&[&cell]), "");
    }
}
