//! Reports of firmware, and what becomes of damaged ones.

use proptest::prelude::*;

use super::*;

/// Feeds a report line by line and ends it as an `ok` does.
fn read(text: &str) -> Vec<BedMesh> {
    let mut reader = MeshReader::default();
    let mut out: Vec<BedMesh> = text.lines().filter_map(|l| reader.line(l.as_bytes())).collect();
    out.extend(reader.end());
    out
}

fn one(text: &str) -> BedMesh {
    let mut all = read(text);
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
}

fn row(values: &[f32]) -> Vec<Option<f32>> {
    values.iter().copied().map(Some).collect()
}

#[test]
fn marlin_bilinear_stands_from_front_to_back() {
    let mesh = one(
        "Bilinear Leveling Grid:\n      0      1      2\n 0 +0.100 +0.050 -0.012\n 1 +0.010 +0.000 ======\n\n\
         Subdivided with CATMULL ROM Leveling Grid:\n        0        1\n 0 +0.10000 +0.09\n",
    );
    assert_eq!(mesh.rows_mm[0], row(&[0.1, 0.05, -0.012]));
    assert_eq!(mesh.rows_mm[1], [Some(0.01), Some(0.0), None]);
    assert_eq!(mesh.min_mm, None);
}

#[test]
fn points_told_while_probing_place_the_grid() {
    let probing = "Bed X: 20.000 Y: 30.000 Z: 0.100\nBed X: 200.000 Y: 30.000 Z: 0.050\n\
                   Bed X: 200.000 Y: 190.000 Z: 0.020\nBed X: 20.000 Y: 190.000 Z: 0.010\n";
    let grid = "Bilinear Leveling Grid:\n      0      1\n 0 +0.100 +0.050\n 1 +0.010 +0.020\n";
    let mesh = one(&format!("{probing}{grid}"));
    assert_eq!(
        (mesh.min_mm, mesh.max_mm),
        (Some([20.0, 30.0]), Some([200.0, 190.0]))
    );
    // One point too few: where the grid lies is not known.
    let fewer: String = probing.lines().skip(1).map(|l| format!("{l}\n")).collect();
    assert_eq!(one(&format!("{fewer}{grid}")).min_mm, None);
}

#[test]
fn ubl_is_turned_and_placed_by_its_corners() {
    let mesh = one(
        "Bed Topography Report:\n\n    (  1,229)                  (228,229)\n        0       1\n\
          1 | +0.323   .   \n   |\n 0 |[+0.279] +0.214\n        0       1\n    (  1,  2)        (228,  2)\n",
    );
    assert_eq!(mesh.rows_mm, [row(&[0.279, 0.214]), vec![Some(0.323), None]]);
    assert_eq!(
        (mesh.min_mm, mesh.max_mm),
        (Some([1.0, 2.0]), Some([228.0, 229.0]))
    );
}

#[test]
fn old_ubl_tells_indices_beside_the_corners() {
    let mesh = one(
        "Bed Topography Report:\n\n(0,1)      (1,1)\n(20,290)     (290,290)\n  0.300    0.400  \n \n[ 0.100]   0.200  \n\
         (20,20)         (290,20)\n(0,0)       (1,0)\n",
    );
    assert_eq!(mesh.rows_mm, [row(&[0.1, 0.2]), row(&[0.3, 0.4])]);
    assert_eq!(
        (mesh.min_mm, mesh.max_mm),
        (Some([20.0, 20.0]), Some([290.0, 290.0]))
    );
}

#[test]
fn prusa_stands_from_back_to_front_and_marlins_manual_levelling_does_not() {
    let prusa = one(
        "Num X,Y: 2,2\nZ search height: 5.00\nMeasured points:\n  0.30000  0.40000\n  0.10000  -0.20000\n",
    );
    assert_eq!(prusa.rows_mm, [row(&[0.1, -0.2]), row(&[0.3, 0.4])]);
    let manual = one(
        "Mesh Bed Level data:\n2x2 mesh. Z offset: 0.00000\nMeasured points:\n        0        1\n 0 +0.10000 -0.20000\n 1 +0.30000 +0.40000\n",
    );
    assert_eq!(manual.rows_mm, prusa.rows_mm);
}

#[test]
fn replay_lines_of_m503_make_a_grid() {
    let bilinear = one(
        "echo:  G29 W I0 J0 Z0.10000\necho:  G29 W I1 J0 Z0.20000\necho:  G29 W I0 J1 Z-0.10000\necho:  G29 W I1 J1 Z0.00000\necho:; Endstop adjustment\n",
    );
    assert_eq!(bilinear.rows_mm, [row(&[0.1, 0.2]), row(&[-0.1, 0.0])]);
    let manual = one("G29 S3 I1 J1 Z0.1\nG29 S3 I2 J1 Z0.2\nG29 S3 I1 J2 Z-0.1\nG29 S3 I2 J2 Z0\n");
    assert_eq!(manual, bilinear);
}

#[test]
fn a_damaged_table_is_no_mesh() {
    for text in [
        "Bilinear Leveling Grid:\n",
        "Bilinear Leveling Grid:\n 0 +0.1 +0.2\n",
        "Bilinear Leveling Grid:\n 0 +0.1 +0.2\n 1 +0.1\n",
        "Bilinear Leveling Grid:\n 0 +0.1 +0.2\n 1 +0.1 +2000.5\n",
        "Bilinear Leveling Grid:\n 0 ====== ======\n 1 ====== ======\n",
        " 0 +0.1 +0.2\n 1 +0.1 +0.3\n",
        "G29 W I0 J0 Zx\n",
        "G29 S3 I0 J0 Z0.1\nM421 I99 J0 Z1\n",
    ] {
        assert_eq!(read(text), [], "{text}");
    }
}

proptest! {
    #[test]
    fn any_bytes_leave_a_rectangle_within_limits(lines in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..60), 0..80)) {
        let mut reader = MeshReader::default();
        reader.line(b"Bilinear Leveling Grid:");
        for line in lines {
            if let Some(mesh) = reader.line(&line).or_else(|| reader.end()) {
                let width = mesh.rows_mm[0].len();
                prop_assert!(width <= 64 && mesh.rows_mm.len() <= 64);
                prop_assert!(mesh.rows_mm.iter().all(|r| r.len() == width));
            }
        }
    }

    #[test]
    fn what_is_printed_is_read(rows in 2usize..15, columns in 2usize..15, seed in any::<u64>()) {
        let height = |r: usize, c: usize| {
            let n = seed.rotate_left((r * 17 + c * 5) as u32 % 64) % 4000;
            (n as f32 - 2000.0) / 1000.0
        };
        let mut text = String::from("Bilinear Leveling Grid:\n");
        for r in 0..rows {
            text.push_str(&format!(" {r}"));
            for c in 0..columns {
                text.push_str(&format!(" {:+.3}", height(r, c)));
            }
            text.push('\n');
        }
        let mesh = one(&text);
        prop_assert_eq!(mesh.rows_mm.len(), rows);
        for (r, row) in mesh.rows_mm.iter().enumerate() {
            prop_assert_eq!(row.len(), columns);
            for (c, seen) in row.iter().enumerate() {
                prop_assert!((seen.expect("probed") - height(r, c)).abs() < 0.0006);
            }
        }
    }
}
