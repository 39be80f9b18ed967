//! `bench random`: small reads from anywhere in files that are there.

use std::sync::Arc;

use godfs_core::{DfsPath, Error, ErrorKind, Result};

use super::super::context::Context;
use super::super::failure::{Failure, Outcome};
use super::super::view::Measured;
use super::args::BenchRandomArgs;
use super::lanes::Lanes;
use super::measure::{Phase, measure_on};
use super::names::scattered;
use super::read::files;
use crate::Reader;

/// The most files that are read from: each is held open by each client.
const MAX_FILES: usize = 1_024;

/// Runs `bench random`.
pub(super) async fn random(context: &Context, args: &BenchRandomArgs) -> Outcome<Vec<Measured>> {
    let path = DfsPath::parse(&args.path)?;
    let size = usize::try_from(args.size.0).unwrap_or(usize::MAX);
    let mut paths = files(&context.client, &path).await?;
    paths.truncate(MAX_FILES);
    let lanes = Lanes::start(context, args.in_flight).await?;
    let mut workers = Vec::new();
    for lane in lanes.all() {
        let (client, paths) = (Arc::clone(&lane.client), paths.clone());
        let open = async move {
            let mut readers = Vec::new();
            for path in paths {
                // What has less gives no such read.
                let reader = client.reader(&path).await?;
                if reader.len() >= size as u64 {
                    readers.push(reader);
                }
            }
            Ok::<_, Error>(Places::of(readers, size as u64))
        };
        let places = lane.runtime.spawn(open).await.map_err(|stopped| {
            Error::new(ErrorKind::Internal, format!("a client could not open files: {stopped}"))
        })??;
        workers.push((Arc::new(places), lane.runtime.clone()));
    }
    let places = workers.first().map_or(0, |(places, _)| places.all);
    if places == 0 {
        let message = format!("no files of {size} bytes or more under {path}; `godfs bench write --keep` makes some");
        return Err(Error::new(ErrorKind::NotFound, message).into());
    }
    let phase = Phase::new(context, "random", path.to_string(), args.count, args.in_flight).await;
    let figures = measure_on(phase, workers.iter().cycle(), |(places, runtime)| {
        let places = Arc::clone(places);
        let read = move |number: u64| {
            let places = Arc::clone(&places);
            async move { places.read(scattered(number, places.all)).await }
        };
        (read, runtime.clone())
    })
    .await;
    let local = lanes.all().iter().map(|lane| lane.client.local_bytes_read()).sum::<u64>();
    let local = (figures.measured.bytes > 0).then_some(local >= figures.measured.bytes);
    // Files are let go where they were opened.
    drop(workers);
    lanes.end().await;
    if let Some(error) = figures.error {
        context.say(&Failure::from(error.context("the first of the errors")));
    }
    Ok(vec![Measured { local, ..figures.measured }])
}

/// All places of one size in files, one after the other.
struct Places {
    readers: Vec<(u64, Reader)>,
    all: u64,
    size: u64,
}

impl Places {
    fn of(readers: Vec<Reader>, size: u64) -> Self {
        let mut all = 0;
        let mut placed = Vec::new();
        for reader in readers {
            let places = reader.len() / size;
            placed.push((all, reader));
            all += places;
        }
        Self { readers: placed, all, size }
    }

    async fn read(&self, place: u64) -> Result<u64> {
        let at = self.readers.partition_point(|(first, _)| *first <= place).saturating_sub(1);
        let (first, reader) = &self.readers[at];
        let bytes =
            reader.read_at((place - first) * self.size, usize::try_from(self.size).unwrap_or(usize::MAX)).await?;
        if bytes.len() as u64 == self.size {
            return Ok(self.size);
        }
        Err(Error::new(ErrorKind::Corrupt, format!("{} gave {} bytes of {}", reader.path(), bytes.len(), self.size)))
    }
}
