//! A load of small calls: its phases, and its end.

use godfs_core::{Error, Result};

use super::super::context::Context;
use super::super::failure::{Failure, Outcome, say_line};
use super::super::view::Measured;
use super::lanes::Lanes;
use super::measure::{Phase, measure_on};
use super::names::Names;
use crate::Client;

/// Phases one after another over the same names.
pub(super) struct Load<'a> {
    context: &'a Context,
    lanes: &'a Lanes,
    names: Names,
    concurrency: u32,
    phases: Vec<Measured>,
    error: Option<Error>,
}

impl<'a> Load<'a> {
    pub(super) fn new(context: &'a Context, lanes: &'a Lanes, names: Names, concurrency: u32) -> Self {
        Self { context, lanes, names, concurrency, phases: Vec::new(), error: None }
    }

    /// Runs `operation` with each number below `ops`. It gives the bytes that it moved.
    pub(super) async fn phase<F, O>(&mut self, name: &'static str, ops: u64, operation: O)
    where
        O: Fn(Client, Names, u64) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Result<u64>> + Send + 'static,
    {
        let phase = Phase::new(self.context, name, self.names.folder().to_string(), ops, self.concurrency).await;
        let figures = measure_on(phase, self.lanes.all().iter().cycle(), |lane| {
            let (client, names, operation) = (Client::clone(&lane.client), self.names.clone(), operation.clone());
            let work = move |number| operation(client.clone(), names.clone(), number);
            (work, lane.runtime.clone())
        })
        .await;
        // A namenode answers a change when it is in its synced log; there is no other way.
        self.phases.push(Measured { synced: Some(true), ..figures.measured });
        self.error = self.error.take().or(figures.error);
    }

    /// The figures; says the first error, and where what is kept lies.
    pub(super) async fn end(self, keep: bool) -> Outcome<Vec<Measured>> {
        self.lanes.end().await;
        if keep && !self.context.quiet() {
            say_line(&format!("kept in {}", self.names.folder()));
        }
        if let Some(error) = self.error {
            self.context.say(&Failure::from(error.context("the first of the errors")));
        }
        Ok(self.phases)
    }
}
