//! What the models that the stand-in plays have of their own.

use serde_json::Value;

use crate::json::json;

/// A model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// Whole reports, a chamber sensor.
    X1c,
    /// Partial reports.
    #[default]
    P1s,
    /// Partial reports, a small one.
    A1Mini,
    /// Partial reports, two nozzles, packed temperatures.
    H2d,
}

impl Kind {
    /// Every model, with the word for it.
    pub const ALL: &[(&'static str, Kind)] = &[
        ("X1C", Kind::X1c),
        ("P1S", Kind::P1s),
        ("A1MINI", Kind::A1Mini),
        ("H2D", Kind::H2d),
    ];

    /// As the printer names itself.
    pub fn product(self) -> &'static str {
        match self {
            Kind::X1c => "Bambu Lab X1-Carbon",
            Kind::P1s => "Bambu Lab P1S",
            Kind::A1Mini => "Bambu Lab A1 mini",
            Kind::H2d => "Bambu Lab H2D",
        }
    }

    /// The serial number of a stand-in, with the model's beginning.
    pub fn serial(self) -> &'static str {
        match self {
            Kind::X1c => "00M00A000000001",
            Kind::P1s => "01P00A000000001",
            Kind::A1Mini => "03000A000000001",
            Kind::H2d => "09400A000000001",
        }
    }

    /// Whether it reports only what has changed.
    pub fn partial(self) -> bool {
        self != Kind::X1c
    }

    /// The state of an idle printer with what this model has beside it.
    pub fn own_members(self, mut print: Value) -> Value {
        let own = match self {
            Kind::X1c => json!({"chamber_temper": 27.0, "stg_cur": -1}),
            // Without a sensor it says five.
            Kind::P1s | Kind::A1Mini => json!({"chamber_temper": 5}),
            Kind::H2d => json!({"stg_cur": -1, "fun": "1"}),
        };
        if let (Some(print), Value::Object(own)) = (print.as_object_mut(), own) {
            print.extend(own);
        }
        print
    }

    /// The `device` block: two nozzles, the right one in use. `(actual, target)`.
    pub fn device(self, nozzle: (f64, f64), bed: (f64, f64)) -> Value {
        if self != Kind::H2d {
            return json!({});
        }
        let packed = |(actual, target): (f64, f64)| (target as u32) << 16 | actual as u32;
        json!({"device": {
            "extruder": {"state": 2, "info": [
                {"id": 0, "temp": packed(nozzle), "snow": 0},
                {"id": 1, "temp": packed((25.0, 0.0)), "snow": 0xffff},
            ]},
            "nozzle": {"info": [
                {"id": 0, "diameter": 0.4, "type": "HS01"},
                {"id": 1, "diameter": 0.4, "type": "HS01"},
            ]},
            "bed": {"info": {"temp": packed(bed)}},
            "ctc": {"info": {"temp": packed((28.0, 0.0))}},
        }})
    }
}
