//! What a reader holds, read in every way there is, compared with what it must hold.

use kv_api::{Direction, KeyRange, KvRead, Result, Scan, ScanOptions};

use crate::map::Map;

/// Everything a reader holds, by a forward scan.
///
/// # Errors
/// Those of the reader.
pub fn contents(reader: &(impl KvRead + ?Sized)) -> Result<Map> {
    let mut found = Map::new();
    let mut scan = reader.scan(KeyRange::ALL, ScanOptions::FORWARD)?;
    while let Some(entry) = scan.next()? {
        if let Some((last, _)) = found.last_key_value() {
            assert!(last.as_slice() < entry.key, "a scan went from {last:x?} to {:x?}", entry.key);
        }
        found.insert(entry.key.to_vec(), entry.value.to_vec());
    }
    Ok(found)
}

/// True if a forward scan gives exactly `expected`. Builds nothing, unlike [`contents`].
///
/// # Errors
/// Those of the reader.
pub fn is(reader: &(impl KvRead + ?Sized), expected: &Map) -> Result<bool> {
    let mut scan = reader.scan(KeyRange::ALL, ScanOptions::FORWARD)?;
    for (key, value) in expected {
        match scan.next()? {
            Some(entry) if entry.key == key && entry.value == value => {}
            _ => return Ok(false),
        }
    }
    Ok(scan.next()?.is_none())
}

/// The entries of one scan from where it stands, in its order.
///
/// # Errors
/// Those of the scan.
pub fn rest(scan: &mut dyn Scan) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut found = Vec::new();
    while let Some(entry) = scan.next()? {
        found.push((entry.key.to_vec(), entry.value.to_vec()));
    }
    Ok(found)
}

/// The keys of one scan from where it stands, in its order.
///
/// # Errors
/// Those of the scan.
pub fn keys(scan: &mut dyn Scan) -> Result<Vec<Vec<u8>>> {
    Ok(rest(scan)?.into_iter().map(|(key, _)| key).collect())
}

/// Stops the test unless `reader` holds exactly `expected`: by scans both ways, by gets of what is there and of
/// keys close by that are not.
///
/// # Errors
/// Those of the reader.
pub fn holds(reader: &(impl KvRead + ?Sized), expected: &Map, context: &str) -> Result<()> {
    for direction in [Direction::Forward, Direction::Reverse] {
        let mut scan = reader.scan(KeyRange::ALL, ScanOptions { direction })?;
        let found = rest(&mut *scan)?;
        let mut wanted: Vec<_> = expected.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
        if direction == Direction::Reverse {
            wanted.reverse();
        }
        if let Some(at) = first_difference(&found, &wanted) {
            let found_keys: Map = found.iter().cloned().collect();
            let missing = expected.iter().find(|(key, _)| !found_keys.contains_key(*key));
            let extra = found.iter().find(|(key, _)| !expected.contains_key(key));
            let missing = missing.map(|(key, value)| (key.clone(), value.clone()));
            panic!(
                "{context}: a {direction:?} scan differs at entry {at}: found {}, expected {} ({} and {} entries); \
                 first one missing: {}, which get gives as {}; first one too many: {}, which get gives as {}",
                show(found.get(at)),
                show(wanted.get(at)),
                found.len(),
                wanted.len(),
                show(missing.as_ref()),
                got(reader, missing.as_ref()),
                show(extra),
                got(reader, extra),
            );
        }
    }
    for (key, value) in expected {
        let found = reader.get(key)?;
        let same = found.as_deref() == Some(value.as_slice());
        assert!(same, "{context}: get {key:x?} gives {found:x?}, expected {value:x?}");
        let mut absent = key.clone();
        absent.push(0);
        if !expected.contains_key(&absent) && absent.len() < 60 {
            let found = reader.get(&absent)?;
            assert!(found.is_none(), "{context}: get {absent:x?} gives {found:x?}, but no such key was put");
        }
    }
    Ok(())
}

fn first_difference<T: PartialEq>(left: &[T], right: &[T]) -> Option<usize> {
    (0..left.len().max(right.len())).find(|&at| left.get(at) != right.get(at))
}

/// What a get of the same key says: it tells a wrong scan from wrong contents.
fn got(reader: &(impl KvRead + ?Sized), entry: Option<&(Vec<u8>, Vec<u8>)>) -> String {
    let Some((key, _)) = entry else { return "nothing".to_owned() };
    match reader.get(key) {
        Ok(None) => "absent".to_owned(),
        Ok(Some(value)) => format!("{} bytes", value.len()),
        Err(error) => error.to_string(),
    }
}

fn show(entry: Option<&(Vec<u8>, Vec<u8>)>) -> String {
    match entry {
        None => "the end".to_owned(),
        Some((key, value)) => {
            format!(
                "{} = {} bytes {}",
                key.escape_ascii(),
                value.len(),
                value[..value.len().min(16)].escape_ascii()
            )
        }
    }
}
