//! The identity of a database: file `KVLAB`, written last when a database is created and never changed.
//!
//! | magic: 8 | layout: u32 | body_len: u32 | body: body_len bytes | crc: u32 |
//! 0          8             12              16                     16+body_len
//!
//! body = uuid: 16 | salt: u64 | format_version: u32 | keyspace: u8 | engine: text | count: varint | pairs
//! pair = name: text | value: text          text = length: varint, printable ASCII
//!
//! Integers are little-endian. The crc covers everything before it. Magic, body_len and crc keep their places in
//! every layout, so damage is told from a newer layout. While a database is being created the same bytes stand
//! in `KVLAB.new`; the rename to `KVLAB` is the moment it exists.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::as_conversions))]

use std::io::IoSlice;
use std::path::Path;

use kv_api::{Cause, Error, Keyspace, Result};

use crate::checksum::{FileSum, mismatch};
use crate::codec::{Put, Reader};
use crate::env::Env;
use crate::layout::{IDENTITY_FILE, IDENTITY_NEW_FILE};
use crate::vfs::{OpenOptions, Vfs, read_range};

const MAGIC: [u8; 8] = *b"KVLABDB\n";
/// The version of the picture above. Engines count the versions of their own formats.
const LAYOUT: u32 = 1;
const HEAD_LEN: usize = 16;
const CRC_LEN: usize = 4;
/// Far more than any engine needs; a longer file is no identity.
const FILE_LEN_MAX: u64 = 64 << 10;

const _: () =
    assert!(MAGIC.len() + 2 * size_of::<u32>() == HEAD_LEN, "magic, layout and body_len fill the head");

/// What a database is, fixed when it is created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The engine that wrote it.
    pub engine: String,
    /// The version of that engine's formats.
    pub format_version: u32,
    /// Tells databases apart, copies included only as far as they were never written again.
    pub uuid: [u8; 16],
    /// Seeds every checksum of the database.
    pub salt: u64,
    /// What the keys are.
    pub keyspace: Keyspace,
    /// Options that cannot change later, by name: a page size.
    pub fixed: Vec<(String, String)>,
}

impl Identity {
    /// A new identity with a random uuid and salt; nothing is written.
    pub fn new(
        env: &Env,
        engine: &str,
        format_version: u32,
        keyspace: Keyspace,
        fixed: Vec<(String, String)>,
    ) -> Identity {
        let mut uuid = [0; 16];
        for half in uuid.chunks_exact_mut(8) {
            half.copy_from_slice(&env.random().to_le_bytes());
        }
        Identity { engine: engine.to_owned(), format_version, uuid, salt: env.random(), keyspace, fixed }
    }

    /// Creates the identity of a new database in `dir` in one go: [`Identity::begin`], [`Identity::commit`].
    ///
    /// # Errors
    /// `Io` or `NoSpace`.
    pub fn create(
        env: &Env,
        dir: &Path,
        engine: &str,
        format_version: u32,
        keyspace: Keyspace,
        fixed: Vec<(String, String)>,
    ) -> Result<Identity> {
        let identity = Identity::new(env, engine, format_version, keyspace, fixed);
        identity.begin(&*env.vfs, dir)?;
        identity.commit(&*env.vfs, dir)?;
        Ok(identity)
    }

    /// Reads the identity of the database in `dir`; `None` if there is none.
    ///
    /// # Errors
    /// `Corruption` if the file is not what was written, `FormatVersion` if a newer build wrote it, `Io`.
    pub fn load(vfs: &dyn Vfs, dir: &Path) -> Result<Option<Identity>> {
        if !vfs.list(dir, Cause::Identity)?.iter().any(|entry| entry.name == IDENTITY_FILE) {
            return Ok(None);
        }
        let path = dir.join(IDENTITY_FILE);
        let file = vfs.open(&path, OpenOptions::READ, Cause::Identity)?;
        let len = file.len()?;
        if len > FILE_LEN_MAX {
            let what = format!("it has {len} bytes, an identity has at most {FILE_LEN_MAX}");
            return Err(Error::corruption(&path, 0, what));
        }
        // The length is below the bound just checked.
        let bytes = read_range(&*file, 0, usize::try_from(len).unwrap_or(0), Cause::Identity)?;
        Self::decode(&path, &bytes).map(Some)
    }

    /// The first step of a creation: writes and syncs `KVLAB.new`. From here to [`Identity::commit`] the numbered
    /// files in `dir` belong to a creation that has not finished.
    ///
    /// # Errors
    /// `Io` or `NoSpace`.
    pub fn begin(&self, vfs: &dyn Vfs, dir: &Path) -> Result<()> {
        let path = dir.join(IDENTITY_NEW_FILE);
        let stale = vfs.list(dir, Cause::Identity)?.iter().any(|entry| entry.name == IDENTITY_NEW_FILE);
        // What a creation left behind is overwritten in place, so that the name never goes away meanwhile.
        let options = if stale { OpenOptions::WRITE } else { OpenOptions::NEW };
        let file = vfs.open(&path, options, Cause::Identity)?;
        if stale {
            file.set_len(0, Cause::Identity)?;
        }
        file.write_at(0, &[IoSlice::new(&self.encode())], Cause::Identity)?;
        file.sync_all(Cause::Identity)?;
        vfs.sync_dir(dir, Cause::Identity)
    }

    /// The last step of a creation: the rename that makes the database exist, and its sync.
    ///
    /// # Errors
    /// `Io` or `NoSpace`; the database may exist all the same.
    pub fn commit(&self, vfs: &dyn Vfs, dir: &Path) -> Result<()> {
        vfs.rename(&dir.join(IDENTITY_NEW_FILE), &dir.join(IDENTITY_FILE), Cause::Identity)?;
        vfs.sync_dir(dir, Cause::Identity)
    }

    /// Refuses a database of another engine, another format or another keyspace. `dir` is for the message.
    ///
    /// # Errors
    /// `WrongEngine`, `FormatVersion`, `InvalidOptions`.
    pub fn check(&self, dir: &Path, engine: &str, format_version: u32, keyspace: Keyspace) -> Result<()> {
        if self.engine != engine {
            let (found, expected) = (self.engine.clone(), engine.to_owned());
            return Err(Error::WrongEngine { path: dir.to_path_buf(), found, expected });
        }
        if self.format_version != format_version {
            return Err(Error::FormatVersion {
                path: dir.join(IDENTITY_FILE),
                found: self.format_version,
                supported: format_version,
            });
        }
        if self.keyspace != keyspace {
            let reason = format!("the database was created with `{}`; open it with that", self.keyspace);
            return Err(Error::invalid("keyspace", reason));
        }
        Ok(())
    }

    /// The fixed option of that name.
    pub fn fixed(&self, name: &str) -> Option<&str> {
        self.fixed.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    fn encode(&self) -> Vec<u8> {
        let mut body = Vec::new();
        let keyspace = match self.keyspace {
            Keyspace::Raw => 0,
            Keyspace::Tables => 1,
        };
        body.put_bytes(&self.uuid).put_u64(self.salt).put_u32(self.format_version).put_u8(keyspace);
        body.put_prefixed(self.engine.as_bytes());
        body.put_varint(u64::try_from(self.fixed.len()).unwrap_or(u64::MAX));
        for (name, value) in &self.fixed {
            body.put_prefixed(name.as_bytes()).put_prefixed(value.as_bytes());
        }
        let mut bytes = MAGIC.to_vec();
        // A body that needs more than 32 bits is refused by `decode` and by the length of the file.
        bytes.put_u32(LAYOUT).put_u32(u32::try_from(body.len()).unwrap_or(u32::MAX)).put_bytes(&body);
        let crc = checksum(&bytes);
        bytes.put_u32(crc);
        bytes
    }

    fn decode(path: &Path, bytes: &[u8]) -> Result<Identity> {
        let damaged = |offset: usize, what: String| {
            Error::corruption(path, u64::try_from(offset).unwrap_or(u64::MAX), what)
        };
        let short = || damaged(0, format!("{} bytes are too few for an identity", bytes.len()));
        let mut head = Reader::new(bytes);
        if head.array() != Some(MAGIC) {
            return Err(damaged(0, "it does not begin like an identity of kvlab".to_owned()));
        }
        let layout = head.u32().ok_or_else(short)?;
        let body_len = head.u32().and_then(|len| usize::try_from(len).ok()).ok_or_else(short)?;
        let body = head.bytes(body_len).ok_or_else(short)?;
        let found = head.u32().ok_or_else(short)?;
        if !head.is_empty() {
            return Err(damaged(HEAD_LEN + body_len + CRC_LEN, "more bytes follow its end".to_owned()));
        }
        let covered = bytes.get(..HEAD_LEN + body_len).ok_or_else(short)?;
        let expected = checksum(covered);
        if found != expected {
            return Err(damaged(HEAD_LEN + body_len, mismatch(found, expected)));
        }
        if layout != LAYOUT {
            return Err(Error::FormatVersion { path: path.to_path_buf(), found: layout, supported: LAYOUT });
        }
        Self::decode_body(body).ok_or_else(|| damaged(HEAD_LEN, "its fields do not parse".to_owned()))
    }

    fn decode_body(body: &[u8]) -> Option<Identity> {
        let mut body = Reader::new(body);
        let (uuid, salt, format_version) = (body.array()?, body.u64()?, body.u32()?);
        let keyspace = match body.u8()? {
            0 => Keyspace::Raw,
            1 => Keyspace::Tables,
            _ => return None,
        };
        let engine = text(&mut body)?;
        let count = body.varint()?;
        let mut fixed = Vec::new();
        for _ in 0..count {
            fixed.push((text(&mut body)?, text(&mut body)?));
        }
        body.is_empty().then_some(Identity { engine, format_version, uuid, salt, keyspace, fixed })
    }
}

/// The salt is inside the file, so the checksum of this one file has a salt of zero.
fn checksum(covered: &[u8]) -> u32 {
    FileSum::new(0, 0).of(0, &[covered])
}

/// Printable ASCII only: a hostile name must not reach a terminal.
fn text(reader: &mut Reader<'_>) -> Option<String> {
    let bytes = reader.prefixed()?;
    let printable = bytes.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ');
    printable.then(|| String::from_utf8_lossy(bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use kv_api::ErrorKind;

    use super::*;

    fn sample() -> Identity {
        Identity {
            engine: "btree".to_owned(),
            format_version: 3,
            uuid: *b"0123456789abcdef",
            salt: 0x1122_3344_5566_7788,
            keyspace: Keyspace::Tables,
            fixed: vec![("page_size".to_owned(), "4096".to_owned())],
        }
    }

    #[test]
    fn the_bytes_are_those_of_the_picture() {
        let golden: Vec<u8> = [
            b"KVLABDB\n".as_slice(),
            &[1, 0, 0, 0],
            &[51, 0, 0, 0],
            b"0123456789abcdef",
            &[0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11],
            &[3, 0, 0, 0],
            &[1],
            b"\x05btree",
            &[1],
            b"\x09page_size\x044096",
            &[205, 79, 178, 35],
        ]
        .concat();
        assert_eq!(sample().encode(), golden);
        assert_eq!(Identity::decode(Path::new("KVLAB"), &golden).unwrap(), sample());
    }

    #[test]
    fn any_changed_byte_and_any_cut_is_damage() {
        let bytes = sample().encode();
        let decode = |bytes: &[u8]| Identity::decode(Path::new("KVLAB"), bytes).map_err(|error| error.kind());
        for at in 0..bytes.len() {
            for flip in [1, 0x80, 0xff] {
                let mut damaged = bytes.clone();
                damaged[at] ^= flip;
                assert_eq!(decode(&damaged), Err(ErrorKind::Corruption), "byte {at} ^ {flip}");
            }
            assert_eq!(decode(&bytes[..at]), Err(ErrorKind::Corruption), "cut at {at}");
        }
        let longer = [bytes.as_slice(), b"x"].concat();
        assert_eq!(decode(&longer), Err(ErrorKind::Corruption));
    }

    #[test]
    fn a_newer_layout_and_a_hostile_body_are_told_apart() {
        let seal = |mut bytes: Vec<u8>| {
            bytes.truncate(bytes.len() - CRC_LEN);
            let crc = checksum(&bytes);
            bytes.put_u32(crc);
            Identity::decode(Path::new("KVLAB"), &bytes).map_err(|error| error.kind())
        };
        let mut newer = sample().encode();
        newer[8] = 2;
        assert_eq!(seal(newer), Err(ErrorKind::FormatVersion));
        let mut engine = sample().encode();
        engine[HEAD_LEN + 30] = 0x1b;
        assert_eq!(seal(engine), Err(ErrorKind::Corruption));
        let mut count = sample().encode();
        count[HEAD_LEN + 35] = 0x7f;
        assert_eq!(seal(count), Err(ErrorKind::Corruption));
    }

    #[test]
    fn a_forged_checksum_never_makes_the_decoder_panic() {
        let good = sample().encode();
        for at in 0..good.len() - CRC_LEN {
            for value in [0, 1, 0x1b, 0x7f, 0x80, 0xff] {
                let mut forged = good[..good.len() - CRC_LEN].to_vec();
                forged[at] = value;
                let crc = checksum(&forged);
                forged.put_u32(crc);
                let decoded = Identity::decode(Path::new("KVLAB"), &forged);
                // What does parse is printable, whatever it says.
                if let Ok(identity) = decoded {
                    assert_eq!(identity.encode(), forged, "byte {at} = {value}");
                    assert!(identity.engine.chars().all(|c| !c.is_control()));
                }
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_refused_by_kind() {
        let check = |engine, version, keyspace| {
            sample().check(Path::new("db"), engine, version, keyspace).map_err(|error| error.kind())
        };
        assert_eq!(check("btree", 3, Keyspace::Tables), Ok(()));
        assert_eq!(check("lsm", 3, Keyspace::Tables), Err(ErrorKind::WrongEngine));
        assert_eq!(check("btree", 4, Keyspace::Tables), Err(ErrorKind::FormatVersion));
        assert_eq!(check("btree", 3, Keyspace::Raw), Err(ErrorKind::InvalidOptions));
        assert_eq!(sample().fixed("page_size"), Some("4096"));
        assert_eq!(sample().fixed("none"), None);
    }
}
