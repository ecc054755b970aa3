//! Plots as SVG, plain enough to be read at any size, on white, so that a dark page does not swallow the axes.

use std::fmt::Write;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 320.0;
/// Room for the axis on the left, the title above, the legend on the right and the axis below.
const MARGIN: [f64; 4] = [64.0, 44.0, 150.0, 48.0];
/// Distinguishable by people who do not see all colours (Okabe and Ito), and dark enough on white.
const COLOURS: [&str; 7] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#555555"];

/// A named row of numbers: heights of bars, or points of a line.
#[derive(Debug, Clone)]
pub struct Series<T> {
    /// What the legend says.
    pub name: String,
    /// The numbers.
    pub values: Vec<T>,
}

/// Bars side by side for each category.
pub fn bars(title: &str, unit: &str, categories: &[String], series: &[Series<f64>]) -> String {
    let most = series.iter().flat_map(|series| &series.values).copied().fold(0.0, f64::max);
    let mut plot = Plot::new(title, unit, 0.0, most);
    let slot = plot.width() / categories.len() as f64;
    let bar = slot * 0.8 / series.len() as f64;
    for (place, category) in categories.iter().enumerate() {
        let left = MARGIN[0] + slot * (place as f64 + 0.1);
        for (number, series) in series.iter().enumerate() {
            let value = series.values.get(place).copied().unwrap_or_default();
            let (x, y) = (left + bar * number as f64, plot.y(value));
            let (height, colour) = (plot.y(0.0) - y, COLOURS[number % COLOURS.len()]);
            plot.add(&format!(
                r#"<rect x="{x:.1}" y="{y:.1}" width="{:.1}" height="{height:.1}" fill="{colour}"/>"#,
                bar * 0.95
            ));
            plot.text(x + bar / 2.0, y - 4.0, "middle", 10.0, &short(value));
        }
        // On two heights, so that long names do not run into each other.
        let below = if place % 2 == 0 { 16.0 } else { 32.0 };
        plot.text(left + slot * 0.4, HEIGHT - MARGIN[3] + below, "middle", 11.0, category);
    }
    plot.finish(series.iter().map(|series| &*series.name))
}

/// A line for each series over a common axis; `is_log` makes the upright one logarithmic.
pub fn lines(title: &str, unit: &str, x_name: &str, series: &[Series<(f64, f64)>], is_log: bool) -> String {
    let scale = |value: f64| if is_log { value.max(0.01).log10() } else { value };
    let points = || series.iter().flat_map(|series| &series.values);
    let right = points().map(|(x, _)| *x).fold(0.0, f64::max).max(1.0);
    let most = points().map(|(_, y)| scale(*y)).fold(f64::MIN, f64::max);
    let least = points().map(|(_, y)| scale(*y)).fold(f64::MAX, f64::min);
    let (bottom, top) = if is_log { (least.floor(), most.ceil()) } else { (0.0, most * 1.1) };
    let mut plot =
        if is_log { Plot::logarithmic(title, unit, bottom, top) } else { Plot::new(title, unit, bottom, top) };
    let x_of = |x: f64| MARGIN[0] + (WIDTH - MARGIN[0] - MARGIN[2]) * x / right;
    for tick in 0..=5 {
        let value = right * f64::from(tick) / 5.0;
        plot.text(x_of(value), HEIGHT - MARGIN[3] + 16.0, "middle", 11.0, &short(value));
    }
    plot.text(MARGIN[0] + plot.width() / 2.0, HEIGHT - 10.0, "middle", 12.0, x_name);
    for (number, series) in series.iter().enumerate() {
        let colour = COLOURS[number % COLOURS.len()];
        let mut path = String::new();
        for (x, y) in &series.values {
            let (x, y) = (x_of(*x), plot.y(scale(*y)));
            let _ = write!(path, "{x:.1},{y:.1} ");
            // Where there are many, the line shows them.
            if series.values.len() <= 20 {
                plot.add(&format!(r#"<circle cx="{x:.1}" cy="{y:.1}" r="2.5" fill="{colour}"/>"#));
            }
        }
        plot.add(&format!(
            r#"<polyline points="{}" fill="none" stroke="{colour}" stroke-width="2"/>"#,
            path.trim_end()
        ));
    }
    plot.finish(series.iter().map(|series| &*series.name))
}

struct Plot {
    svg: String,
    bottom: f64,
    top: f64,
}

impl Plot {
    fn new(title: &str, unit: &str, bottom: f64, top: f64) -> Self {
        let top = if top > bottom { top * 1.1 } else { bottom + 1.0 };
        let mut plot = Self::frame(title, unit, bottom, top);
        for tick in 0..=4 {
            let value = bottom + (top - bottom) * f64::from(tick) / 4.0;
            plot.tick(value, &short(value));
        }
        plot
    }

    /// `bottom` and `top` are powers of ten.
    fn logarithmic(title: &str, unit: &str, bottom: f64, top: f64) -> Self {
        let mut plot = Self::frame(title, unit, bottom, top.max(bottom + 1.0));
        let mut power = bottom;
        while power <= plot.top {
            plot.tick(power, &short(10_f64.powf(power)));
            power += 1.0;
        }
        plot
    }

    fn frame(title: &str, unit: &str, bottom: f64, top: f64) -> Self {
        let svg = format!(
            r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif"><rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>"##
        );
        let mut plot = Self { svg, bottom, top };
        plot.text(MARGIN[0], 20.0, "start", 14.0, title);
        plot.text(MARGIN[0] - 8.0, 36.0, "end", 11.0, unit);
        plot
    }

    fn width(&self) -> f64 {
        WIDTH - MARGIN[0] - MARGIN[2]
    }

    fn y(&self, value: f64) -> f64 {
        let share = (value - self.bottom) / (self.top - self.bottom);
        HEIGHT - MARGIN[3] - share * (HEIGHT - MARGIN[1] - MARGIN[3])
    }

    fn tick(&mut self, value: f64, name: &str) {
        let (y, right) = (self.y(value), WIDTH - MARGIN[2]);
        self.add(&format!(r##"<line x1="{}" y1="{y:.1}" x2="{right}" y2="{y:.1}" stroke="#dddddd"/>"##, MARGIN[0]));
        self.text(MARGIN[0] - 8.0, y + 4.0, "end", 11.0, name);
    }

    fn text(&mut self, x: f64, y: f64, anchor: &str, size: f64, text: &str) {
        self.add(&format!(
            r##"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}" font-size="{size}" fill="#222222">{text}</text>"##
        ));
    }

    fn add(&mut self, element: &str) {
        self.svg.push('\n');
        self.svg.push_str(element);
    }

    fn finish<'n>(mut self, names: impl Iterator<Item = &'n str>) -> String {
        let x = WIDTH - MARGIN[2] + 12.0;
        for (number, name) in names.enumerate() {
            let y = MARGIN[1] + 18.0 * number as f64;
            let colour = COLOURS[number % COLOURS.len()];
            self.add(&format!(r#"<rect x="{x}" y="{y:.1}" width="11" height="11" fill="{colour}"/>"#));
            self.text(x + 16.0, y + 10.0, "start", 11.0, name);
        }
        self.svg + "\n</svg>\n"
    }
}

/// Three digits, and thousands as such.
fn short(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        large if large >= 1000.0 => format!("{:.0}k", value / 1000.0),
        large if large >= 100.0 => format!("{value:.0}"),
        large if large >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}
