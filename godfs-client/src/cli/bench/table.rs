//! The figures for people.

use comfy_table::{CellAlignment, Table, presets};

use super::super::format::short_size;
use super::super::view::Measured;

/// The phases as a table, one a row.
pub(super) fn table(phases: &[Measured]) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.set_header([
        "phase", "ops", "bytes", "seconds", "ops/s", "MB/s", "p50", "p99", "max", "errors", "cpu s", "all", "s/GiB",
    ]);
    for phase in phases {
        table.add_row([
            phase.name.clone(),
            phase.ops.to_string(),
            short_size(phase.bytes),
            format!("{:.2}", phase.seconds),
            format!("{:.1}", phase.per_second),
            format!("{:.1}", phase.mb_per_second),
            latency(phase.p50_us),
            latency(phase.p99_us),
            latency(phase.max_us),
            phase.errors.to_string(),
            format!("{:.2}", phase.cpu_seconds),
            known(phase.cpu_all_seconds),
            known(phase.cpu_all_per_gib),
        ]);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.to_string()
}

/// A figure that may be missing.
fn known(figure: Option<f64>) -> String {
    figure.map_or_else(|| "-".to_owned(), |figure| format!("{figure:.2}"))
}

/// Microseconds in the unit that suits them.
fn latency(us: u64) -> String {
    match us {
        0..1_000 => format!("{us} us"),
        1_000..1_000_000 => format!("{:.1} ms", us as f64 / 1e3),
        _ => format!("{:.2} s", us as f64 / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_row_a_phase() {
        let phase = Measured {
            name: "write".into(),
            ops: 16,
            bytes: 1 << 30,
            seconds: 2.5,
            per_second: 6.4,
            mb_per_second: 429.5,
            p50_us: 950,
            p99_us: 1_500,
            max_us: 2_000_000,
            errors: 0,
            cpu_seconds: 1.25,
            cpu_all_seconds: Some(4.5),
            cpu_all_per_gib: None,
            synced: Some(true),
            local: None,
            rss_max_bytes: 1 << 20,
            daemon_rss_max_bytes: None,
            least_bytes: None,
            most_bytes: None,
            path: "/bench".into(),
        };
        let text = table(&[phase.clone(), phase]);
        let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(rows.len(), 3);
        assert_eq!(
            rows[1],
            [
                "write", "16", "1.0G", "2.50", "6.4", "429.5", "950", "us", "1.5", "ms", "2.00", "s", "0", "1.25",
                "4.50", "-"
            ]
        );
    }
}
