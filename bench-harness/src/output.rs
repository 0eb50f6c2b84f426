//! The one place that writes to standard output. A reader that goes away (`kvlab dump db | head`) is no error:
//! what follows is dropped and long loops are told to stop.

use std::io::{self, BufWriter, ErrorKind, Write};

use crate::error::{Failure, Result};

/// Standard output, or what stands for it.
pub struct Output {
    out: BufWriter<Box<dyn Write>>,
    closed: bool,
    json: bool,
}

impl Output {
    /// Writes to `to`. With `json`, [`Output::text`] is silent and [`Output::json`] speaks.
    pub fn new(to: Box<dyn Write>, json: bool) -> Output {
        Output { out: BufWriter::with_capacity(64 << 10, to), closed: false, json }
    }

    /// True if results are wanted as JSON.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// True once the reader went away: nothing more needs to be made.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// One line for people.
    ///
    /// # Errors
    /// A write that failed for another reason than a closed pipe.
    pub fn text(&mut self, line: impl AsRef<str>) -> Result<()> {
        if self.json { Ok(()) } else { self.raw(line.as_ref().as_bytes()).and_then(|()| self.raw(b"\n")) }
    }

    /// One JSON value on one line, if JSON is wanted.
    ///
    /// # Errors
    /// A write that failed for another reason than a closed pipe.
    pub fn json<T: serde::Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
        if !self.json {
            return Ok(());
        }
        let text = serde_json::to_string(value)
            .map_err(|error| Failure::failed(format!("cannot write the result as JSON: {error}")))?;
        self.raw(text.as_bytes()).and_then(|()| self.raw(b"\n"))
    }

    /// Bytes as they are.
    ///
    /// # Errors
    /// A write that failed for another reason than a closed pipe.
    pub fn raw(&mut self, bytes: &[u8]) -> Result<()> {
        if self.closed {
            return Ok(());
        }
        let written = self.out.write_all(bytes);
        self.unless_closed(written)
    }

    /// Sends what is buffered.
    ///
    /// # Errors
    /// A write that failed for another reason than a closed pipe.
    pub fn flush(&mut self) -> Result<()> {
        if self.closed {
            return Ok(());
        }
        let flushed = self.out.flush();
        self.unless_closed(flushed)
    }

    fn unless_closed(&mut self, done: io::Result<()>) -> Result<()> {
        match done {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                self.closed = true;
                Ok(())
            }
            Err(error) => Err(Failure::failed(format!("cannot write to standard output: {error}"))),
        }
    }
}

/// One line on standard error, in front of which the program names itself. Failure to write it is ignored:
/// there is nobody left to tell.
pub fn complain(message: impl std::fmt::Display) {
    let _ = writeln!(io::stderr(), "kvlab: {message}");
}
