//! Where results go: stdout, as text or JSON.

use std::io::{self, BufWriter, IsTerminal, Stdout, Write};

use serde::Serialize;

use super::failure::{Failure, Outcome};

/// Bytes gathered before stdout is written to.
const BUFFER_BYTES: usize = 64 << 10;

/// Results on their way to `W`, which is stdout but in tests.
#[derive(Debug)]
pub(super) struct Output<W: Write = Stdout> {
    writer: BufWriter<W>,
    json: bool,
    terminal: bool,
}

impl Output {
    /// To stdout.
    pub(super) fn stdout(json: bool) -> Self {
        let stdout = io::stdout();
        let terminal = stdout.is_terminal();
        Self { writer: BufWriter::with_capacity(BUFFER_BYTES, stdout), json, terminal }
    }
}

impl<W: Write> Output<W> {
    #[cfg(test)]
    pub(super) fn to(writer: W, json: bool) -> Self {
        Self { writer: BufWriter::new(writer), json, terminal: false }
    }

    /// Whether results are JSON.
    pub(super) fn json(&self) -> bool {
        self.json
    }

    /// Writes bytes as they are.
    pub(super) fn bytes(&mut self, bytes: &[u8]) -> Outcome {
        self.writer.write_all(bytes).map_err(Failure::stdout)
    }

    /// Writes a line of text. On a terminal, control characters in it (names may hold any) become `?`.
    pub(super) fn line(&mut self, line: &str) -> Outcome {
        if self.terminal && line.contains(char::is_control) {
            self.bytes(line.replace(char::is_control, "?").as_bytes())?;
        } else {
            self.bytes(line.as_bytes())?;
        }
        self.bytes(b"\n")
    }

    /// Writes `value` as a line of JSON.
    pub(super) fn object(&mut self, value: &impl Serialize) -> Outcome {
        self.value(value)?;
        self.bytes(b"\n")
    }

    fn value(&mut self, value: &impl Serialize) -> Outcome {
        serde_json::to_writer(&mut self.writer, value).map_err(|error| Failure::stdout(error.into()))
    }

    /// Writes out what was gathered.
    pub(super) fn flush(&mut self) -> Outcome {
        self.writer.flush().map_err(Failure::stdout)
    }
}

/// A JSON list that is written element by element, each on a line of its own.
#[derive(Debug, Default)]
pub(super) struct JsonList {
    started: bool,
}

impl JsonList {
    /// Writes one more element.
    pub(super) fn push<W: Write>(&mut self, output: &mut Output<W>, value: &impl Serialize) -> Outcome {
        output.bytes(if self.started { b",\n" } else { b"[" })?;
        self.started = true;
        output.value(value)
    }

    /// Ends the list.
    pub(super) fn end<W: Write>(self, output: &mut Output<W>) -> Outcome {
        output.bytes(if self.started { b"]\n" } else { b"[]\n" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Output<&mut Vec<u8>>) -> Outcome) -> String {
        let mut bytes = Vec::new();
        let mut output = Output::to(&mut bytes, true);
        write(&mut output).expect("written");
        output.flush().expect("flushed");
        drop(output);
        String::from_utf8(bytes).expect("text")
    }

    #[test]
    fn lists_are_json_at_any_length() {
        for length in 0..3 {
            let text = written(|output| {
                let mut list = JsonList::default();
                for n in 0..length {
                    list.push(output, &n)?;
                }
                list.end(output)
            });
            let read: Vec<u32> = serde_json::from_str(&text).expect("JSON");
            assert_eq!(read, (0..length).collect::<Vec<_>>());
            assert_eq!(text.lines().count(), usize::max(1, length as usize));
        }
    }

    #[test]
    fn a_terminal_gets_no_control_characters() {
        assert_eq!(written(|output| output.line("a\u{1b}[2Jb")), "a\u{1b}[2Jb\n");
        assert_eq!(
            written(|output| {
                output.terminal = true;
                output.line("a\u{1b}[2J\nb")
            }),
            "a?[2J?b\n"
        );
    }
}
