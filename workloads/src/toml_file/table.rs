//! A TOML table read key by key, with the line of everything, so that an error can say where it is.

use std::collections::BTreeMap;

use crate::error::{Problem, SpecError};
use crate::units::parse_size;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The text of a file, which turns byte offsets into lines.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// What errors call it.
    pub file: &'a str,
    /// The whole text.
    pub text: &'a str,
}

impl Source<'_> {
    /// An error at the byte `offset`, if a place is known.
    pub fn error(&self, offset: Option<usize>, problem: Problem) -> SpecError {
        let line =
            offset.map(|offset| 1 + self.text.bytes().take(offset).filter(|byte| *byte == b'\n').count());
        SpecError { file: self.file.to_string(), line, problem }
    }
}

/// One table of a file, checked to hold only keys that its section has.
#[derive(Clone, Copy, Debug)]
pub struct Table<'a> {
    source: Source<'a>,
    section: &'static Section,
    table: &'a DeTable<'a>,
    offset: usize,
}

/// A table of a format: what errors call it, and its keys.
#[derive(Debug)]
pub struct Section {
    /// What errors call it.
    pub name: &'static str,
    /// Every key it may have.
    pub keys: &'static [&'static str],
}

type Value<'a> = Spanned<DeValue<'a>>;
type Result<T> = std::result::Result<T, SpecError>;

impl<'a> Table<'a> {
    /// Checks that `table`, which begins at the byte `offset`, has no other keys than its section.
    ///
    /// # Errors
    /// An unknown key, with the nearest known one.
    pub fn new(
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
    pub fn error(&self, key: &str, problem: Problem) -> SpecError {
        let offset = self.get(key).map_or(self.offset, |value| value.span().start);
        self.source.error(Some(offset), problem)
    }

    /// An error that says why the value of `key` makes no sense.
    pub fn invalid(&self, key: &'static str, why: impl Into<String>) -> SpecError {
        self.error(key, Problem::Invalid { key, why: why.into() })
    }

    /// An error that says what `key` should hold.
    pub fn wrong_type(&self, key: &'static str, expected: &'static str) -> SpecError {
        let found = self.get(key).map_or("nothing", |value| value.get_ref().type_str());
        self.error(key, Problem::WrongType { key, expected, found })
    }

    /// An error that says that `key` must be given.
    pub fn missing(&self, key: &'static str) -> SpecError {
        self.error(key, Problem::Missing { key, section: self.section.name })
    }

    /// The value of `key` as it stands.
    pub fn get(&self, key: &str) -> Option<&'a Value<'a>> {
        self.table.get(key)
    }

    /// The table itself, for readers that walk it.
    pub(super) fn raw(&self) -> (Source<'a>, &'a DeTable<'a>) {
        (self.source, self.table)
    }

    /// The table under `key`, checked against `section`.
    ///
    /// # Errors
    /// A value of another type.
    pub fn table(&self, key: &'static str, section: &'static Section) -> Result<Option<Table<'a>>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let table = value.get_ref().as_table().ok_or_else(|| self.wrong_type(key, "a table"))?;
        Table::new(self.source, section, table, value.span().start).map(Some)
    }

    /// The list of tables under `key`, each checked against `section`.
    ///
    /// # Errors
    /// A value of another type.
    pub fn tables(&self, key: &'static str, section: &'static Section) -> Result<Vec<Table<'a>>> {
        let Some(value) = self.get(key) else { return Ok(Vec::new()) };
        let array = value.get_ref().as_array().ok_or_else(|| self.wrong_type(key, "an array of tables"))?;
        let entry = |value: &'a Value<'a>| {
            let table =
                value.get_ref().as_table().ok_or_else(|| self.wrong_type(key, "an array of tables"))?;
            Table::new(self.source, section, table, value.span().start)
        };
        array.iter().map(entry).collect()
    }

    /// A text.
    ///
    /// # Errors
    /// A value of another type.
    pub fn text(&self, key: &'static str) -> Result<Option<&'a str>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        value.get_ref().as_str().map(Some).ok_or_else(|| self.wrong_type(key, "a text in quotes"))
    }

    /// A list of texts; empty without the key.
    ///
    /// # Errors
    /// A value of another type.
    pub fn texts(&self, key: &'static str) -> Result<Vec<String>> {
        let Some(value) = self.get(key) else { return Ok(Vec::new()) };
        let wrong = || self.wrong_type(key, "a list of texts in quotes");
        let array = value.get_ref().as_array().ok_or_else(wrong)?;
        array.iter().map(|text| text.get_ref().as_str().map(String::from).ok_or_else(wrong)).collect()
    }

    /// A table of texts whose keys are the user's own.
    ///
    /// # Errors
    /// A value that is no text.
    pub fn free_texts(&self, key: &'static str) -> Result<BTreeMap<String, String>> {
        let Some(value) = self.get(key) else { return Ok(BTreeMap::new()) };
        let wrong = || self.wrong_type(key, "a table of texts in quotes");
        let table = value.get_ref().as_table().ok_or_else(wrong)?;
        let entry = |(name, text): (&Spanned<std::borrow::Cow<'_, str>>, &Value<'_>)| {
            let text = text.get_ref().as_str().ok_or_else(wrong)?;
            Ok((name.get_ref().to_string(), text.to_string()))
        };
        table.iter().map(entry).collect()
    }

    /// A table whose keys are the user's own, each with a text or a list of texts.
    ///
    /// # Errors
    /// A value that is neither.
    pub fn free_lists(&self, key: &'static str) -> Result<BTreeMap<String, Vec<String>>> {
        let Some(value) = self.get(key) else { return Ok(BTreeMap::new()) };
        let wrong = || self.wrong_type(key, "a table of texts, or lists of texts, in quotes");
        let table = value.get_ref().as_table().ok_or_else(wrong)?;
        let texts = |value: &Value<'_>| match value.get_ref() {
            DeValue::String(text) => Ok(vec![text.to_string()]),
            DeValue::Array(list) => {
                list.iter().map(|text| text.get_ref().as_str().map(String::from).ok_or_else(wrong)).collect()
            }
            _ => Err(wrong()),
        };
        table.iter().map(|(name, value)| Ok((name.get_ref().to_string(), texts(value)?))).collect()
    }

    /// An error that says which words `key` takes, and which of them is nearest to `word`.
    pub fn unknown_word(&self, key: &'static str, word: &str, known: &'static [&'static str]) -> SpecError {
        self.error(key, Problem::UnknownWord { key, word: word.to_string(), known })
    }

    /// A word out of a list of words, each with what it stands for.
    ///
    /// # Errors
    /// Another word, with the nearest one.
    pub fn word<T: Copy>(
        &self,
        key: &'static str,
        words: &'static [&'static str],
        values: &[T],
    ) -> Result<Option<T>> {
        let Some(word) = self.text(key)? else { return Ok(None) };
        let found = words.iter().zip(values).find(|(name, _)| **name == word).map(|(_, value)| *value);
        found.map(Some).ok_or_else(|| self.unknown_word(key, word, words))
    }

    /// True or false.
    ///
    /// # Errors
    /// A value of another type.
    pub fn flag(&self, key: &'static str) -> Result<Option<bool>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        value.get_ref().as_bool().map(Some).ok_or_else(|| self.wrong_type(key, "true or false"))
    }

    /// A whole number from `min` to `max`.
    ///
    /// # Errors
    /// No whole number, or one outside.
    pub fn integer(&self, key: &'static str, min: u64, max: u64) -> Result<Option<u64>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let number = value.get_ref().as_integer().ok_or_else(|| self.wrong_type(key, "a whole number"))?;
        match i128::from_str_radix(number.as_str(), number.radix()).ok().and_then(|n| u64::try_from(n).ok()) {
            Some(n) if n >= min && n <= max => Ok(Some(n)),
            _ if max == u64::MAX => Err(self.invalid(key, format!("must be {min} or more, not {number}"))),
            _ => Err(self.invalid(key, format!("must be from {min} to {max}, not {number}"))),
        }
    }

    /// A number from `min` to `max`, whole or not.
    ///
    /// # Errors
    /// No number, or one outside.
    pub fn number(&self, key: &'static str, min: f64, max: f64) -> Result<Option<f64>> {
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
    ///
    /// # Errors
    /// No size, or one outside.
    pub fn size(&self, key: &'static str, min: u64, max: u64) -> Result<Option<u64>> {
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
