//! What each slicer writes about its own file, in small files written by hand after the slicers' documents and
//! samples: who it is, its estimate, filament, layers, objects, temperatures, pictures.
//!
//! The expected values are read off the text by eye, and the moves are summed by hand: a head, two layers of an
//! L of 40 + 30 mm, a foot.

#![allow(clippy::expect_used, clippy::indexing_slicing)]

use layerd::gcode::analysis::Analysis;
use layerd::gcode::analyze::{Analyzer, Options};

/// What a file says of itself.
#[derive(Debug, Default, PartialEq)]
struct Said {
    name: &'static str,
    version: Option<&'static str>,
    estimate_s: Option<f64>,
    /// Tool, mm by the moves, mm by the slicer, material.
    filament: Vec<(u32, f64, Option<f64>, Option<&'static str>)>,
    layers: Option<u32>,
    first_mm: Option<f64>,
    height_mm: Option<f64>,
    nozzle_mm: Option<f64>,
    model: Option<&'static str>,
    bed: Option<&'static str>,
    tool_c: Option<f64>,
    bed_c: Option<f64>,
    objects: Vec<(u32, &'static str)>,
    thumbnails: usize,
}

fn analyze(text: &str) -> Analysis {
    let mut analyzer = Analyzer::new(Options::default());
    analyzer.push(text.as_bytes());
    analyzer.finish()
}

/// Compares; the moves are the same in all files: X10…50, Y10…40, Z0.2…0.4.
fn check(text: &str, said: &Said) {
    let a = analyze(text);
    let part = a.bounds.part.expect("moves");
    assert_eq!(
        (part.min, part.max),
        ([10.0, 10.0, 0.2], [50.0, 40.0, 0.4]),
        "{}",
        said.name
    );
    let slicer = (a.slicer.name.as_deref(), a.slicer.version.as_deref());
    assert_eq!(slicer, (Some(said.name), said.version));
    assert_eq!(a.time.slicer_s, said.estimate_s, "{}: estimate", said.name);
    let filament: Vec<_> = a
        .filament
        .iter()
        .map(|f| (f.tool, f.mm.expect("moves"), f.slicer_mm, f.material.as_deref()))
        .collect();
    assert_eq!(filament, said.filament, "{}: filament", said.name);
    assert_eq!(
        (a.layers.count, a.layers.first_mm, a.layers.height_mm),
        (said.layers, said.first_mm, said.height_mm),
        "{}: layers",
        said.name
    );
    assert_eq!(
        a.nozzles_mm.first().copied(),
        said.nozzle_mm,
        "{}: nozzle",
        said.name
    );
    assert_eq!(a.printer_model.as_deref(), said.model, "{}: model", said.name);
    assert_eq!(a.bed_type.as_deref(), said.bed, "{}: bed", said.name);
    let tool = said.filament.first().map_or(0, |f| f.0).to_string();
    assert_eq!(
        a.temps.tools.get(&tool).and_then(|h| h.print),
        said.tool_c,
        "{}: nozzle °C",
        said.name
    );
    assert_eq!(a.temps.bed.print, said.bed_c, "{}: bed °C", said.name);
    let objects: Vec<_> = a.objects.iter().map(|o| (o.id, o.name.as_str())).collect();
    assert_eq!(objects, said.objects, "{}: objects", said.name);
    assert_eq!(a.thumbnails.len(), said.thumbnails, "{}: thumbnails", said.name);
    let cloud = serde_json::to_value(&a.simplyprint).expect("plain data");
    assert_eq!(
        cloud.as_object().map(serde_json::Map::len),
        Some(20),
        "{}: all keys",
        said.name
    );
    if said.estimate_s.is_some() {
        assert_eq!(a.simplyprint.estimate, said.estimate_s.map(|s| s.round() as i64));
    }
}

/// Head, the two layers with what stands before each, and foot; relative E, 2 + 1.5 mm a layer.
fn file(head: &str, layer: [&str; 2], foot: &str) -> String {
    let [first, second] = layer;
    format!(
        "{head}\nG28\nG21\nG90\nM83\n{first}\nG1 X10 Y10 Z0.2 F3000\nG1 X50 E2\nG1 Y40 E1.5\n{second}\n\
         G1 X10 Y10 Z0.4\nG1 X50 E2\nG1 Y40 E1.5\n{foot}\nM104 S0\n"
    )
}

const CHANGE: [&str; 2] = [
    ";LAYER_CHANGE\n;Z:0.2\n;HEIGHT:0.2\n;TYPE:External perimeter",
    ";LAYER_CHANGE\n;Z:0.4\n;HEIGHT:0.2",
];
const HEAT: &str = "M140 S60\nM104 S215\nM190 S60\nM109 S215";

/// Estimate, filament and heat that most heads below share.
fn common(name: &'static str, version: &'static str) -> Said {
    Said {
        name,
        version: Some(version),
        estimate_s: Some(3723.0),
        filament: vec![(0, 7.0, Some(7.0), Some("PLA"))],
        layers: Some(2),
        first_mm: Some(0.2),
        height_mm: Some(0.2),
        nozzle_mm: Some(0.4),
        tool_c: Some(215.0),
        bed_c: Some(60.0),
        ..Said::default()
    }
}

/// The settings at the end of PrusaSlicer's family.
const PRUSA_FOOT: &str = "; filament used [mm] = 7.00\n; filament used [cm3] = 0.02\n; filament used [g] = 0.02\n\
    ; total filament used [g] = 0.02\n; estimated printing time (normal mode) = 1h 2m 3s\n\
    ; estimated first layer printing time (normal mode) = 31s\n\n; prusaslicer_config = begin\n; bed_shape = 0x0,250x0\n\
    ; filament_type = PLA\n; first_layer_height = 100%\n; layer_height = 0.2\n; nozzle_diameter = 0.4\n\
    ; printer_model = MK4S\n; prusaslicer_config = end";

#[test]
fn prusaslicer_superslicer_and_forks_of_theirs() {
    let head = "; generated by PrusaSlicer 2.8.1 on 2024-10-21 at 06:38:01 UTC\n\n;\n; thumbnail begin 16x16 8\n; iVBORw0K\n\
        ; thumbnail end\n; objects_info = {\"objects\":[{\"name\":\"a.stl\",\"polygon\":[[10,10],[50,10],[50,40]]}]}";
    let layers = [
        ";LAYER_CHANGE\n;Z:0.2\n;HEIGHT:0.2\n; printing object Shape; Box (1) id:0 copy 0",
        "; stop printing object Shape; Box (1) id:0 copy 0\n;LAYER_CHANGE\n;Z:0.4\n;HEIGHT:0.2\n\
         ; printing object Zwölf.stl id:1 copy 2",
    ];
    let said = |name, version| Said {
        model: Some("MK4S"),
        ..common(name, version)
    };
    check(
        &file(&format!("{head}\n{HEAT}"), layers, PRUSA_FOOT),
        &Said {
            objects: vec![(0, "Shape; Box (1)"), (1, "Zwölf.stl")],
            thumbnails: 1,
            ..said("PrusaSlicer", "2.8.1")
        },
    );
    // The same settings, without the fences.
    let plain = PRUSA_FOOT
        .replace("; prusaslicer_config = begin\n", "")
        .replace("\n; prusaslicer_config = end", "");
    let object = "; object:{\"name\":\"b.stl\",\"id\":\"b.stl id:0 copy 0\",\"object_center\":[30,25,0]}";
    check(
        &file(
            &format!("; generated by SuperSlicer 2.3.56 on 2021-06-18 at 09:00:00 UTC\n{object}\n{HEAT}"),
            CHANGE,
            &plain,
        ),
        &said("SuperSlicer", "2.3.56"),
    );
    for (name, version) in [
        ("QIDISlicer", "1.1.7"),
        ("AnycubicSlicer", "1.4.2"),
        ("Slic3r Prusa Edition", "1.41.2+win64"),
    ] {
        let head = format!("; generated by {name} {version} on 2024-02-02 at 10:00:00 UTC\n{HEAT}");
        check(&file(&head, CHANGE, PRUSA_FOOT), &said(name, version));
    }
}

#[test]
fn orcaslicer_and_its_forks() {
    for (name, version) in [
        ("OrcaSlicer", "2.3.1"),
        ("ElegooSlicer", "1.3.2.9"),
        ("AnycubicSlicerNext", "2.0.0.3"),
        ("Creality_Print", "6.1.0.1234"),
        ("Orca-Flashforge", "1.4.1"),
        ("Some New Fork", "0.1.0-rc2"),
    ] {
        // The footer counts more layers than there are; the filament of empty slots is 0.
        let head = format!(
            "; HEADER_BLOCK_START\n; generated by {name} {version} on 2025-09-01 at 12:00:00\n; total layer number: 2\n\
             ; filament_density: 1.24,1.27\n; filament_diameter: 1.75,1.75\n; max_z_height: 0.40\n; HEADER_BLOCK_END\n\n\
             ; THUMBNAIL_BLOCK_START\n; thumbnail begin 300x300 8\n; iVBORw0K\n; thumbnail end\n; THUMBNAIL_BLOCK_END\n\
             ; EXECUTABLE_BLOCK_START\n{HEAT}\nEXCLUDE_OBJECT_DEFINE NAME=a_stl_id_0_copy_0 CENTER=0,0 POLYGON=[[0,0],[1,0],[1,1]]"
        );
        let layers = [
            ";LAYER_CHANGE\n;Z:0.2\n;HEIGHT:0.2\n; printing object a.stl id:0 copy 0\nEXCLUDE_OBJECT_START NAME=a_stl_id_0_copy_0\n\
             ;TYPE:Outer wall",
            "; stop printing object a.stl id:0 copy 0\nEXCLUDE_OBJECT_END NAME=a_stl_id_0_copy_0\n;LAYER_CHANGE\n;Z:0.4\n;HEIGHT:0.2",
        ];
        let foot = "; EXECUTABLE_BLOCK_END\n\n; filament used [mm] = 7.00, 0.00\n; filament used [g] = 0.02, 0.00\n\
            ; total layers count = 4\n; estimated printing time (normal mode) = 1h 2m 3s\n\
            ; estimated first layer printing time (normal mode) = 0.419470s\n\n; CONFIG_BLOCK_START\n\
            ; curr_bed_type = Textured PEI Plate\n; filament_type = PLA;PETG\n; initial_layer_print_height = 0.2\n\
            ; layer_height = 0.2\n; nozzle_diameter = 0.4\n; printer_model = Voron 2.4 300\n; CONFIG_BLOCK_END";
        check(
            &file(&head, layers, foot),
            &Said {
                model: Some("Voron 2.4 300"),
                bed: Some("Textured PEI Plate"),
                objects: vec![(0, "a_stl_id_0_copy_0")],
                thumbnails: 1,
                ..common(name, version)
            },
        );
    }
}

#[test]
fn bambustudio_and_qidistudio() {
    for (name, version) in [("BambuStudio", "02.08.02.61"), ("QIDIStudio", "02.01.00.50")] {
        // The second of four slots is used; temperatures stand in the settings only, the plate decides which.
        let head = format!(
            "; HEADER_BLOCK_START\n; {name} {version}\n; model printing time: 55m 2s; total estimated time: 1h 2m 3s\n\
             ; total layer number: 2\n; total filament length [mm] : 7.00\n; total filament volume [cm^3] : 16.84\n\
             ; total filament weight [g] : 0.02\n; model label id: 1207,1295\n; filament_density: 1.24,1.24,1.27,1.24\n\
             ; filament: 2\n; max_z_height: 0.40\n; HEADER_BLOCK_END\n\n; CONFIG_BLOCK_START\n\
             ; curr_bed_type = Textured PEI Plate\n; filament_type = ABS;PLA;PETG;PLA\n\
             ; hot_plate_temp_initial_layer = 45,45,45,45\n; initial_layer_print_height = 0.2\n; layer_height = 0.2\n\
             ; nozzle_diameter = 0.4\n; nozzle_temperature_initial_layer = 250,215,240,210\n; printer_model = Bambu Lab X1C\n\
             ; textured_plate_temp_initial_layer = 70,60,80,60\n; CONFIG_BLOCK_END\n\n; EXECUTABLE_BLOCK_START\n\
             M1002 gcode_claim_action : 2\nM620 S1A\nT1\nM621 S1A\nT1000\nM73 P0 R62"
        );
        let layers = [
            "; CHANGE_LAYER\n; Z_HEIGHT: 0.2\n; LAYER_HEIGHT: 0.2\n; layer num/total_layer_count: 1/2\nM991 S0 P0\n\
             ; start printing object, unique label id: 1207\nM624 AQAAAAAAAAA=\n; FEATURE: Outer wall\n; LINE_WIDTH: 0.42",
            "; stop printing object, unique label id: 1207\nM625\n; CHANGE_LAYER\n; Z_HEIGHT: 0.4\n; LAYER_HEIGHT: 0.2\n\
             ; start printing object, unique label id: 1295\nM624 AgAAAAAAAAA=",
        ];
        check(
            &file(
                &head,
                layers,
                "; stop printing object, unique label id: 1295\nM625\n; EXECUTABLE_BLOCK_END",
            ),
            &Said {
                filament: vec![(1, 7.0, Some(7.0), Some("PLA"))],
                model: Some("Bambu Lab X1C"),
                bed: Some("Textured PEI Plate"),
                objects: vec![(1207, ""), (1295, "")],
                ..common(name, version)
            },
        );
    }
}

#[test]
fn two_nozzles_and_their_materials_reach_the_cloud() {
    let head = "; BambuStudio 02.05.00.66\n; CONFIG_BLOCK_START\n; filament_colour = #000000;#FFFFFF;#112233\n\
        ; filament_density = 1.24,1.24,1.26\n; filament_diameter = 1.75,1.75,1.75\n; filament_ids = GFA00;GFA01;GFA05\n\
        ; filament_map = 1,2,2\n; filament_settings_id = \"A\";\"B\";\"C @H2D\"\n; filament_type = PLA;PLA;PETG\n\
        ; filament_vendor = \"Bambu Lab\";\"Bambu Lab\";Generic\n; nozzle_diameter = 0.4,0.4\n\
        ; nozzle_type = hardened_steel,hardened_steel\n; nozzle_volume_type = Standard,High Flow\n\
        ; printer_model = Bambu Lab H2D\n; CONFIG_BLOCK_END\nT2";
    let cloud = serde_json::to_value(analyze(&file(head, CHANGE, "")).simplyprint).expect("plain data");
    let unused = serde_json::json!({});
    let used = serde_json::json!({
        "type": "PETG", "color": "#112233", "density": 1.26, "diameter": 1.75, "vendor": "Generic",
        "filamentId": "GFA05", "settingId": "C @H2D", "nozzle": 1,
    });
    assert_eq!(cloud["materialData"], serde_json::json!([unused, unused, used]));
    let nozzle =
        |volume: &str| serde_json::json!({"size": 0.4, "type": "hardened_steel", "volumeType": volume});
    assert_eq!(
        cloud["nozzles"],
        serde_json::json!([nozzle("Standard"), nozzle("High Flow")])
    );
    assert_eq!(cloud["forPrinterModel"], "Bambu Lab H2D");
    assert_eq!(cloud["filament"], serde_json::json!([0.0, 0.0, 7.0]));
}

#[test]
fn cura_in_its_three_flavours_and_creality_s_old_one() {
    let layers = [
        ";LAYER:0\n;TYPE:WALL-OUTER\n;MESH:folder/a b.stl",
        ";TIME_ELAPSED:60.5\n;LAYER:1\n;MESH:a.stl",
    ];
    let foot = ";TIME_ELAPSED:3723.4\n;End of Gcode\n;SETTING_3 {\"global_quality\": \"\"}";
    let objects = vec![(0, "folder/a b.stl"), (1, "a.stl")];
    let said = Said {
        filament: vec![(0, 7.0, Some(7.0), None)],
        first_mm: Some(0.2),
        nozzle_mm: None,
        objects,
        ..common("Cura", "5.7.0")
    };
    let head = ";FLAVOR:Marlin\n;TIME:3723\n;Filament used: 0.007m\n;Layer height: 0.2\n;MINX:10\n;MINY:10\n;MINZ:0.2\n;MAXX:50\n\
        ;MAXY:40\n;MAXZ:0.4\n;TARGET_MACHINE.NAME:Creality Ender-3\n;Generated with Cura_SteamEngine 5.7.0\n";
    let model = Said {
        model: Some("Creality Ender-3"),
        ..said
    };
    check(
        &file(&format!("{head}{HEAT}\n;LAYER_COUNT:2"), layers, foot),
        &model,
    );

    // Griffin: millimetres of E, volume in the header, and the printer heats and homes by itself.
    let head = ";START_OF_HEADER\n;HEADER_VERSION:0.1\n;FLAVOR:Griffin\n;GENERATOR.NAME:Cura_SteamEngine\n;GENERATOR.VERSION:5.2.1\n\
        ;TARGET_MACHINE.NAME:Ultimaker S5\n;EXTRUDER_TRAIN.0.INITIAL_TEMPERATURE:215\n;EXTRUDER_TRAIN.0.MATERIAL.VOLUME_USED:44\n\
        ;EXTRUDER_TRAIN.0.NOZZLE.DIAMETER:0.4\n;BUILD_PLATE.INITIAL_TEMPERATURE:60\n;PRINT.TIME:3723\n;END_OF_HEADER\n\
        ;Generated with Cura_SteamEngine 5.2.1\n;LAYER_COUNT:2";
    check(
        &file(head, layers, foot),
        &Said {
            version: Some("5.2.1"),
            filament: vec![(0, 7.0, None, None)],
            nozzle_mm: Some(0.4),
            model: Some("Ultimaker S5"),
            objects: vec![(0, "folder/a b.stl"), (1, "a.stl")],
            ..common("Cura", "")
        },
    );

    // UltiGCode: E in mm³ for filament of 2.85 mm. 7 mm³ are 1.097 mm.
    let head = ";FLAVOR:UltiGCode\n;TIME:3723\n;MATERIAL:7\n;MATERIAL2:0\n;NOZZLE_DIAMETER:0.4\n;MINX:10\n\n\
        ;Generated with Cura_SteamEngine 4.13.0\n;LAYER_COUNT:2";
    check(
        &file(head, layers, foot),
        &Said {
            filament: vec![(0, 1.097, None, None)],
            nozzle_mm: Some(0.4),
            tool_c: None,
            bed_c: None,
            objects: vec![(0, "folder/a b.stl"), (1, "a.stl")],
            ..common("Cura", "4.13.0")
        },
    );

    // The engine alone leaves placeholders: nothing is known, nothing is 0 or 6666.
    let head = ";FLAVOR:Marlin\n;TIME:6666\n;Filament used: 0m\n;MINX:2.14748e+06\n;MAXX:-2.14748e+06\n\
        ;Generated with Cura_SteamEngine 4.13.0\n;LAYER_COUNT:2";
    let a = analyze(&file(head, layers, foot));
    assert_eq!(a.filament[0].slicer_mm, None);
    // Its clock at the end of the last layer is the estimate then.
    assert_eq!(a.time.slicer_s, Some(3723.4));

    let head = ";FLAVOR:Marlin\n;TIME:3723\n;Filament used: 0.007m\n;Layer height: 0.2\n;Creality Slicer 4.8.2\n;LAYER_COUNT:2\n";
    check(
        &file(
            &format!("{head}{HEAT}\n; png begin 300*300 8 13 274 200\n; iVBORw0K\n; png end"),
            layers,
            foot,
        ),
        &Said {
            filament: vec![(0, 7.0, Some(7.0), None)],
            nozzle_mm: None,
            objects: vec![(0, "folder/a b.stl"), (1, "a.stl")],
            thumbnails: 1,
            ..common("Creality Slicer", "4.8.2")
        },
    );
}

#[test]
fn simplify3d_four_and_five() {
    let layers = [
        "; layer 1, Z = 0.200\n; process Left part\n; feature outer perimeter\n; tool H0.200 W0.400",
        "; layer 2, Z = 0.400\n; process Right part\n; feature infill",
    ];
    let objects = vec![(0, "Left part"), (1, "Right part")];
    let head = format!(
        "; G-Code generated by Simplify3D(R) Version 4.1.2\n; Jun 1, 2021 at 10:00:00 AM\n; Settings Summary\n\
         ;   processName,Left part\n;   extruderDiameter,0.4\n;   layerHeight,0.2\n;   firstLayerHeightPercentage,100\n{HEAT}"
    );
    let foot = "; Build Summary\n;   Build time: 1 hours 2 minutes\n;   Filament length: 7.0 mm (0.01 m)\n\
        ;   Plastic volume: 16.84 mm^3 (0.02 cc)\n;   Plastic weight: 0.02 g (0.00 lb)";
    let said = Said {
        estimate_s: Some(3720.0),
        filament: vec![(0, 7.0, Some(7.0), None)],
        objects,
        ..common("Simplify3D", "4.1.2")
    };
    check(&file(&head, layers, foot), &said);
    let head = head
        .replace("Version 4.1.2", "Version 5.1.2")
        .replace("extruderDiameter", "nozzleDiameter");
    let foot = "; Build Summary\n;   Build Time: 1 hour 2 min 3 sec\n;   Material Length: 7.0 mm (0.01 m)\n;   Material Weight: 0.02 g";
    check(
        &file(&head, layers, foot),
        &Said {
            version: Some("5.1.2"),
            estimate_s: Some(3723.0),
            ..said
        },
    );
}

#[test]
fn ideamaker_kisslicer_slic3r_icesl_and_kirimoto() {
    let head = format!(
        ";Sliced by ideaMaker 4.2.0.5250, 2022-01-26 10:00:00\n;Dimension: 305.000 305.000 605.000 0.400\n\
         ;Bounding Box: 10.000 50.000 10.000 40.000 0.000 0.400\n;Filament Diameter #1: 1.750\n;Filament Density #1: 1240.00\n\
         ;Filament Type #1: PLA\n;Nozzle Diameter #1: 0.40\n;TOTAL_NUM: 2\n{HEAT}"
    );
    let layers = [
        ";LAYER:0\n;Z:0.200\n;HEIGHT:0.200\n;PRINTING: left.stl\n;PRINTING_ID: 0\n;TYPE:WALL-OUTER",
        ";REMAINING_TIME: 1800\n;LAYER:1\n;Z:0.400\n;HEIGHT:0.200\n;PRINTING: right.stl\n;PRINTING_ID: 1",
    ];
    check(
        &file(
            &head,
            layers,
            ";PRINTING_ID: -1\n;Material#1 Used: 7.0\n;Print Time: 3723",
        ),
        &Said {
            objects: vec![(0, "left.stl"), (1, "right.stl")],
            ..common("ideaMaker", "4.2.0.5250")
        },
    );

    let head = "; KISSlicer - FREE\n; Windows\n; version 2 a 2.0.6 Win64\n; Built: Jun 1 2021\n; Running on 8 cores\n;\n\
         ; *** Printer Settings ***\n; extrusion_width_mm = 0.4\n; layer_thickness_mm = 0.2\n; first_layer_C = 215\n; bed_C = 60\n";
    let layers = [
        "; BEGIN_LAYER_OBJECT z=0.200 z_thickness=0.200\n; 'Perimeter Path', 0.6 [feed mm/s], 30.0 [head mm/s]",
        "; END_LAYER_OBJECT z=0.200\n; BEGIN_LAYER_OBJECT z=0.400 z_thickness=0.200",
    ];
    check(
        &file(
            head,
            layers,
            "; Calculated-during-export Build Time: 62.05 minutes\n;    Ext #1 =     7.00 mm  (    0.017 cm^3)",
        ),
        &Said {
            filament: vec![(0, 7.0, Some(7.0), None)],
            nozzle_mm: None,
            ..common("KISSlicer", "2.0.6")
        },
    );

    // No estimate, no layer marks: layers are counted by height.
    let foot = "; filament used = 7.0mm (0.0cm3)\n\n; filament_diameter = 1.75\n; first_layer_height = 0.2\n; layer_height = 0.2\n\
        ; nozzle_diameter = 0.4";
    check(
        &file(
            &format!("; generated by Slic3r 1.3.0 on 2018-05-30 at 10:00:00\n{HEAT}"),
            ["", ""],
            foot,
        ),
        &Said {
            estimate_s: None,
            filament: vec![(0, 7.0, Some(7.0), None)],
            ..common("Slic3r", "1.3.0")
        },
    );

    let head = format!(
        "; <IceSL 2.4.1>\n; estimated_print_time_s :  3723\n; filament_used_mm :  7.0\n; layer_count :  2\n{HEAT}"
    );
    check(
        &file(&head, ["; <layer>", "; <layer>"], ""),
        &Said {
            filament: vec![(0, 7.0, Some(7.0), None)],
            nozzle_mm: None,
            ..common("IceSL", "2.4.1")
        },
    );

    let head = format!("; Generated by Kiri:Moto 3.0.D24\n; sliceHeight = 0.2\n; outputTemp = 215\n{HEAT}");
    check(
        &file(
            &head,
            [";; --- layer 0 (0.2 @ 0.2) ---", ";; --- layer 1 (0.2 @ 0.4) ---"],
            "; --- filament used: 7.00 mm ---\n; --- print time: 3723s ---",
        ),
        &Said {
            filament: vec![(0, 7.0, Some(7.0), None)],
            nozzle_mm: None,
            ..common("Kiri:Moto", "3.0.D24")
        },
    );
}

#[test]
fn flashprint_s_text() {
    let head = format!(";generated by FlashPrint 5.8.3 2024-01-01\n;start gcode\n{HEAT}");
    check(
        &file(
            &head,
            [
                ";preExtrude:0.20\n;end preExtrude\n;layer:0.20\n;perimeters",
                ";layer:0.20",
            ],
            ";end gcode",
        ),
        &Said {
            estimate_s: None,
            filament: vec![(0, 7.0, None, None)],
            nozzle_mm: None,
            ..common("FlashPrint", "5.8.3")
        },
    );
}
