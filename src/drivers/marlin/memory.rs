//! What a quick restart needs to know of a running print: a small file in the runtime directory.
//!
//! One header (JSON: which job, in which phase, with which settings) and a ring of the last
//! [`RECORDS`] records (which line number stands for which place of the program). A record is written
//! *before* its line goes to the port, so after a sudden death the file knows at least as much as the
//! printer does. The directory is memory-backed: writing costs one system call and no disk.
//!
//! [`load`] trusts nothing: a foreign file, a torn write or a single wrong bit gives either the exact
//! data or nothing; only the header may fall back to the one written before it.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::sorted;

/// Records that are kept; older ones are overwritten.
pub const RECORDS: usize = 64;
/// Longest record, bytes.
pub const RECORD_MAX: usize = RECORD_SIZE - RECORD_HEAD;
/// Longest header, bytes of JSON.
pub const HEADER_MAX: usize = HEADER_SIZE - HEADER_HEAD;

const MAGIC: &[u8; 8] = b"layerdM1";
/// The first page says whose file this is and of which boot of the machine.
const BOOT_ID_MAX: usize = 64;
const PREFACE: usize = 4096;
const HEADER_SIZE: usize = 8192;
/// Check sum, sequence number, epoch, length.
const HEADER_HEAD: usize = 4 + 8 + 4 + 4;
/// A record never crosses a page: the kernel then writes all of it or nothing.
const RECORD_SIZE: usize = 256;
/// Check sum, sequence number, epoch, length.
const RECORD_HEAD: usize = 4 + 8 + 4 + 2;
const RECORDS_AT: usize = PREFACE + 2 * HEADER_SIZE;
const FILE_SIZE: usize = RECORDS_AT + RECORDS * RECORD_SIZE;

/// The file while a job runs.
#[derive(Debug)]
pub struct LineMemory {
    file: File,
    /// Counts jobs: records of an older epoch count for nothing.
    epoch: u32,
    header_seq: u64,
    record_seq: u64,
}

/// What was found after a restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    header: Vec<u8>,
    /// The last records, oldest first.
    pub records: Vec<Vec<u8>>,
    epoch: u32,
    header_seq: u64,
    record_seq: u64,
}

impl Loaded {
    /// The header, if it is of this type.
    pub fn header<H: DeserializeOwned>(&self) -> Option<H> {
        serde_json::from_slice(&self.header).ok()
    }
}

impl LineMemory {
    /// A fresh file with nothing in it.
    pub fn create(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(path)?;
        let mut preface = MAGIC.to_vec();
        preface.extend_from_slice(&boot_id());
        file.set_len(FILE_SIZE as u64)?;
        file.write_all_at(&preface, 0)?;
        Ok(LineMemory {
            file,
            epoch: 0,
            header_seq: 0,
            record_seq: 0,
        })
    }

    /// Goes on with a file that was loaded.
    pub fn go_on(path: &Path, loaded: &Loaded) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        Ok(LineMemory {
            file,
            epoch: loaded.epoch,
            header_seq: loaded.header_seq,
            record_seq: loaded.record_seq,
        })
    }

    /// A job begins: older records no longer count.
    pub fn begin<H: Serialize>(&mut self, header: &H) -> io::Result<()> {
        let json = serde_json::to_vec(header)?;
        self.write_header(self.epoch.wrapping_add(1), &json)
    }

    /// Something about the job has changed; the records stay.
    pub fn set_header<H: Serialize>(&mut self, header: &H) -> io::Result<()> {
        let json = serde_json::to_vec(header)?;
        self.write_header(self.epoch, &json)
    }

    /// The job is over: [`load`] finds nothing.
    pub fn end(&mut self) -> io::Result<()> {
        self.write_header(self.epoch.wrapping_add(1), b"")
    }

    /// Adds a record.
    pub fn push(&mut self, payload: &[u8]) -> io::Result<()> {
        if payload.len() > RECORD_MAX {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let seq = self.record_seq + 1;
        let mut slot = [0u8; RECORD_SIZE];
        let length = payload.len() as u16;
        let parts: [&[u8]; 4] = [
            &seq.to_le_bytes(),
            &self.epoch.to_le_bytes(),
            &length.to_le_bytes(),
            payload,
        ];
        let end = fill(&mut slot, &parts);
        let at = RECORDS_AT + slot_of(seq) * RECORD_SIZE;
        self.file
            .write_all_at(slot.get(..end).unwrap_or(&slot), at as u64)?;
        self.record_seq = seq;
        Ok(())
    }

    /// Adds a record as JSON.
    pub fn push_json<T: Serialize>(&mut self, record: &T) -> io::Result<()> {
        self.push(&serde_json::to_vec(record)?)
    }

    fn write_header(&mut self, epoch: u32, json: &[u8]) -> io::Result<()> {
        if json.len() > HEADER_MAX {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let seq = self.header_seq + 1;
        let mut slot = vec![0u8; HEADER_HEAD + json.len()];
        let length = json.len() as u32;
        let parts: [&[u8]; 4] = [
            &seq.to_le_bytes(),
            &epoch.to_le_bytes(),
            &length.to_le_bytes(),
            json,
        ];
        fill(&mut slot, &parts);
        let at = PREFACE + (seq % 2) as usize * HEADER_SIZE;
        self.file.write_all_at(&slot, at as u64)?;
        self.header_seq = seq;
        self.epoch = epoch;
        Ok(())
    }
}

/// Puts the parts behind a check sum of them; the answer is where they end.
fn fill(slot: &mut [u8], parts: &[&[u8]]) -> usize {
    let mut at = 4;
    for part in parts {
        if let Some(place) = slot.get_mut(at..at + part.len()) {
            place.copy_from_slice(part);
        }
        at += part.len();
    }
    let sum = crc32(slot.get(4..at).unwrap_or_default());
    if let Some(place) = slot.get_mut(..4) {
        place.copy_from_slice(&sum.to_le_bytes());
    }
    at
}

fn slot_of(seq: u64) -> usize {
    (seq % RECORDS as u64) as usize
}

/// What the last run left; `None` when there is no running job or anything in it is doubtful.
pub fn load(path: &Path) -> Option<Loaded> {
    let file = File::open(path).ok()?;
    if file.metadata().ok()?.len() != FILE_SIZE as u64 {
        return None;
    }
    let mut bytes = vec![0u8; FILE_SIZE];
    file.read_exact_at(&mut bytes, 0).ok()?;
    let mut preface = MAGIC.to_vec();
    preface.extend_from_slice(&boot_id());
    if bytes.get(..preface.len())? != preface {
        return None;
    }
    let header = [0, 1]
        .iter()
        .filter_map(|n| {
            let at = PREFACE + n * HEADER_SIZE;
            parse_header(bytes.get(at..at + HEADER_SIZE)?)
        })
        .max_by_key(|header| header.seq)?;
    if header.payload.is_empty() {
        return None;
    }
    let mut records = Vec::new();
    for n in 0..RECORDS {
        let at = RECORDS_AT + n * RECORD_SIZE;
        let slot = bytes.get(at..at + RECORD_SIZE)?;
        match parse_record(slot) {
            Some(record) if slot_of(record.seq) == n => records.push(record),
            Some(_) => return None,
            None if slot.iter().all(|byte| *byte == 0) => {}
            None => return None,
        }
    }
    sorted::by_key(&mut records, |record| record.seq);
    let record_seq = records.last().map_or(0, |record| record.seq);
    // The ring holds the last ones without a gap, from the very first one as long as it is not full.
    let first = record_seq.saturating_sub(RECORDS as u64) + 1;
    if !records.iter().map(|record| record.seq).eq(first..=record_seq) {
        return None;
    }
    Some(Loaded {
        header: header.payload,
        records: records
            .into_iter()
            .filter(|record| record.epoch == header.epoch)
            .map(|record| record.payload)
            .collect(),
        epoch: header.epoch,
        header_seq: header.seq,
        record_seq,
    })
}

#[derive(Debug)]
struct Slot {
    seq: u64,
    epoch: u32,
    payload: Vec<u8>,
}

fn parse_header(slot: &[u8]) -> Option<Slot> {
    let length = u32::from_le_bytes(slot.get(16..20)?.try_into().ok()?) as usize;
    parse(slot, HEADER_HEAD, length)
}

fn parse_record(slot: &[u8]) -> Option<Slot> {
    let length = u16::from_le_bytes(slot.get(16..18)?.try_into().ok()?) as usize;
    parse(slot, RECORD_HEAD, length)
}

fn parse(slot: &[u8], head: usize, length: usize) -> Option<Slot> {
    let payload = slot.get(head..head.checked_add(length)?)?;
    let sum = u32::from_le_bytes(slot.get(..4)?.try_into().ok()?);
    let seq = u64::from_le_bytes(slot.get(4..12)?.try_into().ok()?);
    let epoch = u32::from_le_bytes(slot.get(12..16)?.try_into().ok()?);
    (seq != 0 && crc32(slot.get(4..head + length)?) == sum).then(|| Slot {
        seq,
        epoch,
        payload: payload.to_vec(),
    })
}

/// The file is worth nothing after a reboot, even where the directory is on a disk.
fn boot_id() -> Vec<u8> {
    let mut id = std::fs::read("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    id.resize(BOOT_ID_MAX, 0);
    id
}

const CRC_TABLE: [u32; 256] = crc_table();

// Evaluated by the compiler, which would refuse an index outside.
#[allow(clippy::indexing_slicing)]
const fn crc_table() -> [u32; 256] {
    let mut table = [0u32; 256];
    let mut n = 0;
    while n < 256 {
        let mut value = n as u32;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 1 {
                0xedb8_8320 ^ (value >> 1)
            } else {
                value >> 1
            };
            bit += 1;
        }
        table[n] = value;
        n += 1;
    }
    table
}

/// CRC-32 as in zip files.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |sum, byte| {
        let index = (sum ^ u32::from(*byte)) & 0xff;
        // The mask keeps the index inside the table.
        CRC_TABLE.get(index as usize).copied().unwrap_or_default() ^ (sum >> 8)
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;

    use super::*;

    fn record(n: usize) -> Vec<u8> {
        format!("line {n} {}", "x".repeat(n % 120)).into_bytes()
    }

    fn written(path: &Path, records: usize) -> LineMemory {
        let mut memory = LineMemory::create(path).expect("a file");
        memory.begin(&"an older job").expect("written");
        memory.push(b"of the older job").expect("written");
        memory.begin(&("job", 1)).expect("written");
        for n in 0..records {
            memory.push(&record(n)).expect("written");
        }
        memory
    }

    #[test]
    fn the_check_sum_is_the_common_one() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn the_last_records_of_the_job_come_back() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("memory");
        for count in [0, 1, 62, 63, 64, 65, 1000] {
            written(&path, count);
            let loaded = load(&path).expect("data");
            assert_eq!(loaded.header::<(String, u8)>(), Some(("job".to_owned(), 1)));
            assert_eq!(loaded.header::<u8>(), None);
            let expected: Vec<_> = (count.saturating_sub(RECORDS)..count).map(record).collect();
            assert_eq!(loaded.records, expected);
        }
    }

    #[test]
    fn a_second_run_goes_on_where_the_first_ended() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("memory");
        written(&path, 70);
        let loaded = load(&path).expect("data");
        let mut memory = LineMemory::go_on(&path, &loaded).expect("a file");
        memory.set_header(&("job", 2)).expect("written");
        memory.push(&record(70)).expect("written");
        let loaded = load(&path).expect("data");
        assert_eq!(loaded.header::<(String, u8)>(), Some(("job".to_owned(), 2)));
        assert_eq!(loaded.records, (7..71).map(record).collect::<Vec<_>>());
        memory.end().expect("written");
        assert_eq!(load(&path), None);
    }

    #[test]
    fn foreign_and_missing_files_give_nothing() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("memory");
        assert_eq!(load(&path), None);
        fs::write(&path, "hello").expect("written");
        assert_eq!(load(&path), None);
        fs::write(&path, vec![0; FILE_SIZE]).expect("written");
        assert_eq!(load(&path), None);
        assert_eq!(load(dir.path()), None);
        let mut memory = LineMemory::create(&path).expect("a file");
        assert_eq!(load(&path), None);
        assert!(memory.push(&[0; RECORD_MAX + 1]).is_err());
        assert!(memory.begin(&"x".repeat(HEADER_MAX)).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn a_changed_byte_gives_the_exact_records_or_nothing(
            count in 0usize..150,
            at in 0usize..FILE_SIZE,
            change in 1u8..,
        ) {
            let dir = tempfile::tempdir().expect("a directory");
            let path = dir.path().join("memory");
            written(&path, count);
            let good = load(&path).expect("data");
            let mut bytes = fs::read(&path).expect("readable");
            bytes[at] ^= change;
            fs::write(&path, bytes).expect("written");
            if let Some(loaded) = load(&path)
                && loaded.header == good.header
            {
                prop_assert_eq!(loaded.records, good.records);
            }
        }

        #[test]
        fn a_short_file_gives_nothing(count in 0usize..150, length in 0usize..FILE_SIZE) {
            let dir = tempfile::tempdir().expect("a directory");
            let path = dir.path().join("memory");
            written(&path, count);
            let file = OpenOptions::new().write(true).open(&path).expect("writable");
            file.set_len(length as u64).expect("cut");
            prop_assert_eq!(load(&path), None);
        }

        #[test]
        fn a_torn_header_falls_back_to_the_one_before(cut in 0usize..40) {
            let dir = tempfile::tempdir().expect("a directory");
            let path = dir.path().join("memory");
            let mut memory = written(&path, 3);
            let before = fs::read(&path).expect("readable");
            memory.set_header(&("job", 2)).expect("written");
            let after = fs::read(&path).expect("readable");
            let changed: Vec<usize> = (0..FILE_SIZE).filter(|n| before[*n] != after[*n]).collect();
            let mut torn = before.clone();
            for n in changed.iter().take(cut) {
                torn[*n] = after[*n];
            }
            fs::write(&path, torn).expect("written");
            let loaded = load(&path).expect("one of both");
            let complete = cut >= changed.len();
            prop_assert_eq!(loaded.header::<(String, u8)>(), Some(("job".to_owned(), 1 + u8::from(complete))));
            prop_assert_eq!(loaded.records.len(), 3);
        }
    }
}
