//! The chart: two bars a measure, as long as what was reached.

use std::fmt::Write as _;

use super::report::{Compared, Medians};

/// Pixels: of the whole, of the names, of the longest bar, and of each measure.
const WIDTH: u32 = 760;
const NAMES: u32 = 270;
const LONGEST: f64 = 330.0;
const ROW: u32 = 46;
const TOP: u32 = 44;

/// An SVG that suits light and dark pages.
pub(crate) fn chart(compared: &Compared) -> String {
    let rows = u32::try_from(compared.pairs.len()).unwrap_or(0);
    let height = TOP + rows * ROW + 8;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" \
         aria-label=\"GoDFS and HDFS side by side\">\n<style>text{{font:13px system-ui,sans-serif;fill:#24292f}}.own{{fill:#2f81f7}}\
         .other{{fill:#a8b1bb}}.small{{font-size:11px}}@media(prefers-color-scheme:dark){{text{{fill:#e6edf3}}.other{{fill:#6e7681}}}}</style>\n\
         <rect class=\"own\" x=\"{NAMES}\" y=\"12\" width=\"12\" height=\"12\"/><text x=\"{}\" y=\"23\">GoDFS {}</text>\n\
         <rect class=\"other\" x=\"{}\" y=\"12\" width=\"12\" height=\"12\"/><text x=\"{}\" y=\"23\">HDFS {}</text>\n",
        NAMES + 18,
        compared.godfs,
        NAMES + 130,
        NAMES + 148,
        compared.hdfs,
    );
    for (number, pair) in (0..).zip(&compared.pairs) {
        let Some(Medians { unit, rates, .. }) = pair.medians() else { continue };
        let (top, most) = (TOP + number * ROW, rates[0].max(rates[1]).max(f64::MIN_POSITIVE));
        let _ =
            writeln!(svg, "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>", NAMES - 10, top + 21, pair.title());
        for (at, class, rate) in [(0, "own", rates[0]), (17, "other", rates[1])] {
            let (length, y) = (rate / most * LONGEST, top + at);
            let _ = writeln!(
                svg,
                "<rect class=\"{class}\" x=\"{NAMES}\" y=\"{y}\" width=\"{length:.0}\" height=\"15\"/>\
                 <text class=\"small\" x=\"{:.0}\" y=\"{}\">{} {unit}</text>",
                f64::from(NAMES) + length + 6.0,
                y + 12,
                grouped(rate)
            );
        }
    }
    svg + "</svg>\n"
}

/// A whole number with commas between thousands.
fn grouped(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
