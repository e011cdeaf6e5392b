//! The models and what differs between them.

/// A model, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Model {
    /// The name as on the box.
    pub name: &'static str,
    /// First three characters of its serial numbers.
    pub prefix: &'static str,
    /// Codes in announcements and files.
    pub codes: &'static [&'static str],
    /// It measures the chamber; others report a made-up 5 °C.
    pub chamber: bool,
    /// The camera is a stream of JPEG pictures on a port of its own; others have RTSPS.
    pub jpeg_camera: bool,
    /// Folder of the maker's wiki with its fault codes, where known.
    pub wiki: Option<&'static str>,
    /// Slow controller: whole reports are asked for sparingly.
    pub slow: bool,
}

const fn model(
    name: &'static str,
    prefix: &'static str,
    codes: &'static [&'static str],
    chamber: bool,
    jpeg_camera: bool,
) -> Model {
    Model {
        name,
        prefix,
        codes,
        chamber,
        jpeg_camera,
        wiki: wiki(name.as_bytes()),
        slow: jpeg_camera,
    }
}

/// The families have one folder each; models that may have one of their own have no link.
const fn wiki(name: &[u8]) -> Option<&'static str> {
    match name {
        [b'X', b'1', ..] => Some("x1"),
        b"P1P" | b"P1S" => Some("p1"),
        b"A1" => Some("a1"),
        b"A1 mini" => Some("a1-mini"),
        [b'H', b'2', ..] => Some("h2"),
        _ => None,
    }
}

/// All known models. Codes and prefixes as public clients list them.
pub static MODELS: &[Model] = &[
    model(
        "X1-Carbon",
        "00M",
        &["BL-P001", "3DPrinter-X1-Carbon"],
        true,
        false,
    ),
    model("X1", "00W", &["BL-P002", "3DPrinter-X1"], true, false),
    model("X1E", "03W", &["C13"], true, false),
    model("P1P", "01S", &["C11"], false, true),
    model("P1S", "01P", &["C12"], false, true),
    model("P2S", "22E", &["N7"], true, false),
    model("A1 mini", "030", &["N1"], false, true),
    model("A1", "039", &["N2S"], false, true),
    model("A2L", "", &["N9"], false, true),
    model("H2S", "093", &["O1S"], true, false),
    model("H2D Pro", "", &["O1E", "O2D"], true, false),
    model("H2C", "", &["O1C", "O1C2"], true, false),
    model("H2D", "094", &["O1D"], true, false),
    model("X2D", "", &["N6"], true, false),
];

/// By the product name of `get_version`.
pub fn by_product(product: &str) -> Option<&'static Model> {
    let name = product.trim().trim_start_matches("Bambu Lab ").trim();
    MODELS.iter().find(|m| m.name.eq_ignore_ascii_case(name))
}

/// By the code in announcements and files.
pub fn by_code(code: &str) -> Option<&'static Model> {
    let code = code.trim();
    MODELS.iter().find(|m| m.codes.contains(&code))
}

/// By the serial number.
pub fn by_serial(serial: &str) -> Option<&'static Model> {
    MODELS
        .iter()
        .find(|m| !m.prefix.is_empty() && serial.starts_with(m.prefix))
}

/// By the hardware of the module whose version starts with `AP0`: firmware without product names.
pub fn by_hardware(hw_ver: &str, project: &str) -> Option<&'static Model> {
    let name = match (hw_ver.get(..4)?, project) {
        ("AP02", _) => "X1E",
        (_, "N1") => "A1 mini",
        ("AP04", "C11") => "P1P",
        ("AP04", "C12") => "P1S",
        ("AP05", "N2S") => "A1",
        ("AP05", "") => "X1-Carbon",
        _ => return None,
    };
    by_product(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_known_by_product_code_serial_and_hardware() {
        assert_eq!(by_product("Bambu Lab A1 mini").map(|m| m.name), Some("A1 mini"));
        assert_eq!(by_code("C12").map(|m| m.name), Some("P1S"));
        assert_eq!(by_serial("00M00A000000001").map(|m| m.chamber), Some(true));
        assert_eq!(by_hardware("AP05", "").map(|m| m.name), Some("X1-Carbon"));
        assert_eq!(by_product("Bambu Lab Z9"), None);
        assert_eq!(by_hardware("", ""), None);
    }
}
