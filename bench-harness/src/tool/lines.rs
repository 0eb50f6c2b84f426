//! The line format of `dump`, `load` and `scan`: one entry per line, any bytes, nothing lost.
//!
//! ```text
//! # kvlab-dump 1 text              the header: version, and how bytes are written (text or hex)
//! key<TAB>value                    one entry; an empty key or value is an empty field
//! \x00key<TAB>line one\nline two   text: printable ASCII as it is, \\ \t \n \r, and \xHH for all else
//! 6b6579<TAB>76616c7565            hex: two digits per byte
//! # end 3                          the number of entries: a dump that was cut short has no such line
//! ```
//!
//! A `#` that begins a key is written `\x23` in text.

/// How bytes are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notation {
    /// Printable ASCII as it is, the rest escaped.
    Text,
    /// Two hexadecimal digits per byte.
    Hex,
}

const VERSION: u32 = 1;
const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// One line of a dump, decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// An entry.
    Entry {
        /// Its key.
        key: Vec<u8>,
        /// Its value.
        value: Vec<u8>,
    },
    /// The last line.
    End {
        /// How many entries there must have been.
        entries: u64,
    },
}

impl Notation {
    /// `hex` or `text`.
    pub fn new(hex: bool) -> Notation {
        if hex { Notation::Hex } else { Notation::Text }
    }

    /// The word in the header.
    pub fn word(self) -> &'static str {
        match self {
            Notation::Text => "text",
            Notation::Hex => "hex",
        }
    }

    /// Appends `bytes` to `out`.
    pub fn write(self, bytes: &[u8], out: &mut Vec<u8>) {
        for (index, byte) in bytes.iter().copied().enumerate() {
            let digits = [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]];
            match (self, byte) {
                (Notation::Hex, _) => out.extend_from_slice(&digits),
                (_, b'\\') => out.extend_from_slice(b"\\\\"),
                (_, b'\t') => out.extend_from_slice(b"\\t"),
                (_, b'\n') => out.extend_from_slice(b"\\n"),
                (_, b'\r') => out.extend_from_slice(b"\\r"),
                (_, b'#') if index > 0 => out.push(byte),
                (_, b' '..=b'~') if byte != b'#' => out.push(byte),
                _ => {
                    out.extend_from_slice(b"\\x");
                    out.extend_from_slice(&digits);
                }
            }
        }
    }

    /// The bytes as text.
    pub fn show(self, bytes: &[u8]) -> String {
        let mut out = Vec::new();
        self.write(bytes, &mut out);
        String::from_utf8_lossy(&out).into_owned()
    }

    /// Undoes [`Notation::write`].
    ///
    /// # Errors
    /// What is wrong, as a sentence part.
    pub fn read(self, text: &[u8]) -> Result<Vec<u8>, String> {
        let mut out = Vec::with_capacity(text.len());
        let mut rest = text;
        while let Some((first, after)) = rest.split_first() {
            rest = after;
            if self == Notation::Hex {
                let (low, after) = rest.split_first().ok_or("an odd number of hex digits")?;
                out.push(byte(*first, *low)?);
                rest = after;
            } else if *first != b'\\' {
                out.push(*first);
            } else {
                let (escape, after) = rest.split_first().ok_or("a `\\` at the end; write `\\\\`")?;
                rest = after;
                out.push(match escape {
                    b'\\' => b'\\',
                    b't' => b'\t',
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b'x' => {
                        let ([high, low], after) =
                            rest.split_first_chunk::<2>().ok_or("two hex digits must follow `\\x`")?;
                        rest = after;
                        byte(*high, *low)?
                    }
                    _ => {
                        return Err(format!(
                            "`\\{}` is no escape; write `\\\\` for a backslash",
                            escape.escape_ascii()
                        ));
                    }
                });
            }
        }
        Ok(out)
    }

    /// The first line of a dump.
    pub fn header(self) -> String {
        format!("# kvlab-dump {VERSION} {}", self.word())
    }

    /// Reads the first line of a dump.
    ///
    /// # Errors
    /// What is wrong, as a sentence part.
    pub fn of_header(line: &[u8]) -> Result<Notation, String> {
        [Notation::Text, Notation::Hex]
            .into_iter()
            .find(|notation| notation.header().as_bytes() == line)
            .ok_or_else(|| {
                format!(
                    "the first line must be `{}` or `{}`",
                    Notation::Text.header(),
                    Notation::Hex.header()
                )
            })
    }

    /// Appends the line of an entry to `out`.
    pub fn write_entry(self, key: &[u8], value: &[u8], out: &mut Vec<u8>) {
        self.write(key, out);
        out.push(b'\t');
        self.write(value, out);
        out.push(b'\n');
    }

    /// Reads a line behind the header, without its line end.
    ///
    /// # Errors
    /// What is wrong, as a sentence part.
    pub fn read_line(self, line: &[u8]) -> Result<Line, String> {
        if let Some(end) = line.strip_prefix(b"# end ") {
            let entries = std::str::from_utf8(end).ok().and_then(|number| number.parse().ok());
            return entries
                .map(|entries| Line::End { entries })
                .ok_or_else(|| "`# end` needs a number".to_owned());
        }
        let tab = line.iter().position(|byte| *byte == b'\t').ok_or("no tab between key and value")?;
        let (key, value) = (&line[..tab], &line[tab + 1..]);
        if value.contains(&b'\t') {
            return Err("more than one tab; write `\\t` for a tab in a value".to_owned());
        }
        Ok(Line::Entry { key: self.read(key)?, value: self.read(value)? })
    }
}

/// The last line of a dump.
pub fn end(entries: u64) -> String {
    format!("# end {entries}")
}

fn byte(high: u8, low: u8) -> Result<u8, String> {
    let digit = |c: u8| char::from(c).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    digit(high)
        .zip(digit(low))
        .map(|(high, low)| high << 4 | low)
        .ok_or_else(|| format!("`{}{}` is no hex byte", high.escape_ascii(), low.escape_ascii()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_comes_back() {
        let all: Vec<u8> = (0..=255).collect();
        for notation in [Notation::Text, Notation::Hex] {
            for (key, value) in
                [(all.as_slice(), b"".as_slice()), (b"", &all), (b"", b""), (b"# end 3", b"#")]
            {
                let mut line = Vec::new();
                notation.write_entry(key, value, &mut line);
                assert_eq!(line.pop(), Some(b'\n'));
                assert!(line.iter().all(|byte| *byte == b'\t' || (b' '..=b'~').contains(byte)));
                let read = notation.read_line(&line);
                assert_eq!(read, Ok(Line::Entry { key: key.to_vec(), value: value.to_vec() }));
            }
        }
    }

    #[test]
    fn the_format_is_the_one_in_the_picture() {
        let mut out = Vec::new();
        Notation::Text.write_entry(b"\0key", b"line one\nline two", &mut out);
        Notation::Hex.write_entry(b"key", b"value", &mut out);
        assert_eq!(out, b"\\x00key\tline one\\nline two\n6b6579\t76616c7565\n");
        assert_eq!(Notation::of_header(b"# kvlab-dump 1 text"), Ok(Notation::Text));
        assert!(Notation::of_header(b"# kvlab-dump 2 text").is_err());
        assert_eq!(Notation::Hex.read_line(end(3).as_bytes()), Ok(Line::End { entries: 3 }));
    }

    #[test]
    fn wrong_lines_say_why() {
        for (line, why) in [
            ("no tab here", "no tab"),
            ("a\tb\tc", "more than one tab"),
            ("a\\q\tb", "no escape"),
            ("a\\x4\tb", "two hex digits"),
            ("a\\", "no tab"),
            ("a\tb\\", "at the end"),
            ("# end x", "needs a number"),
        ] {
            assert!(Notation::Text.read_line(line.as_bytes()).unwrap_err().contains(why), "{line}");
        }
        assert!(Notation::Hex.read(b"abc").unwrap_err().contains("odd"));
        assert!(Notation::Hex.read(b"zz").unwrap_err().contains("no hex byte"));
    }
}
