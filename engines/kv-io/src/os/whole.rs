//! Whole reads and writes over calls that may be interrupted or take only a part of what they were given.

use std::io::{self, IoSlice};

/// Single calls to the system for one file, and what to do about those that fail.
pub(super) trait RawFile {
    /// One read call; how many bytes it took, 0 at the end of the file.
    fn read_some(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;

    /// One write call of some of `parts`, from the first on; how many bytes it took.
    fn write_some(&self, offset: u64, parts: &[IoSlice<'_>]) -> io::Result<usize>;

    /// True if the call that failed with `error` is worth another try.
    fn try_again(&self, error: &io::Error) -> bool;

    /// A read that stops between two multiples of this has met the end of the file.
    fn unit(&self) -> usize;
}

/// Fills `buffer` from `offset`; returns fewer bytes only at the end of the file.
pub(super) fn read(file: &impl RawFile, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_some(offset + filled as u64, rest) {
            Ok(0) => break,
            Ok(count) => {
                filled += count;
                if !count.is_multiple_of(file.unit()) {
                    break;
                }
            }
            Err(error) if file.try_again(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Writes all of `parts`, one after another, from `offset`.
pub(super) fn write(file: &impl RawFile, mut offset: u64, parts: &[IoSlice<'_>]) -> io::Result<()> {
    let mut parts: Vec<IoSlice<'_>> = parts.iter().filter(|part| !part.is_empty()).copied().collect();
    let mut rest = parts.as_mut_slice();
    while !rest.is_empty() {
        match file.write_some(offset, rest) {
            Ok(0) => return Err(io::Error::from(io::ErrorKind::WriteZero)),
            Ok(count) => {
                offset += count as u64;
                IoSlice::advance_slices(&mut rest, count);
            }
            Err(error) if file.try_again(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use super::*;

    /// Takes at most so many bytes a call, and every third call is interrupted; breaks for good after `calls_left`.
    struct Grudging {
        bytes: RefCell<Vec<u8>>,
        most: usize,
        calls: Cell<usize>,
        calls_left: usize,
        unit: usize,
    }

    impl Grudging {
        fn new(bytes: &[u8], most: usize) -> Grudging {
            let bytes = RefCell::new(bytes.to_vec());
            Grudging { bytes, most, calls: Cell::new(0), calls_left: usize::MAX, unit: 1 }
        }

        fn call(&self) -> io::Result<()> {
            self.calls.set(self.calls.get() + 1);
            match self.calls.get() {
                calls if calls > self.calls_left => Err(io::Error::other("broken")),
                calls if calls % 3 == 1 => Err(io::ErrorKind::Interrupted.into()),
                _ => Ok(()),
            }
        }
    }

    impl RawFile for Grudging {
        fn read_some(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
            self.call()?;
            let bytes = self.bytes.borrow();
            let rest = &bytes[bytes.len().min(offset as usize)..];
            let count = rest.len().min(buffer.len()).min(self.most);
            buffer[..count].copy_from_slice(&rest[..count]);
            Ok(count)
        }

        fn write_some(&self, offset: u64, parts: &[IoSlice<'_>]) -> io::Result<usize> {
            self.call()?;
            let all: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).take(self.most).collect();
            let mut bytes = self.bytes.borrow_mut();
            let end = offset as usize + all.len();
            let len = bytes.len().max(end);
            bytes.resize(len, 0);
            bytes[offset as usize..end].copy_from_slice(&all);
            Ok(all.len())
        }

        fn try_again(&self, error: &io::Error) -> bool {
            error.kind() == io::ErrorKind::Interrupted
        }

        fn unit(&self) -> usize {
            self.unit
        }
    }

    #[test]
    fn short_and_interrupted_calls_come_to_whole_ones() {
        let all: Vec<u8> = (0..100).collect();
        for most in 1..=101 {
            let file = Grudging::new(&all, most);
            let mut buffer = [0; 60];
            assert_eq!(read(&file, 20, &mut buffer).unwrap(), 60);
            assert_eq!(buffer, all[20..80], "{most} a call");
            assert_eq!(read(&file, 70, &mut buffer).unwrap(), 30, "the end of the file");
            assert_eq!(read(&file, 200, &mut buffer).unwrap(), 0);

            let file = Grudging::new(&all, most);
            let parts = [&all[50..57], &[], &all[57..58], &all[58..90]].map(IoSlice::new);
            write(&file, 95, &parts).unwrap();
            assert_eq!(*file.bytes.borrow(), [&all[..95], &all[50..90]].concat(), "{most} a call");
        }
    }

    #[test]
    fn an_error_in_the_middle_is_told_and_a_call_that_takes_nothing_ends() {
        let mut file = Grudging::new(&[7; 100], 10);
        file.calls_left = 4;
        assert_eq!(read(&file, 0, &mut [0; 60]).unwrap_err().to_string(), "broken");
        let file = Grudging::new(&[], 0);
        assert_eq!(write(&file, 0, &[IoSlice::new(b"x")]).unwrap_err().kind(), io::ErrorKind::WriteZero);
    }

    #[test]
    fn a_direct_read_that_stops_between_two_units_asks_no_more() {
        let mut file = Grudging::new(&[7; 700], 1000);
        file.unit = 512;
        assert_eq!(read(&file, 0, &mut [0; 1024]).unwrap(), 700);
        assert_eq!(file.calls.get(), 2, "one interrupted, one whole");
    }
}
