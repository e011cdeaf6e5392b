//! Containers: what is in them comes out, and what is damaged or hostile is refused with words.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use std::io::Write;
use std::path::Path;

use base64::Engine;
use layerd::gcode::analysis::{Analysis, Format};
use layerd::gcode::analyze::Options;
use layerd::gcode::analyze_file::{AnalyzeError, analyze_file};
use layerd::gcode::picture::{Kind, Picture};
use layerd::gcode::picture_file::best_picture;
use zip::write::SimpleFileOptions;

fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("fixtures/gcode")
            .join(name),
    )
    .expect("fixture")
}

fn analyze(bytes: &[u8]) -> Result<Analysis, String> {
    let mut file = tempfile::NamedTempFile::new().expect("file");
    file.write_all(bytes).expect("written");
    analyze_file(file.path(), &Options::default(), &mut |_, _| true)
        .map(|(analysis, _)| analysis)
        .map_err(|e| match e {
            AnalyzeError::Refused { why, .. } => why,
            AnalyzeError::Read { source, .. } => panic!("{source}"),
        })
}

/// The bytes that the best picture of this file has.
fn picture_of(bytes: &[u8]) -> Result<Option<Picture>, String> {
    let mut file = tempfile::NamedTempFile::new().expect("file");
    file.write_all(bytes).expect("written");
    let (analysis, _) = analyze_file(file.path(), &Options::default(), &mut |_, _| true).expect("readable");
    best_picture(file.path(), &analysis).map_err(|error| error.to_string())
}

fn zipped(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, bytes) in entries {
        zip.start_file(*name, SimpleFileOptions::default())
            .expect("entry");
        zip.write_all(bytes).expect("written");
    }
    zip.finish().expect("finished").into_inner()
}

const SLICE_INFO: &[u8] = br##"<?xml version="1.0" encoding="UTF-8"?>
<config>
  <plate>
    <metadata key="index" value="2"/>
    <metadata key="prediction" value="1250"/>
    <metadata key="printer_model_id" value="C12"/>
    <object identify_id="1207" name="left &amp; right.stl" skipped="false" />
    <object identify_id="1295" name="b.stl" skipped="false" />
    <filament id="2" type="PETG" color="#00AE42" used_m="1.50" used_g="4.50" />
  </plate>
</config>"##;

const PLATE: &[u8] = b"; BambuStudio 02.08.02.61\nG28\nT1\nM104 S250\nM83\n; CHANGE_LAYER\n\
; start printing object, unique label id: 1207\nG1 X10 Y10 Z0.2\nG1 X20 E2\nG1 Y20 E2\n\
; stop printing object, unique label id: 1207\n; start printing object, unique label id: 1295\n\
G1 X50 Y50\nG1 X60 E2\n; stop printing object, unique label id: 1295\nM104 S0\n";

#[test]
fn a_project_s_plate_is_read_in_place() {
    let project = zipped(&[
        ("[Content_Types].xml", b"<x/>"),
        ("Metadata/plate_2.gcode", PLATE),
        ("Metadata/slice_info.config", SLICE_INFO),
        (
            "Metadata/plate_2.json",
            br#"{"bbox_objects":[{"id":1,"name":"b.stl","bbox":[1,2,3,4]}]}"#,
        ),
        (
            "Metadata/plate_2.png",
            b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\x02\0\0\0\x01\0",
        ),
    ]);
    let a = analyze(&project).expect("readable");
    assert_eq!(
        (a.format, a.plate, a.time.slicer_s),
        (Format::ThreeMf, Some(2), Some(1250.0))
    );
    assert_eq!(
        (a.slicer.name.as_deref(), a.printer_model.as_deref()),
        (Some("BambuStudio"), Some("C12"))
    );
    let objects: Vec<_> = a.objects.iter().map(|o| (o.id, o.name.as_str())).collect();
    assert_eq!(objects, [(1207, "left & right.stl"), (1295, "b.stl")]);
    let one = &a.filament[0];
    assert_eq!(
        (one.tool, one.mm, one.g, one.material.as_deref()),
        (1, Some(6.0), Some(4.5), Some("PETG"))
    );
    assert_eq!((a.thumbnails[0].width, a.thumbnails[0].height), (512, 256));
    assert_eq!(a.size, project.len() as u64);
    assert_eq!(a.sha256.map(|h| h.len()), Some(64));
}

#[test]
fn gzipped_text_equals_the_text() {
    let text = fixture("plate.gcode");
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gz.write_all(&text).expect("packed");
    let packed = gz.finish().expect("packed");
    let (a, b) = (analyze(&text).expect("text"), analyze(&packed).expect("gz"));
    assert_eq!((a.bounds, a.objects, a.time), (b.bounds, b.objects, b.time));
    assert_eq!(b.format, Format::GcodeGz);
    let cut = analyze(&packed[..packed.len() / 2]).expect_err("cut");
    assert!(cut.contains("cut short"), "{cut}");
}

#[test]
fn a_flashforge_file_is_its_program_with_a_picture() {
    let packed = fixture("drawing.gx");
    let (a, b) = (
        analyze(&fixture("slic3r.gcode")).expect("text"),
        analyze(&packed).expect("gx"),
    );
    assert_eq!(
        (a.bounds, a.layers.count, a.lines),
        (b.bounds, b.layers.count, b.lines)
    );
    assert_eq!((a.time.slicer_s, b.time.slicer_s), (None, Some(754.0)));
    assert_eq!((b.format, b.size), (Format::Gx, packed.len() as u64));
    assert!(b.sha256.is_some_and(|hash| hash.len() == 64));
    let picture = picture_of(&packed).expect("whole").expect("there");
    assert_eq!((picture.kind, picture.width, picture.height), (Kind::Bmp, 80, 60));
    let shown = picture.for_browsers().expect("checked");
    assert_eq!((shown.kind, shown.width, shown.height), (Kind::Png, 80, 60));
    let why = analyze(&packed[..9000]).expect_err("cut");
    assert!(why.contains("cut short"), "{why}");
    // A picture inside the program is found where it lies.
    let mut both = packed[..14_512].to_vec();
    both[0x10..0x14].fill(0);
    both.extend_from_slice(&commented("thumbnail", &fixture("pictures/small.png")));
    both.extend_from_slice(PLATE);
    let inner = picture_of(&both).expect("whole").expect("there");
    assert_eq!((inner.kind, inner.width), (Kind::Png, 32));
}

#[test]
fn binary_files_cut_or_changed_anywhere_are_refused() {
    let good = fixture("prusa_cube.bgcode");
    assert!(analyze(&good).is_ok());
    for len in (4..good.len()).step_by(1999) {
        let why = analyze(&good[..len]).expect_err("cut");
        assert!(
            why.contains("cut short") || why.contains("no G-code"),
            "{len}: {why}"
        );
    }
    for at in (10..good.len()).step_by(1009) {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        assert!(analyze(&bad).is_err(), "a changed byte at {at} went unnoticed");
    }
    let mut huge = good.clone();
    huge[14..18].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(analyze(&huge).expect_err("huge").contains("refused"));
}

#[test]
fn bombs_escapes_and_empty_projects_are_refused() {
    let zeros = vec![b' '; 40 << 20];
    let bomb = zipped(&[("Metadata/plate_1.gcode", &zeros)]);
    assert!(bomb.len() < 200_000);
    assert!(analyze(&bomb).expect_err("bomb").contains("bomb"));
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    gz.write_all(&zeros).expect("packed");
    assert!(
        analyze(&gz.finish().expect("packed"))
            .expect_err("bomb")
            .contains("bomb")
    );
    for name in ["../../etc/cron.d/x", "/etc/passwd", "a\\..\\b", "C:evil"] {
        let why = analyze(&zipped(&[("Metadata/plate_1.gcode", PLATE), (name, b"x")])).expect_err("escape");
        assert!(why.contains("outside"), "{name}: {why}");
    }
    let why = analyze(&zipped(&[("3D/3dmodel.model", b"<model/>")])).expect_err("project");
    assert!(why.contains("slice it"), "{why}");
    let good = zipped(&[("Metadata/plate_1.gcode", PLATE)]);
    for len in (4..good.len()).step_by(31) {
        assert!(analyze(&good[..len]).is_err(), "{len}");
    }
}

/// A picture as slicers comment it in, under a tag.
fn commented(tag: &str, picture: &[u8]) -> Vec<u8> {
    let text = base64::engine::general_purpose::STANDARD.encode(picture);
    let mut out = format!("; {tag} begin 32x24 {}\n", text.len()).into_bytes();
    for line in text.as_bytes().chunks(78) {
        out.extend_from_slice(b"; ");
        out.extend_from_slice(line);
        out.push(b'\n');
    }
    out.extend_from_slice(format!("; {tag} end\n").as_bytes());
    out
}

#[test]
fn the_best_picture_comes_out_of_every_container() {
    let [png, jpg, qoi] = ["png", "jpg", "qoi"].map(|kind| fixture(&format!("pictures/small.{kind}")));
    for (tag, kind, picture) in [
        ("thumbnail", Kind::Png, &png),
        ("thumbnail_JPG", Kind::Jpg, &jpg),
        ("thumbnail_QOI", Kind::Qoi, &qoi),
        // What stands in it counts, not its tag.
        ("thumbnail", Kind::Jpg, &jpg),
    ] {
        let text = [commented(tag, picture).as_slice(), PLATE].concat();
        let found = picture_of(&text).expect("whole").expect("there");
        assert_eq!(
            (found.kind, found.width, found.height, &found.bytes),
            (kind, 32, 24, picture)
        );
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gz.write_all(&text).expect("packed");
        let packed = picture_of(&gz.finish().expect("packed"));
        assert_eq!(packed, Ok(Some(found.clone())));
        let inner = zipped(&[("Metadata/plate_1.gcode", &text)]);
        assert_eq!(picture_of(&inner), Ok(Some(found)));
    }
    let outer = zipped(&[("Metadata/plate_1.gcode", PLATE), ("Metadata/plate_1.png", &png)]);
    assert_eq!(picture_of(&outer).expect("whole").expect("there").bytes, png);

    // A binary file: a picture block (type 5, not packed) set in behind the header.
    let mut block = [5u16.to_le_bytes(), 0u16.to_le_bytes()].concat();
    block.extend_from_slice(&(qoi.len() as u32).to_le_bytes());
    for parameter in [2u16, 32, 24] {
        block.extend_from_slice(&parameter.to_le_bytes());
    }
    block.extend_from_slice(&qoi);
    block.extend_from_slice(&crc32fast::hash(&block).to_le_bytes());
    let mut binary = fixture("prusa_cube.bgcode");
    binary.splice(10..10, block);
    let found = picture_of(&binary).expect("whole").expect("there");
    assert_eq!((found.kind, &found.bytes), (Kind::Qoi, &qoi));

    assert_eq!(picture_of(PLATE), Ok(None));
    let mut cut = png.clone();
    cut.truncate(png.len() - 20);
    let broken = [commented("thumbnail", &cut).as_slice(), PLATE].concat();
    let why = picture_of(&broken).expect_err("broken");
    assert!(why.contains("the picture is damaged"), "{why}");
    // A smaller whole one is better than a bigger broken one.
    let both = [
        commented("thumbnail", &cut),
        commented("thumbnail", &png),
        PLATE.to_vec(),
    ]
    .concat();
    assert_eq!(picture_of(&both).expect("whole").expect("there").bytes, png);
}
