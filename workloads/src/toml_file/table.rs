//! A TOML table read key by key, with the line of everything, so that an error can say where it is.

use std::collections::BTreeMap;

use crate::error::{Problem, SpecError};
use crate::units::parse_size;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The text of a file, which turns byte offsets into lines.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub file: &'a str,
    pub text: &'a str,
}

impl Source<'_> {
    pub(super) fn error(&self, offset: Option<usize>, problem: Problem) -> SpecError {
        let line =
            offset.map(|offset| 1 + self.text.bytes().take(offset).filter(|byte| *byte == b'\n').count());
        SpecError { file: self.file.to_string(), line, problem }
    }
}

/// One table of a file, checked to hold only keys that its section has.
#[derive(Clone, Copy)]
pub(super) struct Table<'a> {
    source: Source<'a>,
    section: &'static Section,
    table: &'a DeTable<'a>,
    offset: usize,
}

/// A table of the format: what errors call it, and its keys.
pub(super) struct Section {
    pub name: &'static str,
    pub keys: &'static [&'static str],
}

type Value<'a> = Spanned<DeValue<'a>>;
type Result<T> = std::result::Result<T, SpecError>;

impl<'a> Table<'a> {
    pub(super) fn new(
        source: Source<'a>,
        section: &'static Section,
        table: &'a DeTable<'a>,
        offset: usize,
    ) -> Result<Self> {
        for key in table.keys() {
            if !section.keys.contains(&key.get_ref().as_ref()) {
                let key_name = key.get_ref().to_string();
                let problem =
                    Problem::UnknownKey { key: key_name, section: section.name, known: section.keys };
                return Err(source.error(Some(key.span().start), problem));
            }
        }
        Ok(Table { source, section, table, offset })
    }

    /// An error about `key`, at its line if the table has it, else at the table's.
    pub(super) fn error(&self, key: &str, problem: Problem) -> SpecError {
        let offset = self.get(key).map_or(self.offset, |value| value.span().start);
        self.source.error(Some(offset), problem)
    }

    pub(super) fn invalid(&self, key: &'static str, why: impl Into<String>) -> SpecError {
        self.error(key, Problem::Invalid { key, why: why.into() })
    }

    pub(super) fn wrong_type(&self, key: &'static str, expected: &'static str) -> SpecError {
        let found = self.get(key).map_or("nothing", |value| value.get_ref().type_str());
        self.error(key, Problem::WrongType { key, expected, found })
    }

    pub(super) fn missing(&self, key: &'static str) -> SpecError {
        self.error(key, Problem::Missing { key, section: self.section.name })
    }

    pub(super) fn get(&self, key: &str) -> Option<&'a Value<'a>> {
        self.table.get(key)
    }

    pub(super) fn table(&self, key: &'static str, section: &'static Section) -> Result<Option<Table<'a>>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let table = value.get_ref().as_table().ok_or_else(|| self.wrong_type(key, "a table"))?;
        Table::new(self.source, section, table, value.span().start).map(Some)
    }

    pub(super) fn tables(&self, key: &'static str, section: &'static Section) -> Result<Vec<Table<'a>>> {
        let Some(value) = self.get(key) else { return Ok(Vec::new()) };
        let array = value.get_ref().as_array().ok_or_else(|| self.wrong_type(key, "an array of tables"))?;
        let entry = |value: &'a Value<'a>| {
            let table =
                value.get_ref().as_table().ok_or_else(|| self.wrong_type(key, "an array of tables"))?;
            Table::new(self.source, section, table, value.span().start)
        };
        array.iter().map(entry).collect()
    }

    pub(super) fn text(&self, key: &'static str) -> Result<Option<&'a str>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        value.get_ref().as_str().map(Some).ok_or_else(|| self.wrong_type(key, "a text in quotes"))
    }

    pub(super) fn texts(&self, key: &'static str) -> Result<Vec<String>> {
        let Some(value) = self.get(key) else { return Ok(Vec::new()) };
        let wrong = || self.wrong_type(key, "a list of texts in quotes");
        let array = value.get_ref().as_array().ok_or_else(wrong)?;
        array.iter().map(|text| text.get_ref().as_str().map(String::from).ok_or_else(wrong)).collect()
    }

    /// A table of texts whose keys are the user's own.
    pub(super) fn free_texts(&self, key: &'static str) -> Result<BTreeMap<String, String>> {
        let Some(value) = self.get(key) else { return Ok(BTreeMap::new()) };
        let wrong = || self.wrong_type(key, "a table of texts in quotes");
        let table = value.get_ref().as_table().ok_or_else(wrong)?;
        let entry = |(name, text): (&Spanned<std::borrow::Cow<'_, str>>, &Value<'_>)| {
            let text = text.get_ref().as_str().ok_or_else(wrong)?;
            Ok((name.get_ref().to_string(), text.to_string()))
        };
        table.iter().map(entry).collect()
    }

    /// A word out of a list of words, each with what it stands for.
    pub(super) fn word<T: Copy>(
        &self,
        key: &'static str,
        words: &'static [&'static str],
        values: &[T],
    ) -> Result<Option<T>> {
        let Some(word) = self.text(key)? else { return Ok(None) };
        let found = words.iter().zip(values).find(|(name, _)| **name == word).map(|(_, value)| *value);
        let problem = || Problem::UnknownWord { key, word: word.to_string(), known: words };
        found.map(Some).ok_or_else(|| self.error(key, problem()))
    }

    pub(super) fn flag(&self, key: &'static str) -> Result<Option<bool>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        value.get_ref().as_bool().map(Some).ok_or_else(|| self.wrong_type(key, "true or false"))
    }

    /// A whole number from `min` to `max`.
    pub(super) fn integer(&self, key: &'static str, min: u64, max: u64) -> Result<Option<u64>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let number = value.get_ref().as_integer().ok_or_else(|| self.wrong_type(key, "a whole number"))?;
        match i128::from_str_radix(number.as_str(), number.radix()).ok().and_then(|n| u64::try_from(n).ok()) {
            Some(n) if n >= min && n <= max => Ok(Some(n)),
            _ if max == u64::MAX => Err(self.invalid(key, format!("must be {min} or more, not {number}"))),
            _ => Err(self.invalid(key, format!("must be from {min} to {max}, not {number}"))),
        }
    }

    /// A number from `min` to `max`, whole or not.
    pub(super) fn number(&self, key: &'static str, min: f64, max: f64) -> Result<Option<f64>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let number = match value.get_ref() {
            DeValue::Integer(n) => i128::from_str_radix(n.as_str(), n.radix()).ok().map(|n| n as f64),
            DeValue::Float(n) => n.as_str().parse::<f64>().ok(),
            _ => return Err(self.wrong_type(key, "a number")),
        };
        match number {
            Some(n) if n >= min && n <= max => Ok(Some(n)),
            _ if max.is_infinite() => Err(self.invalid(key, format!("must be a number, {min} or more"))),
            _ => Err(self.invalid(key, format!("must be a number from {min} to {max}"))),
        }
    }

    /// Bytes: a whole number, or a text such as "32MiB".
    pub(super) fn size(&self, key: &'static str, min: u64, max: u64) -> Result<Option<u64>> {
        match self.get(key).map(Spanned::get_ref) {
            None | Some(DeValue::Integer(_)) => self.integer(key, min, max),
            Some(DeValue::String(text)) => match parse_size(text) {
                Ok(size) if size >= min && size <= max => Ok(Some(size)),
                Ok(size) => Err(self.invalid(key, format!("must be from {min} to {max} bytes, not {size}"))),
                Err(why) => Err(self.invalid(key, why)),
            },
            Some(_) => Err(self.wrong_type(key, "a size such as \"32MiB\"")),
        }
    }
}
