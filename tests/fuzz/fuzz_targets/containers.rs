//! Any bytes are a container or are refused, in bounded memory.
#![no_main]

use std::io::Cursor;

use layerd_fuzz::gcode::analyze::{Analyzer, Options};
use layerd_fuzz::gcode::container::meatpack::MeatPack;
use layerd_fuzz::gcode::container::{bgcode, gx, gzip, heatshrink, threemf};

struct Sink(Analyzer);

impl bgcode::Sink for Sink {
    fn metadata(&mut self, key: &[u8], value: &[u8]) {
        self.0.fact(&String::from_utf8_lossy(key), &String::from_utf8_lossy(value));
    }
    fn picture(&mut self, _: &'static str, _: u16, _: u16, _: u64, _: u32) {}
    fn gcode(&mut self, text: &[u8]) {
        self.0.push(text);
    }
}

fn analyzer() -> Analyzer {
    Analyzer::new(Options { time_model: false, hash: false, ..Options::default() })
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((&kind, rest)) = data.split_first() else { return };
    match kind % 6 {
        0 => {
            let mut sink = Sink(analyzer());
            let _ = bgcode::read(rest, rest.len() as u64, &mut sink);
            sink.0.finish();
        }
        1 => {
            let mut all = analyzer();
            let _ = threemf::read(&mut Cursor::new(rest), None, &mut |chunk| all.push(chunk));
        }
        2 => {
            let mut bytes = 0;
            let _ = gzip::read(rest, rest.len() as u64, &mut |chunk| bytes += chunk.len());
        }
        3 => {
            let unpacked = heatshrink::unpack(rest, 12, 4, 60_000);
            assert!(unpacked.is_none_or(|u| u.len() == 60_000));
        }
        4 => {
            let mut out = Vec::new();
            MeatPack::default().push(rest, &mut out);
            assert!(out.len() <= rest.len() * 2);
        }
        _ => {
            let mut input = rest;
            if let Ok(header) = gx::read_header(&mut input, rest.len() as u64) {
                assert_eq!(header.program as usize + input.len(), rest.len());
            }
        }
    }
});
