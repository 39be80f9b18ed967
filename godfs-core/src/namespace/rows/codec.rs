//! How the values of rows are put together and taken apart. Reading never panics: bad bytes are [`ErrorKind::Corrupt`].

use crate::error::{Error, ErrorKind, Result};

/// Puts a value together.
#[derive(Debug, Default)]
pub(in crate::namespace) struct Encoder(Vec<u8>);

impl Encoder {
    pub(in crate::namespace) fn new() -> Self {
        Self(Vec::with_capacity(96))
    }

    pub(in crate::namespace) fn byte(&mut self, value: u8) -> &mut Self {
        self.0.push(value);
        self
    }

    /// Seven bits a byte, the lowest first, as in protobuf.
    pub(in crate::namespace) fn number(&mut self, value: impl Into<u64>) -> &mut Self {
        let mut value = value.into();
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
        self
    }

    /// The number of items that follow.
    pub(in crate::namespace) fn count(&mut self, items: usize) -> &mut Self {
        self.number(items as u64)
    }

    pub(in crate::namespace) fn text(&mut self, text: &str) -> &mut Self {
        self.count(text.len());
        self.0.extend_from_slice(text.as_bytes());
        self
    }

    pub(in crate::namespace) fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self
    }

    pub(in crate::namespace) fn bytes(&self) -> &[u8] {
        &self.0
    }

    pub(in crate::namespace) fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

/// Takes a value apart.
#[derive(Debug)]
pub(in crate::namespace) struct Decoder<'a> {
    rest: &'a [u8],
    what: &'static str,
}

impl<'a> Decoder<'a> {
    /// Begins with the format byte, which must be `format`. `what` names the row in errors.
    pub(in crate::namespace) fn new(bytes: &'a [u8], format: u8, what: &'static str) -> Result<Self> {
        let mut decoder = Self { rest: bytes, what };
        match decoder.byte()? {
            found if found == format => Ok(decoder),
            found => Err(decoder.bad(&format!("has format {found}, this software reads {format}"))),
        }
    }

    pub(in crate::namespace) fn byte(&mut self) -> Result<u8> {
        match self.rest.split_first() {
            Some((&byte, rest)) => {
                self.rest = rest;
                Ok(byte)
            }
            None => Err(self.bad("is cut short")),
        }
    }

    pub(in crate::namespace) fn number(&mut self) -> Result<u64> {
        let mut value = 0_u64;
        for shift in (0..).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift > 63 || (bits << shift) >> shift != bits {
                return Err(self.bad("has a number that is too large"));
            }
            value |= bits << shift;
            if byte < 0x80 {
                break;
            }
        }
        Ok(value)
    }

    /// A number that must fit a smaller type.
    pub(in crate::namespace) fn small<T: TryFrom<u64>>(&mut self) -> Result<T> {
        let value = self.number()?;
        T::try_from(value).map_err(|_| self.bad("has a number that is too large"))
    }

    /// A number of items, each of at least one byte: never more than there are bytes left.
    pub(in crate::namespace) fn count(&mut self) -> Result<usize> {
        let count: usize = self.small()?;
        if count > self.rest.len() {
            return Err(self.bad("is cut short"));
        }
        Ok(count)
    }

    pub(in crate::namespace) fn text(&mut self) -> Result<String> {
        let length = self.count()?;
        let bytes = self.raw(length)?;
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(text.to_owned()),
            Err(_) => Err(self.bad("has text that is not UTF-8")),
        }
    }

    pub(in crate::namespace) fn raw(&mut self, length: usize) -> Result<&'a [u8]> {
        match self.rest.split_at_checked(length) {
            Some((bytes, rest)) => {
                self.rest = rest;
                Ok(bytes)
            }
            None => Err(self.bad("is cut short")),
        }
    }

    /// Eight bytes, big endian: a version.
    pub(in crate::namespace) fn fixed(&mut self) -> Result<u64> {
        let bytes = self.raw(8)?;
        Ok(u64::from_be_bytes(bytes.try_into().expect("eight bytes")))
    }

    pub(in crate::namespace) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    /// Whether nothing is left.
    pub(in crate::namespace) fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    /// Nothing may be left.
    pub(in crate::namespace) fn end(self) -> Result<()> {
        if self.rest.is_empty() { Ok(()) } else { Err(self.bad("has bytes left over")) }
    }

    pub(in crate::namespace) fn bad(&self, why: &str) -> Error {
        Error::new(ErrorKind::Corrupt, format!("metadata: a row of {} {why}", self.what))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_and_bad_ones_are_refused() {
        for value in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX - 1, u64::MAX] {
            let mut encoder = Encoder::new();
            encoder.byte(1).number(value);
            let bytes = encoder.into_bytes();
            let mut decoder = Decoder::new(&bytes, 1, "test").unwrap();
            assert_eq!(decoder.number().unwrap(), value);
            decoder.end().unwrap();
        }
        for bad in [&[1][..], &[1, 0x80], &[1; 0], &[2, 0], &[1, 255, 255, 255, 255, 255, 255, 255, 255, 255, 2]] {
            let error = Decoder::new(bad, 1, "test").and_then(|mut decoder| decoder.number()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{bad:?}");
        }
        assert!(Decoder::new(&[1, 200, 1, 0], 1, "test").unwrap().count().is_err(), "more items than bytes");
        assert!(Decoder::new(&[1, 1, 0xff], 1, "test").unwrap().text().is_err(), "not UTF-8");
    }
}
