//! Layers over layers, read as one.

use std::iter::Peekable;

use bytes::Bytes;

use super::layer::{Found, Layer, Rows};
use super::{Range, Space};
use crate::error::Result;

/// Layers read as one, the uppermost first.
pub(super) struct Stack<'a>(pub(super) Vec<&'a dyn Layer>);

impl Layer for Stack<'_> {
    fn find(&self, space: Space, key: &[u8]) -> Result<Found> {
        for layer in &self.0 {
            match layer.find(space, key)? {
                Found::Nothing => {}
                found => return Ok(found),
            }
        }
        Ok(Found::Nothing)
    }

    fn rows<'a>(&'a self, space: Space, range: &Range) -> Rows<'a> {
        match self.0.as_slice() {
            [only] => only.rows(space, range),
            layers => Box::new(Merge {
                layers: layers.iter().map(|layer| layer.rows(space, range).peekable()).collect(),
                reverse: range.reverse,
            }),
        }
    }
}

/// The rows of several layers in one order, of equal keys only that of the uppermost.
struct Merge<'a> {
    layers: Vec<Peekable<Rows<'a>>>,
    reverse: bool,
}

impl Iterator for Merge<'_> {
    type Item = Result<(Bytes, Option<Bytes>)>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut next: Option<(usize, Bytes)> = None;
        for (index, layer) in self.layers.iter_mut().enumerate() {
            match layer.peek() {
                None => {}
                Some(Err(_)) => return layer.next(),
                Some(Ok((key, _))) => {
                    let first = match &next {
                        None => true,
                        Some((_, best)) => (key < best) != self.reverse && key != best,
                    };
                    if first {
                        next = Some((index, key.clone()));
                    }
                }
            }
        }
        let (index, key) = next?;
        for layer in &mut self.layers[index + 1..] {
            layer.next_if(|row| matches!(row, Ok((other, _)) if *other == key));
        }
        self.layers[index].next()
    }
}
