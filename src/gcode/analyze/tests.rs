use proptest::prelude::*;

use super::*;
use crate::analysis::ObjectSource;

fn analyze_with(text: &str, options: Options) -> Analysis {
    let mut analyzer = Analyzer::new(options);
    analyzer.push(text.as_bytes());
    analyzer.finish()
}

fn analyze(text: &str) -> Analysis {
    analyze_with(text, Options::default())
}

fn codes(analysis: &Analysis) -> Vec<&str> {
    analysis.warnings.iter().map(|w| w.code.as_str()).collect()
}

#[test]
fn purge_and_parking_are_no_part() {
    let a = analyze(
        "G28\nM104 S210\nM83\n;TYPE:Custom\nG1 X0 Y-3 Z0.2\nG1 X60 E9\n;LAYER_CHANGE\n;HEIGHT:0.2\n;TYPE:Skirt/Brim\n\
         G1 X80 Y80 Z0.2\nG1 X120 E2\n;TYPE:Perimeter\nG1 X90 Y90\nG1 X110 E1\nG1 Y110 E1\n;LAYER_CHANGE\n;HEIGHT:0.15\n\
         G1 Z0.35\nG1 X90 E1\nG1 X0 Y200 Z50\nM104 S0\n",
    );
    let part = a.bounds.part.unwrap();
    assert_eq!((part.min, part.max), ([90.0, 90.0, 0.2], [110.0, 110.0, 0.35]));
    assert_eq!(a.bounds.extruding.unwrap().min, [0.0, -3.0, 0.2]);
    assert_eq!(
        (a.layers.count, a.layers.first_mm, a.layers.height_mm),
        (Some(2), Some(0.2), Some(0.15))
    );
    let area = a.simplyprint.print_area.unwrap();
    assert_eq!(
        (area.min_x, area.max_x, area.min_z, area.max_z),
        (90.0, 110.0, 0.2, 50.0)
    );
    assert_eq!(a.simplyprint.model_size.unwrap().z, 0.15);
    assert_eq!(a.size_mm, Some([20.0, 20.0, 0.35]));
    assert_eq!(a.simplyprint.min_delta_radius, Some(155.56));
    assert_eq!(a.simplyprint.movement.unwrap().e_relative, 1);
}

#[test]
fn unknown_is_null_and_never_zero() {
    let json = serde_json::to_value(analyze("; nothing\n")).unwrap();
    for key in ["sha256", "flavor", "size_mm"] {
        assert!(json[key].is_null(), "{key}");
    }
    for path in [
        "/bounds/all",
        "/time/slicer_s",
        "/time/model_s",
        "/layers/count",
        "/temps/bed/first",
        "/slicer/name",
    ] {
        assert!(json.pointer(path).unwrap().is_null(), "{path}");
    }
    assert_eq!(
        (json["lines"].as_u64(), json["commands"].as_u64()),
        (Some(1), Some(0))
    );
}

#[test]
fn macros_tell_temperatures() {
    for text in [
        "START_PRINT EXTRUDER_TEMP=225 BED_TEMP=70 CHAMBER=40\n",
        "PRINT_START BED=70 EXTRUDER=225 chamber=40\n",
        "start_print nozzle=225 bed=70 CHAMBER_TEMP=40\n",
        "_PRINT_START HOTEND=225 BED_TEMPERATURE=70 CHAMBER=40\n",
    ] {
        let a = analyze(&format!("{text}M83\nG1 X1 Y1 F900\nG1 X5 E1\n"));
        let heat = a.temps.tools.get("0").unwrap();
        assert_eq!(
            (heat.first, a.temps.bed.first, a.temps.chamber.first),
            (Some(225.0), Some(70.0), Some(40.0)),
            "{text}"
        );
        assert!(codes(&a).is_empty(), "{text}: {:?}", a.warnings);
        assert_eq!(a.macros.len(), 1);
    }
}

#[test]
fn only_used_tools_have_temperatures_in_the_cloud_s_object() {
    let a = analyze("G28\nM104 T0 S200\nM104 T4 S220\nT4\nM83\nG1 X1 Y1\nG1 X9 E5\nM104 T4 S0\nM104 T0 S0\n");
    assert_eq!(a.simplyprint.filament, Some(vec![0.0, 0.0, 0.0, 0.0, 5.0]));
    let temps: Vec<_> = a.simplyprint.temps.tool.iter().collect();
    assert_eq!(temps, [(&"T4".to_owned(), &220.0)]);
    assert_eq!(a.simplyprint.temps.max_tool, Some(220.0));
}

#[test]
fn warnings_name_their_line() {
    let options = Options {
        bed: Some(Bed::rect(100.0, 100.0, 100.0)),
        max_tool_c: Some(250.0),
        ..Options::default()
    };
    let a = analyze_with(
        "M104 S280\nG20\nG21\nM83\nG1 X50 Y50 Z1\nG1 X120 E3\nG1 X{foo}\nM9999\nG2 X1 Y1 E1\nM117 \u{0}",
        options,
    );
    let found: Vec<_> = a.warnings.iter().map(|w| (w.code.as_str(), w.line)).collect();
    for wanted in [
        ("too_hot", Some(1)),
        ("inches", Some(2)),
        ("no_homing", Some(6)),
        ("outside_bed", Some(6)),
        ("unresolved_template", Some(7)),
        ("unknown_command", Some(8)),
        ("bad_arc", Some(9)),
        ("contains_nul", Some(10)),
        ("no_final_newline", Some(10)),
    ] {
        assert!(found.contains(&wanted), "{wanted:?} in {found:?}");
    }
    assert!(codes(&analyze("G28\nM83\nG1 X1 Y1\nG1 X2 E1\n")).contains(&"cold_extrusion"));
}

#[test]
fn arcs_bulge_beyond_their_ends() {
    let a = analyze("G28\nM104 S200\nM83\nG1 X10 Y0 Z0.2\nG3 X-10 Y0 I-10 J0 E5\nM104 S0\n");
    assert_eq!(a.bounds.extruding.map(|b| b.max), Some([10.0, 10.0, 0.2]));
    assert!(a.motion.arcs);
}

#[test]
fn a_relative_file_that_never_says_so_is_recognised() {
    let mut text = "START_PRINT EXTRUDER=200\n".to_owned();
    for i in 0..300 {
        text.push_str(&format!("G1 X{} Y{} E0.0{}\n", i % 100, i % 50, 3 + i % 4));
    }
    let a = analyze(&text);
    assert!(codes(&a).contains(&"e_mode_guessed"));
    let mm = a.filament[0].mm.unwrap();
    assert!((mm - 300.0 * 0.045).abs() < 0.05, "{mm}");
}

#[test]
fn objects_of_every_kind() {
    let body = |enter: &str, x: i32| format!("{enter}\nG1 X{x} Y10 F3000\nG1 X{} E1\nG1 Y20 E1\n", x + 10);
    let head = "G28\nM104 S200\nM83\n";
    for (source, first, second, leave, names) in [
        (
            ObjectSource::ExcludeObject,
            "EXCLUDE_OBJECT_START NAME=A_1",
            "EXCLUDE_OBJECT_START NAME=b",
            "EXCLUDE_OBJECT_END",
            ["A_1", "b"],
        ),
        (
            ObjectSource::M486,
            "M486 S3\nM486 AOne",
            "M486 S5 A\"Two; x\"",
            "M486 S-1",
            ["One", "Two; x"],
        ),
        (
            ObjectSource::Comment,
            "; printing object a b;(c id:0 copy 0",
            "; printing object x",
            "; stop printing object x",
            ["a b;(c", "x"],
        ),
        (
            ObjectSource::CuraMesh,
            ";MESH:one.stl",
            ";MESH:two.stl",
            ";MESH:NONMESH",
            ["one.stl", "two.stl"],
        ),
        (
            ObjectSource::Bambu,
            "; start printing object, unique label id: 1207",
            "; start printing object, unique label id: 1295",
            "; stop printing object, unique label id: 1295",
            ["", ""],
        ),
        (
            ObjectSource::Ideamaker,
            ";PRINTING: one\n;PRINTING_ID: 0",
            ";PRINTING: two\n;PRINTING_ID: 1",
            ";PRINTING_ID: -1",
            ["one", "two"],
        ),
        (
            ObjectSource::Simplify3d,
            "; process one",
            "; process two",
            "",
            ["one", "two"],
        ),
    ] {
        let text = format!("{head}{}{}{leave}\nM104 S0\n", body(first, 10), body(second, 50));
        let a = analyze(&text);
        assert_eq!(a.objects.len(), 2, "{source:?}");
        for (object, (x, name)) in a.objects.iter().zip([(10.0, names[0]), (50.0, names[1])]) {
            assert_eq!((object.source, object.name.as_str()), (source, name));
            assert_eq!(object.bbox, Some([x, 10.0, x + 10.0, 20.0]), "{source:?}");
            assert_eq!((object.center, object.extrusion_mm), (Some([x + 5.0, 15.0]), 2.0));
        }
        let ids: Vec<_> = a.objects.iter().map(|o| o.id).collect();
        match source {
            ObjectSource::M486 => assert_eq!(ids, [3, 5]),
            ObjectSource::Bambu => assert_eq!(ids, [1207, 1295]),
            _ => assert_eq!(ids, [0, 1]),
        }
    }
}

#[test]
fn hostile_files_are_bounded_and_explained() {
    let mut million = b"G1 ".to_vec();
    million.resize(1_000_000, b'X');
    let mut tools = String::new();
    for i in 0..10_000 {
        tools.push_str(&format!("T{i}\nM104 T{i} S200\nG1 X{i} E1\n"));
    }
    let mut objects = String::new();
    for i in 0..100_000 {
        objects.push_str(&format!("EXCLUDE_OBJECT_START NAME=o{i}\nG1 X1 E1\n"));
    }
    for (name, text, code) in [
        ("long", million, "long_line"),
        ("nul", vec![0; 300_000], "no_moves"),
        (
            "number",
            b"G1 X1e400 Y-9e99 EINF ZNAN F-1\n".to_vec(),
            "no_homing",
        ),
        ("tools", tools.into_bytes(), "cold_extrusion"),
        ("objects", objects.into_bytes(), "too_many_objects"),
    ] {
        let mut analyzer = Analyzer::new(Options::default());
        analyzer.push(&text);
        let (analysis, index) = analyzer.finish_with_index();
        if name != "number" && name != "tools" {
            assert!(
                codes(&analysis).contains(&code),
                "{name}: {:?}",
                analysis.warnings
            );
        }
        assert!(analysis.filament.len() <= 64 && analysis.objects.len() <= 10_000);
        assert!(index.encode().len() < 6 << 20, "{name}");
        let json = serde_json::to_string(&analysis).unwrap();
        assert!(!json.contains("NaN") && !json.contains("inf"));
    }
}

#[test]
fn pictures_are_found() {
    let a = analyze(
        "; thumbnail begin 16x16 8\n; AAAA\n; BBBB\n; thumbnail end\n; thumbnail_JPG begin 48x32 4\n; CCCC\n; thumbnail_JPG end\n",
    );
    let found: Vec<_> = a
        .thumbnails
        .iter()
        .map(|t| (t.format.as_str(), t.width, t.height, t.offset, t.bytes))
        .collect();
    assert_eq!(found, [("png", 16, 16, 26, 14), ("jpg", 48, 32, 86, 7)]);
}

#[test]
fn stops_are_listed() {
    let a = analyze("G28\n;LAYER_CHANGE\nM600\n;LAYER_CHANGE\nPAUSE\n;COLOR_CHANGE,T0,#FF0000\n");
    let stops: Vec<_> = a
        .pauses
        .iter()
        .map(|p| (p.kind.as_str(), p.line, p.layer))
        .collect();
    assert_eq!(
        stops,
        [("filament_change", 3, 1), ("pause", 5, 2), ("color_change", 6, 2)]
    );
}

proptest! {
    #[test]
    fn chunking_does_not_matter(
        lines in proptest::collection::vec(proptest::sample::select(vec![
            "G1 X10.5 Y2 E.5", "G1 X3 Y7 E1 ; c\0", "G1 X1\r", "G2 X5 Y5 I2 J0 E1", "M83", "M82", "G92 E0", "G28", "G91",
            "G90", ";LAYER_CHANGE", ";TYPE:Custom", ";TYPE:Perimeter", "T1", "T0", "M104 S210", "G1 E-1", "G1 Z2 F600",
            "EXCLUDE_OBJECT_START NAME=a", "EXCLUDE_OBJECT_END", "; printing object q", "M73 P5 R3", "M204 P900",
            "; filament used [mm] = 5", "\0", "G1X5Y6E1", "; thumbnail begin 1x1 4", "; thumbnail end", "G10", "g1 x9 e2",
        ]), 0..60),
        sizes in proptest::collection::vec(1usize..30, 1..6),
        newline in proptest::sample::select(vec!["\n", "\r\n"]),
    ) {
        let text = lines.join(newline).into_bytes();
        let mut whole = Analyzer::new(Options::default());
        whole.push(&text);
        let mut pieces = Analyzer::new(Options::default());
        let (mut rest, mut sizes) = (text.as_slice(), sizes.iter().cycle());
        while !rest.is_empty() {
            let n = sizes.next().copied().unwrap_or(1).min(rest.len());
            pieces.push(&rest[..n]);
            rest = &rest[n..];
        }
        prop_assert_eq!(whole.finish_with_index(), pieces.finish_with_index());
    }

    #[test]
    fn absolute_and_relative_paths_have_the_same_bounds(
        steps in proptest::collection::vec((-30_000i64..30_000, -30_000i64..30_000, 1i64..900), 1..40),
    ) {
        let text = |v: i64| format!("{:.3}", v as f64 / 1000.0);
        let head = "G28\nM104 S200\nG1 X50 Y50 Z0.2 F3000\n";
        let (mut absolute, mut relative) = (format!("{head}M82\nG92 E0\n"), format!("{head}G91\nM83\n"));
        let (mut x, mut y, mut e) = (50_000, 50_000, 0);
        for (dx, dy, de) in steps {
            (x, y, e) = (x + dx, y + dy, e + de);
            absolute.push_str(&format!("G1 X{} Y{} E{}\n", text(x), text(y), text(e)));
            relative.push_str(&format!("G1 X{} Y{} E{}\n", text(dx), text(dy), text(de)));
        }
        let (a, b) = (analyze(&absolute), analyze(&relative));
        prop_assert_eq!(a.bounds, b.bounds);
        prop_assert_eq!(a.filament, b.filament);
        prop_assert_eq!(a.time, b.time);
    }

    #[test]
    fn inches_and_millimetres_give_the_same(
        steps in proptest::collection::vec((1i64..1500, 1i64..1500, 1i64..900, 0u8..2), 1..40),
    ) {
        // 0.127 mm are 0.005 in: both have few decimals.
        let path = |unit: &str, step: f64, decimals: usize| {
            let n = |v: i64| format!("{:.*}", decimals, v as f64 * step);
            let mut text = format!("G28\nM104 S200\n{unit}\nM83\nG1 X{} Y{} Z{} F{}\n", n(300), n(300), n(2), n(20_000));
            for (x, y, e, tool) in &steps {
                text.push_str(&format!("T{tool}\nG1 X{} Y{} E{}\n", n(*x), n(*y), n(*e)));
            }
            analyze(&text)
        };
        let (mm, inches) = (path("G21", 0.127, 3), path("G20", 0.005, 3));
        prop_assert_eq!(&mm.bounds, &inches.bounds);
        prop_assert_eq!(&mm.filament, &inches.filament);
        prop_assert_eq!(mm.time, inches.time);
        prop_assert!(inches.motion.inches);
    }
}
