//! Prusa's binary G-code: a header and a row of blocks.
//!
//! Layout (libbgcode's specification, checked on files): header `GCDE`, u32 version, u16 checksum
//! type; block: u16 type, u16 compression, u32 size, u32 packed size if compressed, parameters,
//! data, CRC-32 over all of it.

use std::io::Read;

use flate2::read::ZlibDecoder;

use super::meatpack::MeatPack;
use super::{ContainerError, MAX_DECODED, heatshrink};

/// Largest G-code or metadata block, unpacked or packed.
const MAX_BLOCK: u32 = 1 << 20;
/// Largest picture.
const MAX_PICTURE: u32 = 16 << 20;

/// What is found in a file.
pub trait Sink {
    /// A key and value of a metadata block.
    fn metadata(&mut self, key: &[u8], value: &[u8]);
    /// A picture and where its bytes lie in the file.
    fn picture(&mut self, format: &'static str, width: u16, height: u16, offset: u64, bytes: u32);
    /// Text of the program.
    fn gcode(&mut self, text: &[u8]);
}

struct Input<R> {
    read: R,
    crc: crc32fast::Hasher,
    offset: u64,
}

impl<R: Read> Input<R> {
    fn exact(&mut self, buffer: &mut [u8], what: &'static str) -> Result<(), ContainerError> {
        self.read.read_exact(buffer).map_err(|error| match error.kind() {
            std::io::ErrorKind::UnexpectedEof => ContainerError::Truncated(what),
            _ => ContainerError::Read(error),
        })?;
        self.crc.update(buffer);
        self.offset += buffer.len() as u64;
        Ok(())
    }

    fn u16(&mut self, what: &'static str) -> Result<u16, ContainerError> {
        let mut bytes = [0; 2];
        self.exact(&mut bytes, what)?;
        Ok(u16::from_le_bytes(bytes))
    }

    fn u32(&mut self, what: &'static str) -> Result<u32, ContainerError> {
        let mut bytes = [0; 4];
        self.exact(&mut bytes, what)?;
        Ok(u32::from_le_bytes(bytes))
    }

    /// One byte, or the end of the file.
    fn first(&mut self) -> Result<Option<u8>, ContainerError> {
        let mut byte = [0; 1];
        loop {
            match self.read.read(&mut byte) {
                Ok(0) => return Ok(None),
                Ok(_) => {
                    self.crc.update(&byte);
                    self.offset += 1;
                    let [byte] = byte;
                    return Ok(Some(byte));
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Reads a whole file. `file_len` bounds what a block may claim.
pub fn read(input: impl Read, file_len: u64, sink: &mut impl Sink) -> Result<(), ContainerError> {
    let mut input = Input {
        read: input,
        crc: crc32fast::Hasher::new(),
        offset: 0,
    };
    let mut magic = [0; 4];
    input.exact(&mut magic, "no header")?;
    if &magic != b"GCDE" {
        return Err(ContainerError::Damaged("it does not begin with GCDE".to_owned()));
    }
    let version = input.u32("no version")?;
    if version != 1 {
        return Err(ContainerError::Damaged(format!(
            "version {version} of binary G-code is not known"
        )));
    }
    let checksum = match input.u16("no checksum type")? {
        0 => false,
        1 => true,
        other => {
            return Err(ContainerError::Damaged(format!(
                "checksum type {other} is not known"
            )));
        }
    };
    let (mut programs, mut decoded) = (0u32, 0u64);
    loop {
        input.crc = crc32fast::Hasher::new();
        let start = input.offset;
        let Some(low) = input.first()? else { break };
        let mut high = [0; 1];
        input.exact(&mut high, "in a block header")?;
        let [high] = high;
        let kind = u16::from_le_bytes([low, high]);
        block(&mut input, kind, start, file_len, checksum, sink, &mut decoded)?;
        programs += u32::from(kind == 1);
    }
    if programs == 0 {
        return Err(ContainerError::Nothing("there is no G-code in this file"));
    }
    Ok(())
}

fn block<R: Read>(
    input: &mut Input<R>,
    kind: u16,
    start: u64,
    file_len: u64,
    checksum: bool,
    sink: &mut impl Sink,
    decoded: &mut u64,
) -> Result<(), ContainerError> {
    let compression = input.u16("in a block header")?;
    let size = input.u32("in a block header")?;
    let packed = if compression == 0 {
        size
    } else {
        input.u32("in a block header")?
    };
    let limit = if kind == 5 { MAX_PICTURE } else { MAX_BLOCK };
    if size > limit || packed > limit {
        return Err(ContainerError::Hostile(format!(
            "the block at byte {start} claims {size} bytes"
        )));
    }
    if input.offset + u64::from(packed) > file_len {
        return Err(ContainerError::Truncated(
            "a block is longer than what is left of the file",
        ));
    }
    match kind {
        5 => {
            let format = match input.u16("in a picture")? {
                0 => "png",
                1 => "jpg",
                2 => "qoi",
                _ => "unknown",
            };
            let (width, height) = (input.u16("in a picture")?, input.u16("in a picture")?);
            // No slicer packs a picture once more.
            if compression == 0 {
                sink.picture(format, width, height, input.offset, packed);
            }
            skip(input, packed)?;
        }
        0..=4 => {
            let encoding = input.u16("in a block header")?;
            let mut data = vec![0; packed as usize];
            input.exact(&mut data, "in a block")?;
            let data = unpack(data, compression, size, start)?;
            if kind == 1 {
                *decoded += program(&data, encoding, start, sink)?;
                if *decoded > MAX_DECODED {
                    return Err(ContainerError::Hostile("it unpacks to more than 8 GB".to_owned()));
                }
            } else {
                for line in data.split(|b| *b == b'\n') {
                    if let Some(at) = memchr::memchr(b'=', line) {
                        let (key, value) = line.split_at(at);
                        sink.metadata(key, value.get(1..).unwrap_or_default());
                    }
                }
            }
        }
        other => {
            return Err(ContainerError::Damaged(format!(
                "the block at byte {start} is of unknown type {other}"
            )));
        }
    }
    if checksum {
        let sum = input.crc.clone().finalize();
        if input.u32("in a checksum")? != sum {
            return Err(ContainerError::Damaged(format!(
                "the checksum of the block at byte {start} does not fit"
            )));
        }
    }
    Ok(())
}

fn skip<R: Read>(input: &mut Input<R>, len: u32) -> Result<(), ContainerError> {
    let mut buffer = [0; 4096];
    let mut left = len as usize;
    while left > 0 {
        let want = left.min(buffer.len());
        input.exact(buffer.get_mut(..want).unwrap_or_default(), "in a picture")?;
        left -= want;
    }
    Ok(())
}

fn unpack(data: Vec<u8>, compression: u16, size: u32, start: u64) -> Result<Vec<u8>, ContainerError> {
    let size = size as usize;
    let damaged = || ContainerError::Damaged(format!("the block at byte {start} does not unpack"));
    match compression {
        0 => Ok(data),
        1 => {
            let mut out = Vec::with_capacity(size);
            let mut decoder = ZlibDecoder::new(data.as_slice()).take(size as u64 + 1);
            decoder.read_to_end(&mut out).map_err(|_| damaged())?;
            (out.len() == size).then_some(out).ok_or_else(damaged)
        }
        2 => heatshrink::unpack(&data, 11, 4, size).ok_or_else(damaged),
        3 => heatshrink::unpack(&data, 12, 4, size).ok_or_else(damaged),
        other => Err(ContainerError::Damaged(format!(
            "the block at byte {start} uses unknown compression {other}"
        ))),
    }
}

fn program(data: &[u8], encoding: u16, start: u64, sink: &mut impl Sink) -> Result<u64, ContainerError> {
    match encoding {
        0 => {
            sink.gcode(data);
            Ok(data.len() as u64)
        }
        1 | 2 => {
            // Each block starts anew.
            let mut pack = MeatPack::default();
            let mut text = Vec::with_capacity(data.len() * 2);
            pack.push(data, &mut text);
            sink.gcode(&text);
            Ok(text.len() as u64)
        }
        other => Err(ContainerError::Damaged(format!(
            "the block at byte {start} uses unknown encoding {other}"
        ))),
    }
}
