//! Line charts as inline SVG. Colours come from the style sheet of the page, so that one chart serves light and
//! dark.

use std::fmt::Write;

/// The coordinate system of every chart; the page scales it.
const WIDTH: f64 = 420.0;
const HEIGHT: f64 = 230.0;
const LEFT: f64 = 58.0;
const RIGHT: f64 = 22.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 40.0;
/// Height of a stroke on the x axis.
const STROKE: f64 = 5.0;

/// One line of a chart.
#[derive(Debug, Clone)]
pub struct Series {
    /// What it is called.
    pub name: String,
    /// Its colour, counted from 1.
    pub colour: usize,
    /// Whether it is dashed.
    pub dashed: bool,
    /// Its points, in the units of the axes.
    pub points: Vec<(f64, f64)>,
}

/// An axis: its bounds and where it is labelled.
#[derive(Debug, Clone)]
pub struct Axis {
    /// What it shows, with its unit.
    pub title: String,
    /// The smallest value.
    pub min: f64,
    /// The largest value.
    pub max: f64,
    /// Values with their labels.
    pub ticks: Vec<(f64, String)>,
}

impl Axis {
    /// A linear axis from 0 to about `max` with at most five labels.
    pub fn linear(title: &str, max: f64, label: impl Fn(f64) -> String) -> Axis {
        let max = if max > 0.0 { max } else { 1.0 };
        let rough = max / 4.0;
        let power = 10f64.powf(rough.log10().floor());
        let step =
            [1.0, 2.0, 5.0, 10.0].into_iter().map(|s| s * power).find(|s| *s >= rough).unwrap_or(rough);
        let steps = (max / step).ceil() as u32;
        let ticks = (0..=steps).map(|i| (f64::from(i) * step, label(f64::from(i) * step))).collect();
        Axis { title: title.to_owned(), min: 0.0, max: f64::from(steps) * step, ticks }
    }

    /// A logarithmic axis over whole decades around `min..max`; values are given as base-ten logarithms.
    pub fn decades(title: &str, min: f64, max: f64, label: impl Fn(f64) -> String) -> Axis {
        let (low, high) = (min.log10().floor() as i32, max.log10().ceil() as i32);
        let high = high.max(low + 1);
        let ticks = (low..=high).map(|power| (f64::from(power), label(10f64.powi(power)))).collect();
        Axis { title: title.to_owned(), min: f64::from(low), max: f64::from(high), ticks }
    }

    fn place(&self, value: f64, from: f64, to: f64) -> f64 {
        let share = (value - self.min) / (self.max - self.min).max(f64::MIN_POSITIVE);
        from + share.clamp(0.0, 1.0) * (to - from)
    }
}

/// A stretch of the x axis that is shaded.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Band {
    /// Where it begins, in the unit of the axis.
    pub from: f64,
    /// Where it ends.
    pub to: f64,
    /// Its colour, counted from 1.
    pub colour: usize,
}

/// What stands behind the lines of a chart.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Backdrop {
    /// Shaded stretches.
    pub bands: Vec<Band>,
    /// Short strokes on the x axis: where, and of which colour.
    pub strokes: Vec<(f64, usize)>,
}

/// A chart of lines over what stands behind them, described by `label` for those who cannot see it.
pub fn lines(label: &str, x: &Axis, y: &Axis, series: &[Series], backdrop: &Backdrop) -> String {
    let mut out = String::new();
    let px = |value| x.place(value, LEFT, WIDTH - RIGHT);
    let py = |value| y.place(value, HEIGHT - BOTTOM, TOP);
    let _ =
        write!(out, "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">", escape(label));
    for band in &backdrop.bands {
        let (from, to) = (px(band.from), px(band.to));
        let _ = write!(
            out,
            "<rect class=\"band\" style=\"fill:var(--s{})\" x=\"{from:.1}\" width=\"{:.1}\" y=\"{TOP}\" height=\"{}\"/>",
            band.colour,
            // A short one must be seen too.
            (to - from).max(1.0),
            HEIGHT - BOTTOM - TOP
        );
    }
    for (value, text) in &y.ticks {
        let at = py(*value);
        let _ = write!(
            out,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            WIDTH - RIGHT,
            LEFT - 6.0,
            at + 4.0,
            escape(text)
        );
    }
    for (at, colour) in &backdrop.strokes {
        // One engine's strokes below the other's.
        let (at, top) = (px(*at), HEIGHT - BOTTOM - STROKE * *colour as f64);
        let _ = write!(
            out,
            "<line class=\"stroke\" style=\"stroke:var(--s{colour})\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{top}\" y2=\"{:.1}\"/>",
            top + STROKE - 1.0
        );
    }
    for (value, text) in &x.ticks {
        let _ = write!(
            out,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            px(*value),
            HEIGHT - BOTTOM + 16.0,
            escape(text)
        );
    }
    let _ = write!(
        out,
        "<text class=\"axis\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
        (LEFT + WIDTH - RIGHT) / 2.0,
        HEIGHT - 6.0,
        escape(&format!("{}, over {}", y.title, x.title))
    );
    for line in series.iter().filter(|line| !line.points.is_empty()) {
        let path = path(line.points.iter().map(|(at_x, at_y)| (px(*at_x), py(*at_y))));
        let dashed = if line.dashed { " dashed" } else { "" };
        let _ = write!(
            out,
            "<path class=\"line{dashed}\" style=\"stroke:var(--s{})\" d=\"{path}\"><title>{}</title></path>",
            line.colour,
            escape(&line.name)
        );
    }
    out.push_str("</svg>");
    out
}

/// A line from point to point, as a path says it.
pub fn path(points: impl Iterator<Item = (f64, f64)>) -> String {
    let mut out = String::new();
    for (index, (x, y)) in points.enumerate() {
        let _ = write!(out, "{}{x:.1} {y:.1}", if index == 0 { "M" } else { "L" });
    }
    out
}

/// The names of the lines with their colours.
pub fn legend(series: &[Series]) -> String {
    let mut out = String::from("<ul class=\"legend\">");
    for line in series {
        let dashed = if line.dashed { " dashed" } else { "" };
        let _ = write!(
            out,
            "<li><i class=\"key{dashed}\" style=\"--c:var(--s{})\"></i>{}</li>",
            line.colour,
            escape(&line.name)
        );
    }
    out.push_str("</ul>");
    out
}

/// Text as HTML.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            _ => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_covers_what_it_must_with_round_labels() {
        let axis = Axis::linear("x", 7.3, |value| value.to_string());
        let labels: Vec<_> = axis.ticks.iter().map(|(_, label)| label.as_str()).collect();
        assert_eq!(labels, ["0", "2", "4", "6", "8"]);
        let axis = Axis::decades("ns", 180.0, 2_000_000.0, |value| value.to_string());
        assert_eq!((axis.min, axis.max), (2.0, 7.0));
        assert_eq!(Axis::linear("x", 0.0, |_| String::new()).max, 1.0);
    }

    #[test]
    fn names_cannot_break_the_page() {
        let series = [Series { name: "<b>".to_owned(), colour: 1, dashed: true, points: vec![(0.0, 0.0)] }];
        let axis = Axis::linear("x", 1.0, |value| value.to_string());
        let chart = lines("a \"b\"", &axis, &axis, &series, &Backdrop::default()) + &legend(&series);
        assert!(!chart.contains("<b>") && chart.contains("a &quot;b&quot;"));
    }
}
