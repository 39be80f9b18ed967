//! The short table at the end.

use std::time::Duration;

/// What each step took.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: Vec<(String, Duration, String)>,
}

impl Table {
    pub(crate) fn add(&mut self, step: &str, took: Duration, found: String) {
        println!("  {step}: {found} ({:.2} s)", took.as_secs_f64());
        self.rows.push((step.to_owned(), took, found));
    }

    pub(crate) fn text(&self) -> String {
        let widest = self.rows.iter().map(|(step, ..)| step.len()).max().unwrap_or(0);
        let mut text = String::from("\n");
        for (step, took, found) in &self.rows {
            text.push_str(&format!("  {step:widest$}  {:>8.2} s  {found}\n", took.as_secs_f64()));
        }
        text
    }
}
