//! Packs the files of the page, which go over the wire packed: the program holds them only in that form.

use std::env;
use std::error::Error;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;

const PAGE: &str = "src/api/page";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed={PAGE}");
    let out = env::var_os("OUT_DIR").ok_or("cargo names no OUT_DIR")?;
    for entry in fs::read_dir(PAGE)? {
        let path = entry?.path();
        let mut name = OsString::from(path.file_name().unwrap_or_default());
        name.push(".gz");
        // No name and no time go into it: the same bytes on every machine.
        let mut packed = GzEncoder::new(File::create(Path::new(&out).join(name))?, Compression::best());
        packed.write_all(&fs::read(&path)?)?;
        packed.finish()?;
    }
    Ok(())
}
