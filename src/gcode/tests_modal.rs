use proptest::prelude::*;

use super::*;

fn run(lines: &[&str]) -> Modal {
    let mut modal = Modal::default();
    for line in lines {
        modal.apply(line.as_bytes());
    }
    modal
}

#[test]
fn positions_follow_modes_units_and_offsets() {
    let m = run(&[
        "G28",
        "G1 X10 Y10",
        "G91",
        "G1 X5 Y-2.5",
        "G90",
        "G20",
        "G1 Z1",
        "G21",
    ]);
    assert_eq!(m.logical_mm(), [15.0, 7.5, 25.4]);
    let m = run(&["G1 X10", "G92 X0", "G1 X5"]);
    assert_eq!((m.logical_mm()[0], to_mm(m.position[0])), (5.0, 15.0));
    let m = run(&["G1 X10 Y3 E5", "G92", "G1 X1"]);
    assert_eq!(
        (m.logical_mm(), m.position[0], m.e_mm()),
        ([1.0, 0.0, 0.0], 11_000_000, 0.0)
    );
    let m = run(&["G1 X10", "G28 X"]);
    assert_eq!((m.homed, m.placed), (fast::X, 0));
}

#[test]
fn filament_is_what_went_through() {
    // Absolute E with resets and a retraction at the end.
    let m = run(&["M82", "G1 X1 E10", "G92 E0", "G1 X2 E5", "G1 E4"]);
    assert_eq!((m.filament_mm(), m.retracted_mm()), (vec![15.0], 1.0));
    // The stock Ender end code, read by both rules.
    for klipper in [false, true] {
        let mut m = if klipper {
            Modal::with_separate_e()
        } else {
            Modal::default()
        };
        for line in ["M82", "G1 X1 E1000", "G91", "G1 E-2 F2700", "G90"] {
            m.apply(line.as_bytes());
        }
        assert_eq!(m.filament_mm(), [1000.0]);
    }
    let m = run(&["M83", "T1", "G1 X1 E2", "T0", "G1 X1 E3", "T255", "G1 X0 E1"]);
    assert_eq!((m.filament_mm(), m.tool), (vec![4.0, 2.0], 0));
    let m = run(&["M200 D1.75", "M83", "G1 X1 E2786.81"]);
    assert!((m.filament_mm()[0] - 1158.62).abs() < 0.01);
    let m = run(&["M83", "G10", "G1 X5"]);
    assert!(m.firmware_retracted);
    assert!(!run(&["G10", "G11"]).firmware_retracted);
    assert!(!run(&["G10 P0 S200"]).firmware_retracted);
}

#[test]
fn temperatures_fans_and_tools() {
    let m = run(&[
        "M104 T1 S210",
        "M109 R205",
        "M140 S60",
        "M141 S40",
        "M106 S128",
        "M106 P2 S255",
        "M107",
        "M104 S",
        "M117 T3",
        "SET_HEATER_TEMPERATURE HEATER=extruder2 TARGET=230",
    ]);
    assert_eq!(
        (m.tool_target_c(0), m.tool_target_c(1), m.tool_target_c(2)),
        (Some(205.0), Some(210.0), Some(230.0))
    );
    assert_eq!((m.bed_target_c(), m.chamber_target_c()), (Some(60.0), Some(40.0)));
    assert_eq!(
        (m.fan(0), m.fan(2), m.fan(1), m.tool),
        (Some(0.0), Some(255.0), None, 0)
    );
}

#[test]
fn limits_are_kept() {
    let m = run(&[
        "M204 P1000 T2000",
        "M201 X9000 E5000",
        "M203 X300",
        "M205 X8 J0.02",
        "SET_VELOCITY_LIMIT ACCEL=4000",
    ]);
    assert_eq!(
        (m.limits.print_accel, m.limits.axis_accel[0]),
        (Some(4000.0), Some(9000.0))
    );
    assert_eq!(
        (m.limits.jerk[0], m.limits.junction_deviation),
        (Some(8.0), Some(0.02))
    );
}

#[test]
fn absurd_numbers_do_not_overflow() {
    let mut modal = Modal::default();
    for _ in 0..100_000 {
        modal.apply(b"G91");
        modal.apply(b"G1 X999999999999 E999999999999");
        modal.apply(b"G92 X-999999999999");
        modal.apply(b"G90");
        modal.apply(b"G1 X999999999999 E-99999999");
    }
    assert!(modal.logical_mm()[0].is_finite());
}

proptest! {
    #[test]
    fn absolute_and_relative_say_the_same(steps in proptest::collection::vec((-50_000i64..50_000, -50_000i64..50_000, -900i64..2000), 1..60)) {
        let (mut abs, mut rel) = (Modal::default(), Modal::default());
        abs.apply(b"M82");
        rel.apply(b"G91");
        let (mut x, mut y, mut e) = (0, 0, 0);
        let text = |v: i64| format!("{:.3}", v as f64 / 1000.0);
        for (dx, dy, de) in steps {
            (x, y, e) = (x + dx, y + dy, e + de);
            abs.apply(format!("G1 X{} Y{} E{}", text(x), text(y), text(e)).as_bytes());
            rel.apply(format!("G1 X{} Y{} E{}", text(dx), text(dy), text(de)).as_bytes());
        }
        prop_assert_eq!(abs.position, rel.position);
        prop_assert_eq!(abs.filament_mm(), rel.filament_mm());
    }

    #[test]
    fn any_bytes_are_taken(lines in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..40)) {
        let mut modal = Modal::default();
        for line in &lines {
            modal.apply(line);
        }
    }
}
