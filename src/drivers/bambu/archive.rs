//! The file of a start as the printer wants it: a sliced project as it is, plain G-code wrapped into
//! the smallest project that a printer takes. Blocking: runs beside the session.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::ams::Wanted;
use super::faults;
use super::orders::remote_name;
use crate::gcode::container::threemf;
use crate::printer::command::Program;
use crate::printer::fault::Fault;

/// A file ready to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ready {
    /// Where it lies here.
    pub path: PathBuf,
    /// Bytes.
    pub size: u64,
    /// Its name at the printer: plain letters, and a part of the hash, so that two files never share one.
    pub name: String,
    /// Plate, from 1; `None`: plain G-code has none.
    pub plate: Option<u32>,
    /// Filaments that the plate uses.
    pub wanted: Vec<Wanted>,
    /// Made by us: to be deleted afterwards.
    pub ours: bool,
}

/// Makes the file ready. `plate`: which one of a project, `None` the first. `plain`: G-code goes as it is
/// instead of wrapped. `scratch`: a directory for a wrapped one.
pub fn prepare(program: &Program, plate: Option<u32>, plain: bool, scratch: &Path) -> Result<Ready, Fault> {
    let bad = |error: String| faults::FILE.with_raw(error);
    let mut file = File::open(&program.path).map_err(|e| bad(format!("{}: {e}", program.path.display())))?;
    let mut magic = [0; 2];
    let zipped = file.read_exact(&mut magic).is_ok() && &magic == b"PK";
    file.seek(SeekFrom::Start(0)).map_err(|e| bad(e.to_string()))?;
    let whole = zipped || !plain;
    let name = remote_name(&program.name, &program.sha256, whole);
    if !whole {
        return Ok(Ready {
            path: program.path.clone(),
            size: program.size,
            name,
            plate: None,
            wanted: Vec::new(),
            ours: false,
        });
    }
    if !zipped {
        return wrap(program, file, scratch, name).map_err(|e| bad(e.to_string()));
    }
    let plate =
        threemf::read(&mut BufReader::new(file), plate, &mut |_| {}).map_err(|e| bad(e.to_string()))?;
    let wanted = plate
        .filaments
        .into_iter()
        .map(|f| Wanted {
            slot: f.slot,
            material: f.material,
            color: f.color,
        })
        .collect();
    Ok(Ready {
        path: program.path.clone(),
        size: program.size,
        name,
        plate: Some(plate.number),
        wanted,
        ours: false,
    })
}

const TYPES: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"><Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/><Default Extension="model" ContentType="application/vnd.ms-package.3dmanufacturing-3dmodel+xml"/><Default Extension="gcode" ContentType="text/x.gcode"/></Types>"#;
const RELATIONS: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Target="/3D/3dmodel.model" Id="rel-1" Type="http://schemas.microsoft.com/3dmanufacturing/2013/01/3dmodel"/></Relationships>"#;
const MODEL: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<model unit="millimeter" xmlns="http://schemas.microsoft.com/3dmanufacturing/core/2015/02"><resources/><build/></model>"#;
const SLICE_INFO: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<config><plate><metadata key="index" value="1"/><metadata key="label_object_enabled" value="false"/></plate></config>"#;
const SETTINGS: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<config><plate><metadata key="plater_id" value="1"/><metadata key="gcode_file" value="Metadata/plate_1.gcode"/></plate></config>"#;

fn wrap(program: &Program, mut source: File, scratch: &Path, name: String) -> io::Result<Ready> {
    let path = scratch.join(format!(
        "bambu-wrapped-{}.3mf",
        program.sha256.get(..16).unwrap_or("0")
    ));
    let mut zip = ZipWriter::new(File::create(&path)?);
    // Fast: the network is the narrow place, but a small host should not compress for minutes.
    let packed = SimpleFileOptions::default().compression_level(Some(1));
    for (entry, text) in [
        ("[Content_Types].xml", TYPES),
        ("_rels/.rels", RELATIONS),
        ("3D/3dmodel.model", MODEL),
        ("Metadata/slice_info.config", SLICE_INFO),
        ("Metadata/model_settings.config", SETTINGS),
    ] {
        zip.start_file(entry, packed)?;
        zip.write_all(text.as_bytes())?;
    }
    zip.start_file("Metadata/plate_1.gcode", packed)?;
    // Without these blocks the printer never ends unpacking.
    let mut head = vec![0; 4096];
    let read = source.read(&mut head)?;
    let bare = !head
        .get(..read)
        .unwrap_or_default()
        .windows(18)
        .any(|w| w == b"HEADER_BLOCK_START");
    source.seek(SeekFrom::Start(0))?;
    if bare {
        let layers = program.layers.unwrap_or(1);
        write!(
            zip,
            "; HEADER_BLOCK_START\n; total layer number: {layers}\n; HEADER_BLOCK_END\n\n; CONFIG_BLOCK_START\n; CONFIG_BLOCK_END\n\n; EXECUTABLE_BLOCK_START\n"
        )?;
    }
    io::copy(&mut source, &mut zip)?;
    if bare {
        zip.write_all(b"\n; EXECUTABLE_BLOCK_END\n")?;
    }
    let done = zip.finish()?;
    let size = done.metadata()?.len();
    Ok(Ready {
        path,
        size,
        name,
        plate: Some(1),
        wanted: Vec::new(),
        ours: true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_gcode_is_wrapped_into_a_project_that_reads_back() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("a.gcode");
        std::fs::write(&path, "G28\nG1 X10 E1\n").expect("a file");
        let program = Program {
            path,
            name: "a.gcode".into(),
            size: 14,
            sha256: "ab".repeat(32),
            layers: Some(3),
            estimate_s: None,
            max_z_mm: None,
            objects: Vec::new(),
        };
        let ready = prepare(&program, None, false, dir.path()).expect("wrapped");
        assert_eq!((ready.plate, ready.ours), (Some(1), true));
        let mut text = Vec::new();
        let mut file = File::open(&ready.path).expect("the file");
        threemf::read(&mut file, Some(1), &mut |part| text.extend_from_slice(part)).expect("a project");
        let text = String::from_utf8(text).expect("text");
        assert!(
            text.starts_with("; HEADER_BLOCK_START\n; total layer number: 3\n"),
            "{text}"
        );
        assert!(text.contains("G28\nG1 X10 E1\n"), "{text}");
        let as_it_is = prepare(&program, None, true, dir.path()).expect("nothing to do");
        assert_eq!((as_it_is.plate, as_it_is.ours), (None, false));
        assert_eq!((as_it_is.path, as_it_is.size), (program.path, 14));
        assert_eq!(as_it_is.name, "a-abababab.gcode");
    }
}
